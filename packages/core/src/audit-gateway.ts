import { createTransport } from '#transport'
import {
  type AuditLosses,
  type BoundedSink,
  boundedSink,
  checkQueueOptions,
  count,
  noLosses,
  type QueueOptions,
} from './audit.js'
import { entryOf, printable } from './audit-line.js'
import { ConnectionError, messageOf } from './errors.js'
import { assertMs } from './options.js'
import { IO_OUTLIVES_REQUESTS } from './transport/requests.js'
import { assertToken, Call, type GatewayUrl, readGatewayUrl, sizeOfBatch, type Transport } from './transport/transport.js'
import type { AuditEvent, DecisionEvent } from './types.js'

/** Options of {@link auditToGateway}. */
export interface GatewaySinkOptions extends QueueOptions {
  /** Where the gateway is: `http://127.0.0.1:3100`. */
  readonly url: string
  /** A service token with the scope `audit:write`. */
  readonly token: string
  /** How long one request may take, in ms. Default 5000. */
  readonly timeoutMs?: number | undefined
}

const DEFAULT_TIMEOUT_MS = 5000

/** What the gateway takes at once. */
const MAX_ENTRIES = 1000
const MAX_BYTES = 1_000_000

const FIRST_PAUSE_MS = 100
const MAX_PAUSE_MS = 30_000
/** How often it is tried once the sink is closed. */
const LAST_ATTEMPTS = 2

/**
 * Ships decisions to the gateway's audit log, in batches, one request at a time.
 *
 * Each has an id of its own that it keeps, and the gateway takes an id once: what may have got lost on the way is sent again, with
 * pauses that double from 0.1 to 30 s, and is recorded once. Meanwhile the queue fills; `onFull` says what happens then.
 * What the gateway refuses for good (400, 413) is taken apart until only the entries that it does not take are lost; they are
 * counted in `dropped`. How governed work ended is no entry of the gateway's log and is left out. After `close()` what waits is tried
 * twice more, without a pause; what could not be shipped then is counted. Where decisions come of `fromGateway`, the gateway
 * has recorded them already.
 *
 * The console is told when shipping begins to fail, and when it works again. As in every line that MeshGuard writes, long fields
 * are cut and tokens are left out.
 *
 * @throws TypeError for wrong options.
 *
 * @example
 * ```ts
 * const guard = createGuard({ source, audit: auditToGateway({ url, token: 'msvc_…' }) })
 * ```
 */
export function auditToGateway(options: GatewaySinkOptions): BoundedSink {
  checkQueueOptions('auditToGateway', options, ['url', 'token', 'timeoutMs'])
  const { url, token, timeoutMs = DEFAULT_TIMEOUT_MS, capacity, onFull } = options
  const gateway = readGatewayUrl('auditToGateway', url)
  assertToken('auditToGateway', token)
  assertMs('auditToGateway', 'timeoutMs', timeoutMs)
  const shipper = new Shipper(gateway, token, timeoutMs)
  const sink = boundedSink({ capacity, onFull, name: 'audit to the gateway', write: (events) => shipper.ship(events) })
  return {
    record(event, request) {
      if (event.type === 'decision') sink.record(event, request)
    },
    get dropped() {
      return sum(sink.dropped, shipper.lost)
    },
    close() {
      shipper.hurry()
      return sink.close()
    },
  }
}

/** Both losses together. */
export function sum(one: AuditLosses, other: AuditLosses): AuditLosses {
  return {
    allowed: one.allowed + other.allowed,
    denied: one.denied + other.denied,
    outcomes: one.outcomes + other.outcomes,
  }
}

/** An event with what is sent of it; made once, so that its id stays the same however often it is sent. */
export interface Entry {
  readonly event: AuditEvent
  readonly json: string
}

/** An entry of a decision, with a new id. */
export function toEntry(event: AuditEvent): Entry {
  return { event, json: printable(JSON.stringify(entryOf(event as DecisionEvent, crypto.randomUUID()))) }
}

/** A unit of UTF-16 is three bytes of UTF-8 at most. */
function bytesOf({ json }: Entry): number {
  return 3 * json.length
}

/** Sends entries to a gateway until it is known what becomes of them. */
export class Shipper {
  /** What the gateway does not take, and what was given up. */
  readonly lost = noLosses()
  readonly #entries = new WeakMap<AuditEvent, Entry>()
  readonly #gateway: GatewayUrl
  readonly #transport: Transport
  readonly #headers: Readonly<Record<string, string>>
  readonly #timeoutMs: number
  readonly #keepsRest: boolean
  #isFailing = false
  #hasRefused = false
  #isClosing = false
  #hasGivenUp = false
  #wake: (() => void) | undefined

  /** @param keepsRest What is given up is not lost: somebody else has it. */
  constructor(gateway: GatewayUrl, token: string, timeoutMs: number, keepsRest = false) {
    this.#gateway = gateway
    this.#keepsRest = keepsRest
    this.#transport = createTransport(gateway)
    this.#headers = { accept: 'application/json', authorization: `Bearer ${token}`, 'content-type': 'application/json' }
    this.#timeoutMs = timeoutMs
  }

  /** No pause is waited for any more. */
  hurry(): void {
    this.#isClosing = true
    this.#wake?.()
  }

  /** Whether entries were given up because the sink is closed. */
  get hasGivenUp(): boolean {
    return this.#hasGivenUp
  }

  /** Never fails: what cannot be shipped is counted. Entries are made when it is their turn, so that few are in memory. */
  async ship(events: readonly AuditEvent[]): Promise<void> {
    let at = 0
    for (; at < events.length && !this.#hasGivenUp; at += MAX_ENTRIES) {
      await this.shipEntries(events.slice(at, at + MAX_ENTRIES).map((event) => this.#entryOf(event)))
    }
    for (const event of events.slice(at)) count(this.lost, event)
  }

  async shipEntries(entries: readonly Entry[]): Promise<void> {
    let rest = entries
    while (rest.length > 0 && !this.#hasGivenUp) {
      const size = sizeOfBatch(rest, bytesOf, MAX_ENTRIES, MAX_BYTES)
      await this.#shipBatch(rest.slice(0, size))
      rest = rest.slice(size)
    }
    if (!this.#keepsRest) this.#lose(rest)
  }

  /** What is shipped again by another request keeps its id. */
  #entryOf(event: AuditEvent): Entry {
    const entry = this.#entries.get(event) ?? toEntry(event)
    if (!IO_OUTLIVES_REQUESTS) this.#entries.set(event, entry)
    return entry
  }

  async #shipBatch(batch: readonly Entry[]): Promise<void> {
    const fate = await this.#fateOf(batch)
    if (fate === 'taken' || (fate === 'given up' && this.#keepsRest)) return
    if (fate === 'refused' && batch.length === 1) this.#reportRefused()
    if (fate === 'given up' || batch.length === 1) return this.#lose(batch)
    const half = batch.length >> 1
    for (const part of [batch.slice(0, half), batch.slice(half)]) await this.#shipBatch(part)
  }

  #lose(entries: readonly Entry[]): void {
    for (const { event } of entries) count(this.lost, event)
  }

  /** Sends a batch until it is known what becomes of it. */
  async #fateOf(batch: readonly Entry[]): Promise<'taken' | 'refused' | 'given up'> {
    let pauseMs = FIRST_PAUSE_MS
    for (let lastAttempts = LAST_ATTEMPTS; !this.#hasGivenUp; ) {
      const fate = await this.#attempt(batch)
      if (fate === 'taken' || fate === 'refused') return fate
      this.#report(fate)
      if (this.#isClosing) this.#hasGivenUp = --lastAttempts === 0
      else await this.#pause(pauseMs)
      pauseMs = Math.min(pauseMs * 2, MAX_PAUSE_MS)
    }
    return 'given up'
  }

  /** What became of them; or why that is not known yet. */
  async #attempt(batch: readonly Entry[]): Promise<string> {
    const call = new Call()
    const late = () => call.leave(new ConnectionError(`The gateway did not answer within ${this.#timeoutMs} ms`))
    const timer = setTimeout(late, this.#timeoutMs)
    const body = `{"entries":[${batch.map(({ json }) => json).join(',')}]}`
    try {
      const { status } = await this.#transport.send({ method: 'POST', path: '/v1/audit', headers: this.#headers, body }, call)
      if (status === 202) this.#works()
      if (status === 202) return 'taken'
      if (status === 400 || status === 413) return 'refused'
      return `The gateway at ${this.#gateway.origin} answered ${status}`
    } catch (error) {
      return messageOf(error, 'The request failed')
    } finally {
      clearTimeout(timer)
    }
  }

  /** Does not keep a process alive, and ends when the sink is closed. */
  async #pause(ms: number): Promise<void> {
    await new Promise<void>((resolve) => {
      this.#wake = resolve
      const timer: unknown = setTimeout(resolve, ms)
      ;(timer as { unref?(): void }).unref?.()
    })
  }

  #works(): void {
    if (!this.#isFailing) return
    this.#isFailing = false
    console.error('MeshGuard: audit to the gateway works again')
  }

  /** Once: how many they are is in `dropped`. */
  #reportRefused(): void {
    if (this.#hasRefused) return
    this.#hasRefused = true
    console.error(
      `MeshGuard: the gateway at ${this.#gateway.origin} does not take a decision (400 or 413); is this machine's clock ahead? Such decisions are lost and counted`,
    )
  }

  /** Once, until it works again. */
  #report(why: string): void {
    if (this.#isFailing) return
    this.#isFailing = true
    console.error(`MeshGuard: audit to the gateway is held up: ${printable(why)}`)
  }
}
