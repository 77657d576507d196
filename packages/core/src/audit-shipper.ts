import { createTransport } from '#transport'
import { count, noLosses } from './audit.js'
import { entryOf, printable } from './audit-line.js'
import { ConnectionError, messageOf } from './errors.js'
import { IO_OUTLIVES_REQUESTS } from './transport/requests.js'
import { Call, type GatewayAnswer, type GatewayUrl, sizeOfBatch, type Transport } from './transport/transport.js'
import type { AuditEvent, DecisionEvent } from './types.js'

/** What the gateway takes at once. */
const MAX_ENTRIES = 1000
const MAX_BYTES = 1_000_000

const FIRST_PAUSE_MS = 100
const MAX_PAUSE_MS = 30_000
/** How often it is tried once the sink is closed: a connection that was kept open may have been cut without a word. */
const LAST_ATTEMPTS = 3
/** What the gateway refused is taken for an entry of a time to come from this on; it refuses those of 5 minutes. */
const AHEAD_MS = 60_000

/** An event with what is sent of it; made once, so that its id stays the same however often it is sent. */
export interface Entry {
  readonly event: AuditEvent
  /** Changed only to correct its time. */
  json: string
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
  /** What is said once. */
  readonly #said = new Set<string>()
  /** When nothing is begun any more, by `performance.now()`; while it is not closed, there is no such time. */
  #endsAt: number | undefined
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

  /** The sink is closed: what waits is tried a few times more, without long pauses. */
  hurry(): void {
    this.#endsAt ??= performance.now() + 2 * this.#timeoutMs
    this.#wake?.()
  }

  /** Whether entries were given up because the sink is closed. */
  get hasGivenUp(): boolean {
    return this.#hasGivenUp
  }

  /**
   * Never fails: what cannot be shipped is counted. Entries are made when it is their turn, so that few are in memory.
   *
   * @param gatherMs A pause afterwards, in which more comes to be shipped together; none once the sink is closed.
   */
  async ship(events: readonly AuditEvent[], gatherMs: number): Promise<void> {
    let at = 0
    for (; at < events.length && !this.#hasGivenUp; at += MAX_ENTRIES) {
      await this.shipEntries(events.slice(at, at + MAX_ENTRIES).map((event) => this.#entryOf(event)))
    }
    for (const event of events.slice(at)) count(this.lost, event)
    if (gatherMs > 0 && this.#endsAt === undefined) await this.#pause(gatherMs, true)
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
    if (fate === 'refused' && batch.length === 1) this.#sayOnce('does not take a decision: it is lost, and counted')
    if (fate === 'given up' || batch.length === 1) return this.#lose(batch)
    const half = batch.length >> 1
    for (const part of [batch.slice(0, half), batch.slice(half)]) await this.#shipBatch(part)
  }

  #lose(entries: readonly Entry[]): void {
    for (const { event } of entries) count(this.lost, event)
  }

  /** Sends a batch until it is known what becomes of it. An attempt that began before the sink was closed is none of the last. */
  async #fateOf(batch: readonly Entry[]): Promise<'taken' | 'refused' | 'given up'> {
    let pauseMs = FIRST_PAUSE_MS
    let lastAttempts = LAST_ATTEMPTS
    let mayCorrect = true
    while (!this.#hasGivenUp) {
      const endsAt = this.#endsAt
      const fate = await this.#attempt(batch, mayCorrect)
      if (fate === 'taken' || fate === 'refused') return fate
      if (fate === 'corrected') {
        mayCorrect = false
        continue
      }
      this.#report(fate)
      if (endsAt === undefined) {
        await this.#pause(pauseMs)
        pauseMs = Math.min(pauseMs * 2, MAX_PAUSE_MS)
      } else if (--lastAttempts > 0 && performance.now() < endsAt) await this.#pause(FIRST_PAUSE_MS)
      else this.#hasGivenUp = true
    }
    return 'given up'
  }

  /** What became of them; or why that is not known yet. */
  async #attempt(batch: readonly Entry[], mayCorrect: boolean): Promise<string> {
    const call = new Call()
    const late = () => call.leave(new ConnectionError(`The gateway did not answer within ${this.#timeoutMs} ms`))
    const timer = setTimeout(late, this.#timeoutMs)
    const body = `{"entries":[${batch.map(({ json }) => json).join(',')}]}`
    try {
      const answer = await this.#transport.send({ method: 'POST', path: '/v1/audit', headers: this.#headers, body }, call)
      const { status } = answer
      if (status === 202) return this.#taken()
      if (status === 400 && mayCorrect && this.#correctTimes(batch, answer)) return 'corrected'
      if (status === 400 || status === 413) return 'refused'
      return `The gateway at ${this.#gateway.origin} answered ${status}`
    } catch (error) {
      return messageOf(error, 'The request failed')
    } finally {
      clearTimeout(timer)
    }
  }

  /**
   * The gateway takes no entry of a time to come. Where this machine's clock is ahead, entries get the time that they have by the
   * gateway's, which its answer tells (`Date`, RFC 9110, 6.6.1), and none that has not come there either.
   *
   * @returns whether there was such an entry.
   */
  #correctTimes(batch: readonly Entry[], answer: GatewayAnswer): boolean {
    const now = Date.parse(answer.header('date') ?? '')
    let isCorrected = false
    for (const entry of batch) {
      const fields = JSON.parse(entry.json)
      const at = Date.parse(fields.timestamp)
      if (!(at > now + AHEAD_MS)) continue
      const timestamp = new Date(now + Math.min(at - Date.now(), 0)).toISOString()
      entry.json = printable(JSON.stringify({ ...fields, timestamp }))
      this.#sayOnce('takes no decision of a time to come: its own clock counts')
      isCorrected = true
    }
    return isCorrected
  }

  /** Ends when the sink is closed. @param keepsAlive Whether the process stays for it. */
  async #pause(ms: number, keepsAlive = this.#endsAt !== undefined): Promise<void> {
    await new Promise<void>((resolve) => {
      this.#wake = resolve
      const timer: unknown = setTimeout(resolve, ms)
      if (!keepsAlive) (timer as { unref?(): void }).unref?.()
    })
  }

  #taken(): string {
    if (this.#isFailing) console.error('MeshGuard: audit to the gateway works again')
    this.#isFailing = false
    return 'taken'
  }

  #sayOnce(what: string): void {
    if (this.#said.has(what)) return
    this.#said.add(what)
    console.error(`MeshGuard: the gateway at ${this.#gateway.origin} ${what}`)
  }

  /** Once, until it works again. */
  #report(why: string): void {
    if (this.#isFailing) return
    this.#isFailing = true
    console.error(`MeshGuard: audit to the gateway is held up: ${printable(why)}`)
  }
}
