import type { AgentClaims } from './claims.js'

/** A token that was verified, and when it is good. */
export interface Verified<T> {
  /** What was made of the claims: an agent, where agents are verified. */
  readonly value: T
  readonly claims: AgentClaims
  /** Milliseconds since the epoch, the clock tolerance included. */
  readonly notBefore: number
  /** Milliseconds since the epoch, the clock tolerance included; at this very moment it is over. */
  readonly notAfter: number
}

/** How many tokens are remembered for one set of keys. */
export const MAX_REMEMBERED = 10_000

/**
 * The tokens that one set of keys has verified. Only good ones are ever put in, so nobody can crowd them out with bad ones.
 *
 * Two halves: when the younger is full it becomes the older, and what nobody asked for since then is forgotten.
 */
export class TokenMemory<T> {
  readonly #half: number
  #younger = new Map<string, Verified<T>>()
  #older = new Map<string, Verified<T>>()

  constructor(limit = MAX_REMEMBERED) {
    this.#half = Math.max(1, Math.floor(limit / 2))
  }

  get size(): number {
    return this.#younger.size + this.#older.size
  }

  get(token: string): Verified<T> | undefined {
    return this.#younger.get(token) ?? this.#promote(token)
  }

  /** Remembers, and answers what is remembered: the first of two that were verified at once. */
  add(token: string, verified: Verified<T>): Verified<T> {
    const known = this.get(token)
    if (known === undefined) this.#put(token, verified)
    return known ?? verified
  }

  #promote(token: string): Verified<T> | undefined {
    const verified = this.#older.get(token)
    if (verified === undefined) return undefined
    this.#put(token, verified)
    return verified
  }

  #put(token: string, verified: Verified<T>): void {
    if (this.#younger.size >= this.#half) {
      this.#older = this.#younger
      this.#younger = new Map()
    }
    this.#younger.set(token, verified)
  }
}
