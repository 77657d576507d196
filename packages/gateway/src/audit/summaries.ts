import { randomUUID } from 'node:crypto'
import ipaddr from 'ipaddr.js'
import type { Services } from '../services.js'
import type { NewEntry } from './audit-log.js'

const MINUTE_MS = 60_000
/** Requests without an agent that are recorded one by one: of an address, and of all addresses together. */
const UNAUTHENTICATED_RPM = 60
const UNAUTHENTICATED_RPM_IN_ALL = 6000
/** Agents or addresses that are counted apart; the rest shares one count. */
const MAX_KEYS = 10_000
const THE_REST = ''

/** Counts what is recorded one by one in a minute, and what is not. */
class MinuteCounts {
  readonly #limit: number
  #counts = new Map<string, number>()

  constructor(limit: number) {
    this.#limit = limit
  }

  admits(key: string): boolean {
    const at = this.#counts.has(key) || this.#counts.size < MAX_KEYS ? key : THE_REST
    const count = (this.#counts.get(at) ?? 0) + 1
    this.#counts.set(at, count)
    return count <= this.#limit
  }

  /** How many were not admitted, by key; begins anew. */
  take(): [string, number][] {
    const over = [...this.#counts].flatMap(([key, count]): [string, number][] =>
      count > this.#limit ? [[key, count - this.#limit]] : [],
    )
    this.#counts = new Map()
    return over
  }
}

/**
 * Keeps floods out of the audit log: what is beyond a limit is counted, and once a minute one entry for each agent, and one for
 * all that came without an agent, says how many there were.
 */
export class Summaries {
  readonly #parts: Pick<Services, 'config' | 'log' | 'now'>
  readonly #append: (entry: NewEntry) => Promise<void>
  readonly #denials: MinuteCounts
  readonly #addresses = new MinuteCounts(UNAUTHENTICATED_RPM)
  readonly #timer: NodeJS.Timeout
  #unauthenticated = 0
  #surplus = 0
  #minute: number

  constructor(parts: Pick<Services, 'config' | 'log' | 'now'>, append: (entry: NewEntry) => Promise<void>) {
    this.#parts = parts
    this.#append = append
    this.#denials = new MinuteCounts(parts.config.deniedRpm)
    this.#minute = Math.floor(parts.now() / MINUTE_MS)
    this.#timer = setInterval(() => void this.#roll(), MINUTE_MS).unref()
  }

  admitsDenial(agentId: string): boolean {
    void this.#roll()
    return this.#denials.admits(agentId)
  }

  admitsUnauthenticated(ip: string): boolean {
    void this.#roll()
    const isAdmitted = this.#addresses.admits(networkOf(ip)) && this.#unauthenticated < UNAUTHENTICATED_RPM_IN_ALL
    if (isAdmitted) this.#unauthenticated++
    else this.#surplus++
    return isAdmitted
  }

  async close(): Promise<void> {
    clearInterval(this.#timer)
    await this.#write(this.#minute)
  }

  async #roll(): Promise<void> {
    const minute = Math.floor(this.#parts.now() / MINUTE_MS)
    if (minute === this.#minute) return
    const before = this.#minute
    this.#minute = minute
    await this.#write(before)
  }

  async #write(minute: number): Promise<void> {
    const period = { from: new Date(minute * MINUTE_MS).toISOString(), to: new Date((minute + 1) * MINUTE_MS).toISOString() }
    const denials = this.#denials.take()
    const addresses = this.#addresses.take()
    const surplus = this.#surplus
    this.#unauthenticated = 0
    this.#surplus = 0
    const entries = denials.map(([agentId, count]) =>
      this.#summaryOf('denials', count, { ...period }, agentId === THE_REST ? undefined : agentId),
    )
    if (surplus > 0) {
      const details = { ...period, addresses: addresses.length, most: addresses.sort(byCount).slice(0, MOST) }
      entries.push(this.#summaryOf('unauthenticated', surplus, details, undefined))
    }
    await Promise.all(entries.map((entry) => this.#record(entry)))
  }

  #summaryOf(what: string, count: number, details: object, agentId: string | undefined): NewEntry {
    return {
      traceId: randomUUID(),
      agentId,
      action: `summary:${what}`,
      decision: 'deny',
      code: 'too_many_requests',
      reason: `${count} more in this minute were counted and not recorded one by one`,
      mode: this.#parts.config.mode,
      source: 'gateway',
      metadata: { count, ...details },
    }
  }

  async #record(entry: NewEntry): Promise<void> {
    try {
      await this.#append(entry)
    } catch (error) {
      this.#parts.log.error({ err: error, summary: entry }, 'a summary could not be written to the audit log')
    }
  }
}

const MOST = 10

function byCount([, one]: [string, number], [, other]: [string, number]): number {
  return other - one
}

/** What is counted as one address: of IPv6 the /64 network, all of which is usually one caller's. */
function networkOf(ip: string): string {
  if (!ip.includes(':') || !ipaddr.isValid(ip)) return ip
  const address = ipaddr.process(ip)
  if (address.kind() === 'ipv4') return address.toString()
  const parts = (address as ipaddr.IPv6).parts.slice(0, 4)
  return `${parts.map((part) => part.toString(16)).join(':')}::/64`
}
