import { assertOptions } from '../options.js'
import type { Bucket, Limiter, Taken } from '../types.js'

/** Options of {@link createMemoryLimiter}. */
export interface MemoryLimiterOptions {
  /** Buckets in use at once: one per agent and limit. Default 100 000, about 25 MB. */
  readonly maxBuckets?: number | undefined
}

/**
 * What is used of a bucket, in ticks: a request costs `windowMs` ticks and every millisecond gives `requests` of them back.
 * A full bucket is `requests * windowMs` ticks, so everything stays a whole number and nothing is lost to rounding.
 */
interface Level {
  used: number
  at: number
  requests: number
  windowMs: number
}

/** Old buckets looked at for every new one: twice what comes in, so that those that ran empty are gone before room is. */
const SWEPT_PER_NEW = 2
/** Old buckets looked at before a request is refused for want of room. */
const SWEPT_WHEN_FULL = 256
/** A clock that is set back by more than this (and more than the window) is believed; less is requests out of order. */
const CLOCK_SET_BACK_MS = 60_000

/**
 * Counts rate limits in the memory of this process, by GCRA with a burst of `requests`: after the burst one request every
 * `windowMs / requests`. A `take` is synchronous and therefore atomic.
 *
 * Memory is bounded. A bucket that has run empty is the same as none and is dropped. When `maxBuckets` are in use, a request
 * that would need another one is refused for a second: nobody gets more than a limit allows, so raise `maxBuckets` beyond
 * the number of agents times the limits they meet. A clock that goes backwards gives nothing back; after it was set back by
 * more than a minute and more than the window, counting goes on from the new time.
 *
 * @throws TypeError for an unknown option, and for a `maxBuckets` that is not a whole number of at least 1.
 */
export function createMemoryLimiter(options: MemoryLimiterOptions = {}): Limiter {
  assertOptions('createMemoryLimiter', options, ['maxBuckets'])
  const maxBuckets = options.maxBuckets ?? 100_000
  if (!Number.isSafeInteger(maxBuckets) || maxBuckets < 1) {
    throw new TypeError('createMemoryLimiter: option "maxBuckets" must be a whole number of at least 1')
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
      if (usedAt(level, now) === 0) levels.delete(key)
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
    if (!Number.isFinite(now)) throw new TypeError('A limiter needs the time in ms')
    let waitMs = 0
    let exhausted: Bucket | undefined
    for (const bucket of buckets) {
      const wait = waitFor(levels.get(bucket.key), bucket, now)
      if (wait <= waitMs) continue
      waitMs = wait
      exhausted = bucket
    }
    if (exhausted !== undefined) return { ok: false, retryAfter: Math.max(1, Math.ceil(waitMs / 1000)), exhausted }
    if (!hasRoom(buckets, now)) return { ok: false, retryAfter: 1 }
    for (const bucket of buckets) levels.set(bucket.key, pay(levels.get(bucket.key), bucket, now))
    return TAKEN
  }

  return { take }
}

const TAKEN: Taken = Object.freeze({ ok: true, retryAfter: 0 })

function usedAt(level: Level, now: number): number {
  const back = Math.max(0, now - level.at) * level.requests
  return back >= level.used ? 0 : level.used - back
}

/** What is used, in ticks of a bucket whose limit may have changed since: as many requests as before. */
function usedOf(level: Level | undefined, { requests, windowMs }: Bucket, now: number): number {
  if (level === undefined) return 0
  const used = usedAt(level, now)
  if (level.requests === requests && level.windowMs === windowMs) return used
  return Math.min(requests * windowMs, Math.ceil((used / level.windowMs) * windowMs))
}

/** Ms until one request fits; 0 when it fits now. Written so that a limit which is no number never fits. */
function waitFor(level: Level | undefined, bucket: Bucket, now: number): number {
  const { requests, windowMs } = bucket
  const over = usedOf(level, bucket, now) + windowMs - requests * windowMs
  if (over <= 0) return 0
  const wait = over / requests + Math.max(0, startOf(level, bucket, now) - now)
  return Number.isFinite(wait) ? wait : 1000
}

function pay(level: Level | undefined, bucket: Bucket, now: number): Level {
  const used = usedOf(level, bucket, now) + bucket.windowMs
  return { used, at: startOf(level, bucket, now), requests: bucket.requests, windowMs: bucket.windowMs }
}

function startOf(level: Level | undefined, { windowMs }: Bucket, now: number): number {
  if (level === undefined || level.at - now > Math.max(windowMs, CLOCK_SET_BACK_MS)) return now
  return Math.max(level.at, now)
}
