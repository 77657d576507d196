import { setImmediate as nextTurn } from 'node:timers/promises'
import type { Services } from '../services.js'
import type { AuditRow, Checkpoint } from '../store/store.js'
import type { AuditEntry, Verified } from './audit-log.js'
import { columnsOf, GENESIS, hashOf, isSigned, type Link } from './chain.js'

type Parts = Pick<Services, 'store' | 'keys'>

/** Rows that are looked at before the event loop has its turn. */
const BLOCK = 256

/** What is wrong with a chain, and at which entry. */
class BadRow extends Error {
  constructor(
    readonly id: string,
    readonly reason: string,
  ) {
    super(reason)
  }
}

/**
 * Walks every chain of the audit log from its beginning, or from where retention cut it, to its last signed checkpoint, while
 * the log goes on being written. It stops at the first entry that was changed, removed, added or moved.
 *
 * @param writers Chains that must be looked at even where nothing of them is left.
 * @param onProgress Called after every block with the number of entries so far.
 */
export async function verifyLog(
  parts: Parts,
  writers: readonly string[],
  onProgress: (entries: number) => void = () => {},
): Promise<Verified> {
  let entries = 0
  const count = (): void => {
    entries++
  }
  try {
    for (const writer of new Set([...writers, ...(await parts.store.audit.writers())])) {
      await new Walk(parts, writer, count, () => onProgress(entries)).run()
    }
    return { valid: true, entries }
  } catch (error) {
    if (!(error instanceof BadRow)) throw error
    return { valid: false, entries, firstBad: { id: error.id, reason: error.reason } }
  }
}

class Walk {
  #at: Link = GENESIS
  readonly #parts: Parts
  readonly #writer: string
  readonly #onRow: () => void
  readonly #onBlock: () => void

  constructor(parts: Parts, writer: string, onRow: () => void, onBlock: () => void) {
    this.#parts = parts
    this.#writer = writer
    this.#onRow = onRow
    this.#onBlock = onBlock
  }

  async run(): Promise<void> {
    await this.#beginAtCut()
    await this.#walkTo(Number.POSITIVE_INFINITY)
    const checkpoint = await this.#checkpoint()
    if (checkpoint === undefined) return
    await this.#walkTo(checkpoint.sequence)
    if (this.#at.sequence < checkpoint.sequence) {
      throw this.#bad(`the entries ${this.#at.sequence + 1} to ${checkpoint.sequence} at the end are missing`)
    }
    if (this.#at.sequence > checkpoint.sequence) throw this.#bad('entries at the end are covered by no checkpoint')
    if (this.#at.hash !== checkpoint.hash) throw this.#bad('the last entry is not the one that was signed')
  }

  async #beginAtCut(): Promise<void> {
    const cut = await this.#parts.store.audit.cut(this.#writer)
    if (cut !== undefined) this.#at = await this.#trusted(cut, 'cut')
  }

  async #checkpoint(): Promise<Checkpoint | undefined> {
    const checkpoint = await this.#parts.store.audit.checkpoint(this.#writer)
    if (checkpoint !== undefined) return this.#trusted(checkpoint, 'head')
    if (this.#at.sequence > 0) throw this.#bad('the checkpoint of the last entry is missing')
    return undefined
  }

  async #trusted(checkpoint: Checkpoint, kind: 'head' | 'cut'): Promise<Checkpoint> {
    if (checkpoint.writer === this.#writer && (await isSigned(this.#parts.keys, kind, checkpoint))) return checkpoint
    throw this.#bad(kind === 'head' ? 'the checkpoint is not signed by this gateway' : 'the cut is not signed by this gateway')
  }

  async #walkTo(sequence: number): Promise<void> {
    while (this.#at.sequence < sequence) {
      const rows = await this.#parts.store.audit.scan(
        this.#writer,
        this.#at.sequence,
        Math.min(BLOCK, sequence - this.#at.sequence),
      )
      for (const row of rows) await this.#step(row)
      if (rows.length === 0) return
      this.#onBlock()
      await nextTurn()
    }
  }

  async #step(row: AuditRow): Promise<void> {
    if (row.sequence !== this.#at.sequence + 1 && !(await this.#wasCutAt(row))) {
      const missing = `the entries ${this.#at.sequence + 1} to ${row.sequence - 1} before it are missing`
      throw new BadRow(row.id, row.sequence > this.#at.sequence ? missing : 'it stands out of order')
    }
    if (row.hash !== hashOf(this.#at.hash, row.entry)) throw new BadRow(row.id, 'the entry, or one before it, was changed')
    const changed = changedColumn(row)
    if (changed !== undefined) throw new BadRow(row.id, `its column "${changed}" does not say what the entry says`)
    this.#at = { sequence: row.sequence, hash: row.hash }
    this.#onRow()
  }

  /** Retention may have cut the chain while it was walked: then it goes on at the new cut. */
  async #wasCutAt(row: AuditRow): Promise<boolean> {
    const cut = await this.#parts.store.audit.cut(this.#writer)
    if (cut === undefined || cut.sequence !== row.sequence - 1 || cut.sequence <= this.#at.sequence) return false
    this.#at = await this.#trusted(cut, 'cut')
    return true
  }

  #bad(reason: string): BadRow {
    return new BadRow(`${this.#writer}#${this.#at.sequence}`, reason)
  }
}

/** The name of a column that disagrees with the entry. */
function changedColumn(row: AuditRow): string | undefined {
  let entry: AuditEntry
  try {
    entry = JSON.parse(row.entry)
  } catch {
    return 'entry'
  }
  const said = columnsOf(entry)
  return Object.keys(said).find((name) => said[name as keyof typeof said] !== row[name as keyof typeof said])
}
