import { assertOptions } from '../options.js'
import type { Bucket, Limiter, Taken } from '../types.js'
import { isEmptyAt, type Level, payFor, refusalOf } from './gcra.js'

/** Options of {@link createMemoryLimiter}. */
export interface MemoryLimiterOptions {
  /** Buckets in use at once: one per agent and limit. Default 100 000, about 25 MB. */
  readonly maxBuckets?: number | undefined
}

/** Old buckets looked at for every new one: twice what comes in, so that those that ran empty are gone before room is. */
const SWEPT_PER_NEW = 2
/** Old buckets looked at before a request is refused for want of room. */
const SWEPT_WHEN_FULL = 256

/**
 * Counts rate limits in the memory of this process, by GCRA with a burst of `requests`: after the burst one request every
 * `windowMs / requests`. A `take` is synchronous and therefore atomic.
 *
 * Memory is bounded. A bucket that has run empty is the same as none and is dropped. When `maxBuckets` are in use, a request
 * that would need another one is refused for a second: nobody gets more than a limit allows, so raise `maxBuckets` beyond
 * the number of agents times the limits they meet. A clock that goes backwards gives nothing back; after it was set back by
 * more than a minute and more than the window, counting goes on from the new time.
 *
 * @throws TypeError for an unknown option, and for a `maxBuckets` that is not a whole number from 1.
 *
 * @example
 * ```ts
 * const source = fromPolicies(policies, { limiter: createMemoryLimiter({ maxBuckets: 1_000_000 }) })
 * ```
 */
export function createMemoryLimiter(options: MemoryLimiterOptions = {}): Limiter {
  assertOptions('createMemoryLimiter', options, ['maxBuckets'])
  const maxBuckets = options.maxBuckets ?? 100_000
  if (!Number.isSafeInteger(maxBuckets) || maxBuckets < 1) {
    throw new TypeError('createMemoryLimiter: option "maxBuckets" must be a whole number from 1')
  }
  const levels = new Map<string, Level>()
  let cursor = levels.entries()

  function sweep(count: number, now: number): void {
    for (let i = 0; i < count; i++) {
      const next = cursor.next()
      if (next.done) {
        cursor = levels.entries()
        return
      }
      const [key, level] = next.value
      if (isEmptyAt(level, now)) levels.delete(key)
    }
  }

  function hasRoom(buckets: readonly Bucket[], now: number): boolean {
    let fresh = 0
    for (const { key } of buckets) if (!levels.has(key)) fresh++
    if (fresh === 0) return true
    sweep(SWEPT_PER_NEW * fresh, now)
    if (levels.size + fresh > maxBuckets) sweep(SWEPT_WHEN_FULL, now)
    return levels.size + fresh <= maxBuckets
  }

  function take(buckets: readonly Bucket[], now: number): Taken {
    const refused = refusalOf(levels, buckets, now)
    if (refused !== undefined) return refused
    if (!hasRoom(buckets, now)) return { ok: false, retryAfter: 1 }
    return payFor(levels, buckets, now)
  }

  return { take }
}
