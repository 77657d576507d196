import { UnavailableError } from '@meshguard/core'
import type { Services } from '../services.js'
import type { AuditRow } from '../store/store.js'
import { type Link, type Prepared, readHead, rowBehind, sign } from './chain.js'

/** Writes entries to the end of chains, one transaction at a time. */
export class ChainWriter {
  readonly #parts: Pick<Services, 'store' | 'keys' | 'log' | 'now'>
  /** Where the chains stand; a chain is absent until it is first written, and after a write that failed. */
  readonly #heads = new Map<string, Link>()
  #last: Promise<unknown> = Promise.resolve()

  constructor(parts: Pick<Services, 'store' | 'keys' | 'log' | 'now'>) {
    this.#parts = parts
  }

  /** Reads where a chain stands. */
  async open(writer: string): Promise<void> {
    await this.#headOf(writer)
  }

  /**
   * Writes the entries that `select` answers, all or none, and returns them. It is asked when everything before is written.
   *
   * @throws UnavailableError when that failed. They may have been written all the same: where the chain stands is read again.
   */
  write(writer: string, select: () => Promise<readonly Prepared[]>): Promise<readonly Prepared[]> {
    const written = this.#last.then(() => this.#write(writer, select))
    this.#last = written.catch(() => undefined)
    return written
  }

  async #write(writer: string, select: () => Promise<readonly Prepared[]>): Promise<readonly Prepared[]> {
    const { store, keys, now } = this.#parts
    try {
      const entries = await select()
      if (entries.length === 0) return entries
      let head = await this.#headOf(writer)
      const rows: AuditRow[] = []
      for (const entry of entries) {
        const row = rowBehind(head, writer, entry)
        rows.push(row)
        head = row
      }
      await store.audit.append(rows, await sign(keys, 'head', writer, head, now()))
      this.#heads.set(writer, { sequence: head.sequence, hash: head.hash })
      return entries
    } catch (error) {
      this.#heads.delete(writer)
      throw error instanceof UnavailableError
        ? error
        : new UnavailableError('The audit log cannot be written', { cause: error })
    }
  }

  async #headOf(writer: string): Promise<Link> {
    const { store, keys, log } = this.#parts
    const head = this.#heads.get(writer) ?? (await readHead(store.audit, keys, writer, log))
    this.#heads.set(writer, head)
    return head
  }
}
