import { setImmediate as nextTurn } from 'node:timers/promises'
import { UnavailableError } from '@meshguard/core'
import type { Logger } from 'pino'
import type { Prepared } from './chain.js'

/** How entries are committed. */
export interface GroupCommitOptions {
  /** Writes entries in one transaction, in order. Not called again before it is done. */
  commit(entries: readonly Prepared[]): Promise<void>
  /** Nobody waits: a full queue drops, and what a failed commit lost is counted. */
  readonly async: boolean
  readonly log: Logger
}

/** Entries that wait and are being written at most. */
const CAPACITY = 10_000
/** Entries of one transaction at most, so that none keeps the event loop for long. */
const MAX_BATCH = 256

/** Entries that are committed together; all of them have one promise. */
interface Batch {
  readonly entries: (Prepared | undefined)[]
  /** The places of denials, so that one can make room for an allow. */
  readonly denials: number[]
  readonly done: Promise<void>
  resolve(): void
  reject(error: unknown): void
}

/**
 * Commits entries in groups and without a timer: one commit at a time, and what arrives meanwhile goes with the next. A commit
 * begins when the event loop has handled what the sockets brought with the same turn.
 */
export class GroupCommit {
  /** What was lost in async mode. */
  readonly dropped = { allowed: 0, denied: 0 }
  readonly #options: GroupCommitOptions
  /** The last one is open. */
  #batches: Batch[] = []
  #held = 0
  #draining: Promise<void> | undefined
  #failing = false
  #closed = false

  constructor(options: GroupCommitOptions) {
    this.#options = options
  }

  /** @throws UnavailableError (rejects) when the entry was not committed; in async mode never. */
  add(entry: Prepared): Promise<void> {
    const { async } = this.#options
    if (this.#closed || this.#held >= CAPACITY) {
      if (async) this.#overflow(entry)
      else return Promise.reject(new UnavailableError(this.#closed ? 'The audit log is closed' : 'Too many entries wait'))
      return RECORDED
    }
    this.#held++
    const { done } = this.#push(entry)
    this.#draining ??= this.#drain()
    return async ? RECORDED : done
  }

  async close(): Promise<void> {
    this.#closed = true
    await this.#draining
  }

  #push(entry: Prepared): Batch {
    let batch = this.#batches.at(-1)
    if (batch === undefined || batch.entries.length >= MAX_BATCH) {
      batch = createBatch()
      batch.done.catch((error) => this.#lost(error))
      this.#batches.push(batch)
    }
    if (entry.entry.decision === 'deny') batch.denials.push(batch.entries.length)
    batch.entries.push(entry)
    return batch
  }

  /** Allows are dropped last. */
  #overflow(entry: Prepared): void {
    const batch = entry.entry.decision === 'deny' || this.#closed ? undefined : this.#batches.findLast(hasDenial)
    const place = batch?.denials.pop()
    this.#count(place === undefined ? entry : batch?.entries[place])
    this.#say('entries of the audit log are lost: too many wait')
    if (batch === undefined || place === undefined) return
    batch.entries[place] = undefined
    this.#push(entry)
  }

  async #drain(): Promise<void> {
    await nextTurn()
    while (this.#batches.length > 0) {
      const batch = this.#batches.shift() as Batch
      const entries = batch.entries.filter((entry) => entry !== undefined)
      try {
        await this.#options.commit(entries)
        if (this.#failing) this.#options.log.info({ dropped: this.dropped }, 'the audit log is written again')
        this.#failing = false
        batch.resolve()
      } catch (error) {
        if (this.#options.async) for (const entry of entries) this.#count(entry)
        batch.reject(error)
      }
      this.#held -= entries.length
      await nextTurn()
    }
    this.#draining = undefined
  }

  #lost(error: unknown): void {
    this.#say('the audit log cannot be written', error)
  }

  /** Once, until it works again. */
  #say(what: string, error?: unknown): void {
    if (!this.#failing) this.#options.log.error({ err: error }, what)
    this.#failing = true
  }

  #count(entry: Prepared | undefined): void {
    if (entry === undefined) return
    if (entry.entry.decision === 'allow') this.dropped.allowed++
    else this.dropped.denied++
  }
}

const RECORDED = Promise.resolve()

function hasDenial({ denials }: Batch): boolean {
  return denials.length > 0
}

function createBatch(): Batch {
  let resolve = (): void => {}
  let reject = (_error: unknown): void => {}
  const done = new Promise<void>((onDone, onFail) => {
    resolve = onDone
    reject = onFail
  })
  return { entries: [], denials: [], done, resolve, reject }
}
