import type { Bucket, Taken } from '../types.js'

/**
 * What is used of a bucket, in ticks: a request costs `windowMs` ticks and every millisecond gives `requests` of them back.
 * A full bucket is `requests * windowMs` ticks, so everything stays a whole number and nothing is lost to rounding.
 */
export interface Level {
  readonly used: number
  /** The time `used` was right at, in ms. */
  readonly at: number
  readonly requests: number
  readonly windowMs: number
}

/** Where levels are kept between requests; a `Map` is one. */
export interface Levels {
  get(key: string): Level | undefined
  set(key: string, level: Level): unknown
}

/** A clock that is set back by more than this (and more than the window) is believed; less is requests out of order. */
const CLOCK_SET_BACK_MS = 60_000

const TAKEN: Taken = Object.freeze({ ok: true, retryAfter: 0 })

/**
 * Takes one request from every bucket or, when one of them has none left, from none: GCRA with a burst of `requests`, after it
 * one request every `windowMs / requests`. The arithmetic of {@link createMemoryLimiter}, for a limiter of your own that keeps
 * its levels elsewhere; it is atomic if nothing else touches those levels meanwhile.
 *
 * @param now In ms since the epoch. A clock that goes backwards gives nothing back, unless it was set back by more than a
 * minute and more than the window.
 * @throws TypeError when `now` is no number.
 * @example
 * ```ts
 * const levels = new Map(await readLevels(buckets))
 * const taken = takeFrom(levels, buckets, Date.now())
 * if (taken.ok) await writeLevels(levels)
 * ```
 */
export function takeFrom(levels: Levels, buckets: readonly Bucket[], now: number): Taken {
  return refusalOf(levels, buckets, now) ?? payFor(levels, buckets, now)
}

/** Why the buckets refuse a request now, or `undefined` if every one of them has room. */
export function refusalOf(levels: Pick<Levels, 'get'>, buckets: readonly Bucket[], now: number): Taken | undefined {
  if (!Number.isFinite(now)) throw new TypeError('A limiter needs the time in ms')
  let waitMs = 0
  let exhausted: Bucket | undefined
  for (const bucket of buckets) {
    const wait = waitFor(levels.get(bucket.key), bucket, now)
    if (wait <= waitMs) continue
    waitMs = wait
    exhausted = bucket
  }
  if (exhausted === undefined) return undefined
  return { ok: false, retryAfter: Math.max(1, Math.ceil(waitMs / 1000)), exhausted }
}

/** Takes one request from every bucket, whether there is one left or not. */
export function payFor(levels: Levels, buckets: readonly Bucket[], now: number): Taken {
  for (const bucket of buckets) levels.set(bucket.key, pay(levels.get(bucket.key), bucket, now))
  return TAKEN
}

/** Whether nothing is used any more, so that the level is the same as none. */
export function isEmptyAt(level: Level, now: number): boolean {
  return usedAt(level, now) === 0
}

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
