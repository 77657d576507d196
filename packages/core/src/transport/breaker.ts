/** So many exchanges in a row that did not reach the gateway, and it counts as down. */
const FAILURES = 5
/** How long nothing is sent then, before one exchange may find out. */
const PAUSE_MS = 1000

/**
 * A circuit breaker. While it is open nobody waits for a gateway that is down; after a pause one exchange probes whether it
 * still is. Only exchanges that did not *reach* the gateway open it: whatever it answers, it is there.
 */
export class Breaker {
  readonly #now: () => number
  #failures = 0
  /** When the next probe may begin; `undefined` while closed. */
  #probeAt: number | undefined
  #isProbing = false

  /** @param now In ms, on a clock that never goes back. */
  constructor(now: () => number = () => performance.now()) {
    this.#now = now
  }

  /** Whether an exchange begun now would be refused. */
  get isOpen(): boolean {
    return this.#probeAt !== undefined && (this.#isProbing || this.#now() < this.#probeAt)
  }

  /** Whether an exchange may begin. One of the three below must follow, once. */
  begin(): boolean {
    if (this.isOpen) return false
    this.#isProbing = this.#probeAt !== undefined
    return true
  }

  /** It was answered. */
  reached(): void {
    this.#failures = 0
    this.#probeAt = undefined
    this.#isProbing = false
  }

  /** It did not reach the gateway. */
  failed(): void {
    this.#failures++
    this.#isProbing = false
    if (this.#failures >= FAILURES) this.#probeAt = this.#now() + PAUSE_MS
  }

  /** Nobody waited for its end, so nothing was learnt. */
  abandoned(): void {
    this.#isProbing = false
  }
}
