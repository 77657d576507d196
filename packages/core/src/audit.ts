import { describeEvent, printable, serialiseEvent } from './audit-line.js'
import { messageOf, UnavailableError } from './errors.js'
import { assertFunction, assertOneOf, assertOptions } from './options.js'
import { isPromise } from './settle.js'
import { IO_OUTLIVES_REQUESTS } from './transport/requests.js'
import type { AuditEvent, AuditSink, RequestLife } from './types.js'

/** What `createGuard` takes for `audit`: a sink, or any function of an event. */
export type AuditTarget = AuditSink | ((event: AuditEvent, request?: RequestLife) => unknown)

/** How many events were not recorded, because the queue was full or because writing them failed. */
export interface AuditLosses {
  /** Decisions that let the caller go on. */
  readonly allowed: number
  readonly denied: number
  /** How governed work ended. */
  readonly outcomes: number
}

/** What every queued sink can be told. */
export interface QueueOptions {
  /** How many events may wait, those being written included. Default 10 000. */
  readonly capacity?: number | undefined
  /**
   * What happens when the queue is full. Default `'drop'`: denials are dropped first, allows last, and all of it is counted.
   * `'deny'`: `record` throws, so that nothing is allowed that is not recorded, and a batch that could not be written is kept
   * and tried again; a part of it may then be written twice.
   */
  readonly onFull?: 'drop' | 'deny' | undefined
}

/** Options of {@link boundedSink}. */
export interface BoundedSinkOptions extends QueueOptions {
  /** For messages on the console. Default `audit`. */
  readonly name?: string | undefined
  /**
   * Writes a batch, in order. It is not called again before it is done, but on Workers, where it runs for up to four requests at
   * once. A throw or a rejection is a failed write.
   */
  write(events: readonly AuditEvent[]): void | Promise<void>
}

/** A sink with a queue. */
export interface BoundedSink extends AuditSink {
  /** @throws UnavailableError with `onFull: 'deny'` when the queue is full or the sink is closed. */
  record(event: AuditEvent, request?: RequestLife): void
  /** What was lost so far. */
  readonly dropped: AuditLosses
  /** Writes what waits. Events that come later are lost and counted, or refused with `onFull: 'deny'`. */
  close(): Promise<void>
}

/** Events that may wait where nobody says how many. */
export const DEFAULT_CAPACITY = 10_000

/**
 * Makes a sink that writes in batches: one write at a time, and what is recorded meanwhile goes with the next. There are no
 * timers. A failure to write is reported on the console when it begins and when it is over, and what it cost is counted.
 *
 * On Workers each request writes what waits, by its `waitUntil`, since nothing outlives the request that began it. A batch whose
 * request seems to have ended under it (after 35 s) is written again by a later one.
 *
 * @throws TypeError for wrong options.
 *
 * @example
 * ```ts
 * const sink = boundedSink({ name: 'warehouse', write: (events) => insertRows(events), onFull: 'deny' })
 * ```
 */
export function boundedSink(options: BoundedSinkOptions): BoundedSink {
  checkQueueOptions('boundedSink', options, ['name', 'write'])
  const { name = 'audit', write, capacity = DEFAULT_CAPACITY, onFull = 'drop' } = options
  if (typeof write !== 'function') throw new TypeError('boundedSink: option "write" must be a function')
  const queue = new Queue(name, write, capacity, onFull === 'deny')
  return {
    record: (event, request) => queue.record(event, request),
    get dropped() {
      return { ...queue.dropped }
    },
    close: () => queue.close(),
  }
}

/** @throws TypeError naming the option that is wrong. */
export function checkQueueOptions(where: string, options: QueueOptions, others: readonly string[] = []): void {
  assertOptions(where, options, ['capacity', 'onFull', ...others])
  const { capacity = 1, onFull = 'drop' } = options
  if (!Number.isSafeInteger(capacity) || capacity < 1)
    throw new TypeError(`${where}: option "capacity" must be a whole number from 1`)
  assertOneOf(where, 'onFull', onFull, ['drop', 'deny'])
}

/** On Workers: so many requests write at once, and a batch is written again after so long; `waitUntil` lasts for 30 s. */
const MAX_WRITING = 4
const LOST_MS = 35_000

/** Events that are being written. */
interface Batch {
  readonly batch: readonly AuditEvent[]
  /** On Workers, in ms since the epoch. */
  readonly begunAt: number
}

class Queue {
  readonly dropped = noLosses()
  readonly #name: string
  readonly #write: (events: readonly AuditEvent[]) => unknown
  readonly #capacity: number
  readonly #deny: boolean
  #waiting: (AuditEvent | undefined)[] = []
  /** Where denials stand in `#waiting`, so that one can make room for an allow. */
  #denials: number[] = []
  /** Events that wait or are being written. */
  #held = 0
  #draining: Promise<void> | undefined
  readonly #writing = new Set<Batch>()
  #failing = false
  #closed = false

  constructor(name: string, write: (events: readonly AuditEvent[]) => unknown, capacity: number, deny: boolean) {
    this.#name = name
    this.#write = write
    this.#capacity = capacity
    this.#deny = deny
  }

  record(event: AuditEvent, request: RequestLife | undefined): void {
    if (!IO_OUTLIVES_REQUESTS) this.#takeBack()
    if (this.#held >= this.#capacity || this.#closed) this.#overflow(event)
    else this.#enqueue(event, request)
  }

  #enqueue(event: AuditEvent, request: RequestLife | undefined): void {
    this.#held++
    this.#push(event)
    if (IO_OUTLIVES_REQUESTS) this.#draining ??= this.#drain()
    else if (this.#writing.size < MAX_WRITING) keepFor(request, this.#drain())
  }

  async close(): Promise<void> {
    this.#closed = true
    if (!IO_OUTLIVES_REQUESTS) return this.#drain()
    while (this.#held > 0) {
      this.#draining ??= this.#drain()
      await this.#draining
    }
  }

  #push(event: AuditEvent): void {
    if (isDenial(event)) this.#denials.push(this.#waiting.length)
    this.#waiting.push(event)
  }

  #overflow(event: AuditEvent): void {
    if (this.#deny) {
      if (!this.#closed) this.#draining ??= this.#drain()
      throw new UnavailableError(this.#closed ? 'The audit sink is closed' : 'The audit queue is full')
    }
    this.#report(this.#closed ? 'it is closed' : `its queue of ${this.#capacity} events is full`)
    const place = this.#closed || isDenial(event) ? undefined : this.#denials.pop()
    count(this.dropped, place === undefined ? event : (this.#waiting[place] as AuditEvent))
    if (place === undefined) return
    this.#waiting[place] = undefined
    this.#push(event)
  }

  /** Begins in a later microtask, so that `record` does no work of the writer's. */
  async #drain(): Promise<void> {
    await undefined
    while (this.#waiting.length > 0) {
      const batch = this.#waiting.filter((event) => event !== undefined)
      this.#waiting = []
      this.#denials = []
      const writing = { batch, begunAt: IO_OUTLIVES_REQUESTS ? 0 : Date.now() }
      this.#writing.add(writing)
      const failure = await failureOf(() => this.#write(batch))
      if (!this.#writing.delete(writing)) continue
      if (failure === undefined) this.#wrote(batch)
      else if (!this.#failed(batch, failure)) break
    }
    this.#draining = undefined
  }

  /** Batches whose request has ended under them wait again. */
  #takeBack(): void {
    for (const writing of this.#writing) {
      if (Date.now() < writing.begunAt + LOST_MS) continue
      this.#writing.delete(writing)
      for (const event of writing.batch) this.#push(event)
    }
  }

  #wrote(batch: readonly AuditEvent[]): void {
    this.#held -= batch.length
    if (!this.#failing || this.#waiting.length > 0) return
    this.#failing = false
    const { allowed, denied, outcomes } = this.dropped
    console.error(
      `MeshGuard: ${this.#name} works again; lost so far: ${allowed} allowed, ${denied} denied, ${outcomes} outcomes`,
    )
  }

  /** Whether to go on with what waits: with `onFull: 'deny'` the batch is kept, and the next event tries again. */
  #failed(batch: readonly AuditEvent[], failure: string): boolean {
    this.#report(failure)
    if (this.#deny && !this.#closed) {
      this.#waiting = [...batch, ...this.#waiting]
      return false
    }
    this.#held -= batch.length
    for (const event of batch) count(this.dropped, event)
    return true
  }

  /** Once, until it works again. */
  #report(why: string): void {
    if (this.#failing) return
    this.#failing = true
    console.error(`MeshGuard: ${this.#name} loses or holds back audit events: ${printable(why)}`)
  }
}

function keepFor(request: RequestLife | undefined, work: Promise<void>): void {
  request?.waitUntil?.(work)
}

/** Nothing lost yet; counted up by {@link count}. */
export function noLosses(): { allowed: number; denied: number; outcomes: number } {
  return { allowed: 0, denied: 0, outcomes: 0 }
}

/** Counts an event that was lost. */
export function count(losses: ReturnType<typeof noLosses>, event: AuditEvent): void {
  if (event.type === 'outcome') losses.outcomes++
  else if (event.allowed) losses.allowed++
  else losses.denied++
}

function isDenial(event: AuditEvent): boolean {
  return event.type === 'decision' && !event.allowed
}

async function failureOf(work: () => unknown): Promise<string | undefined> {
  try {
    await work()
    return undefined
  } catch (error) {
    return messageOf(error, typeof error === 'string' ? error : 'it failed')
  }
}

/**
 * Makes a sink of any function of an event. It is called at once; if it throws, the answer becomes `unavailable`. A promise it
 * returns is not waited for: a rejection is reported on the console and counted, and while 10 000 are open events are dropped.
 *
 * Use {@link boundedSink} where a write is slow.
 *
 * @example
 * ```ts
 * const guard = createGuard({ source, authenticate, audit: auditTo((event) => logger.info(event)) })
 * ```
 */
export function auditTo(write: (event: AuditEvent, request?: RequestLife) => unknown): BoundedSink {
  if (typeof write !== 'function') throw new TypeError('auditTo: expected a function of an event')
  const dropped = noLosses()
  const open = new Set<Promise<void>>()
  let failing = false
  const lose = (event: AuditEvent, why: string): void => {
    count(dropped, event)
    if (!failing) console.error(`MeshGuard: the audit function loses events: ${printable(why)}`)
    failing = true
  }
  const follow = async (written: Promise<unknown>, event: AuditEvent): Promise<void> => {
    const failure = await failureOf(() => written)
    if (failure === undefined) failing = false
    else lose(event, failure)
  }
  return {
    record(event, request) {
      if (open.size >= DEFAULT_CAPACITY) return lose(event, `${open.size} calls are not done`)
      const written = write(event, request)
      if (!isPromise(written)) return
      const done = follow(written, event).finally(() => open.delete(done))
      open.add(done)
      if (!IO_OUTLIVES_REQUESTS) keepFor(request, done)
    },
    get dropped() {
      return { ...dropped }
    },
    async close() {
      await Promise.all(open)
    },
  }
}

/** The sink that `audit` stands for. */
export function toSink(target: AuditTarget): AuditSink {
  if (typeof target === 'function') return auditTo(target)
  if (typeof target?.record === 'function') return following(target)
  throw new TypeError('createGuard: option "audit" must be a sink, or a function of an event')
}

/** A sink as it is, but a promise that its `record` answers, against its type, is not left to end the process. */
function following(sink: AuditSink): AuditSink {
  const { record, close } = auditTo((event, request) => sink.record(event, request))
  return {
    record,
    async close() {
      await close()
      await sink.close?.()
    },
  }
}

/** Options of {@link auditToConsole}. */
export interface ConsoleSinkOptions extends QueueOptions {
  /** Default `'text'`, a line that people read; `'json'` is a line of {@link serialiseEvent}. */
  readonly format?: 'text' | 'json' | undefined
  /** Where lines go. Default `console.log`. */
  readonly write?: ((line: string) => void) | undefined
}

/**
 * Prints one line for each decision. Nothing that an agent sends can break a line or move the cursor.
 *
 * @throws TypeError for wrong options.
 *
 * @example
 * ```text
 * 2026-01-01T12:00:00.000Z DENY  agent_1 delete:contacts contacts/42 denied by sales/no-delete "Deleting is for people" trace 7c0e…
 * ```
 */
export function auditToConsole(options: ConsoleSinkOptions = {}): BoundedSink {
  checkQueueOptions('auditToConsole', options, ['format', 'write'])
  const { format = 'text', write = console.log, capacity, onFull } = options
  assertOneOf('auditToConsole', 'format', format, ['text', 'json'])
  assertFunction('auditToConsole', 'write', write)
  const lineOf = format === 'json' ? serialiseEvent : describeEvent
  return boundedSink({
    name: 'audit on the console',
    capacity,
    onFull,
    write: (events) => {
      for (const event of events) write(lineOf(event))
    },
  })
}
