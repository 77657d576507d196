/** So many exchanges in a row that did not reach the gateway, and it counts as down. */
const FAILURES = 5
/** How long nothing is sent then, before one exchange may find out. */
const PAUSE_MS = 1000
/** A probe that is under way for longer is not waited for: on Workers it may have ended with its request, without a word. */
const PROBE_MS = 10_000

/**
 * A circuit breaker. While it is open nobody waits for a gateway that is down; after a pause one exchange probes whether it
 * still is. Only exchanges that did not *reach* the gateway open it: whatever it answers, it is there.
 */
export class Breaker {
  readonly #now: () => number
  #failures = 0
  /** When the next probe may begin; `undefined` while closed. */
  #probeAt: number | undefined
  /** When the probe under way began. */
  #probingAt: number | undefined

  /** @param now In ms, on a clock that never goes back. */
  constructor(now: () => number = () => performance.now()) {
    this.#now = now
  }

  /** Whether an exchange begun now would be refused. */
  get isOpen(): boolean {
    if (this.#probeAt === undefined) return false
    const now = this.#now()
    return now < this.#probeAt || (this.#probingAt !== undefined && now < this.#probingAt + PROBE_MS)
  }

  /** Whether an exchange may begin. One of the three below must follow, once. */
  begin(): boolean {
    if (this.isOpen) return false
    if (this.#probeAt !== undefined) this.#probingAt = this.#now()
    return true
  }

  /** It was answered. */
  reached(): void {
    this.#failures = 0
    this.#probeAt = undefined
    this.#probingAt = undefined
  }

  /** It did not reach the gateway. */
  failed(): void {
    this.#failures++
    this.#probingAt = undefined
    if (this.#failures >= FAILURES) this.#probeAt = this.#now() + PAUSE_MS
  }

  /** Nobody waited for its end, so nothing was learnt. */
  abandoned(): void {
    this.#probingAt = undefined
  }
}
