import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { createMemoryLimiter } from '../../packages/core/src/policy/limiter.js'
import type { Bucket, Limiter, Taken } from '../../packages/core/src/types.js'

function bucket(key: string, requests: number, windowMs = 60_000): Bucket {
  return { key, requests, windowMs }
}

function take(limiter: Limiter, buckets: Bucket[], now: number): Taken {
  const taken = limiter.take(buckets, now)
  if ('then' in taken) throw new Error('The memory limiter answers at once')
  return taken
}

function countOk(limiter: Limiter, buckets: Bucket[], times: number, now: number): number {
  let ok = 0
  for (let i = 0; i < times; i++) if (take(limiter, buckets, now).ok) ok++
  return ok
}

describe('the memory limiter', () => {
  it('lets a burst of all requests through, then one every window divided by requests', () => {
    const limiter = createMemoryLimiter()
    const three = [bucket('a', 3)]
    expect(countOk(limiter, three, 5, 0)).toBe(3)
    expect(take(limiter, three, 19_999)).toMatchObject({ ok: false, retryAfter: 1, exhausted: three[0] })
    expect(take(limiter, three, 20_000).ok).toBe(true)
    expect(take(limiter, three, 20_000)).toMatchObject({ ok: false, retryAfter: 20 })
  })

  it.each([1, 3, 7, 11, 13, 49, 997])(
    'counts a burst of %i exactly at any time, because ticks are whole numbers',
    (requests) => {
      for (const now of [0, 1, 1_763_881_111_111]) {
        expect(countOk(createMemoryLimiter(), [bucket('a', requests)], requests + 5, now)).toBe(requests)
      }
    },
  )

  it('takes from all buckets or from none, and names the one that makes the caller wait longest', () => {
    const limiter = createMemoryLimiter()
    const [small, large] = [bucket('small', 1, 3_600_000), bucket('large', 3)]
    expect(take(limiter, [small, large], 0).ok).toBe(true)
    for (let i = 0; i < 5; i++)
      expect(take(limiter, [large, small], 0)).toEqual({ ok: false, retryAfter: 3600, exhausted: small })
    expect(countOk(limiter, [large], 5, 0)).toBe(2)
  })

  it('gives nothing back when the clock goes backwards a little, nor when requests come out of order', () => {
    const limiter = createMemoryLimiter()
    const two = [bucket('a', 2, 1000)]
    let ok = 0
    for (let i = 0; i < 100; i++) ok += countOk(limiter, two, 1, i % 2 === 0 ? 10_500 : 10_000)
    expect(ok).toBe(2)
    expect(take(limiter, two, 10_999).ok).toBe(false)
    expect(take(limiter, two, 11_000).ok).toBe(true)
  })

  it('goes on counting from the new time when the clock was set back', () => {
    const limiter = createMemoryLimiter()
    const one = [bucket('a', 1)]
    expect(take(limiter, one, 10_000_000).ok).toBe(true)
    expect(take(limiter, one, 10_000).ok).toBe(false)
    expect(take(limiter, one, 10_000).retryAfter).toBe(60)
  })

  it('keeps what was used when the limit of a bucket changes', () => {
    const limiter = createMemoryLimiter()
    expect(countOk(limiter, [bucket('a', 10)], 6, 0)).toBe(6)
    expect(countOk(limiter, [bucket('a', 8, 3_600_000)], 10, 0)).toBe(2)
    expect(countOk(limiter, [bucket('a', 4)], 10, 0)).toBe(0)
  })

  it('drops buckets that have run empty and keeps those that have not', () => {
    const limiter = createMemoryLimiter({ maxBuckets: 100 })
    expect(countOk(limiter, [bucket('kept', 1, 86_400_000)], 1, 0)).toBe(1)
    for (let i = 0; i < 5000; i++) expect(take(limiter, [bucket(`passing ${i}`, 1, 1000)], i * 100).ok).toBe(true)
    expect(take(limiter, [bucket('kept', 1, 86_400_000)], 500_000).ok).toBe(false)
  })

  it('refuses what it has no room to count, and nothing that it counts already', () => {
    const limiter = createMemoryLimiter({ maxBuckets: 3 })
    for (const key of ['a', 'b', 'c']) expect(take(limiter, [bucket(key, 2)], 0).ok).toBe(true)
    expect(take(limiter, [bucket('d', 2)], 0)).toEqual({ ok: false, retryAfter: 1 })
    expect(take(limiter, [bucket('a', 2), bucket('d', 2)], 0).ok).toBe(false)
    expect(countOk(limiter, [bucket('a', 2)], 3, 0)).toBe(1)
    expect(take(limiter, [bucket('d', 2)], 60_000).ok).toBe(true)
  })

  it('refuses what cannot be counted', () => {
    const limiter = createMemoryLimiter()
    expect(take(limiter, [bucket('a', 0)], 0).ok).toBe(false)
    expect(take(limiter, [bucket('b', Number.NaN)], 0).ok).toBe(false)
    expect(() => limiter.take([bucket('c', 1)], Number.NaN)).toThrow(TypeError)
    expect(() => createMemoryLimiter({ maxBuckets: 0 })).toThrow(/maxBuckets/)
    expect(() => createMemoryLimiter({ maxBucket: 5 } as never)).toThrow(/unknown option "maxBucket".*"maxBuckets"/)
  })

  it('never lets more through in any stretch of time than a burst and what the stretch gives back', () => {
    const steps = fc.array(fc.tuple(fc.integer({ min: -3000, max: 4000 }), fc.integer({ min: 1, max: 5 })), { maxLength: 60 })
    const numRuns = Number(process.env['MESHGUARD_RUNS'] ?? 5000) / 5
    fc.assert(
      fc.property(steps, fc.integer({ min: 1, max: 9 }), (path, requests) => {
        const limiter = createMemoryLimiter()
        const passed: number[] = []
        let now = 1_000_000
        let latest = Number.NEGATIVE_INFINITY
        for (const [step, times] of path) {
          now += step
          latest = Math.max(latest, now)
          for (let i = 0; i < times; i++) if (take(limiter, [bucket('a', requests, 10_000)], now).ok) passed.push(latest)
        }
        for (const [i, from] of passed.entries()) {
          for (const [j, to] of passed.entries()) {
            if (j < i) continue
            expect(j - i + 1).toBeLessThanOrEqual(requests + Math.floor(((to - from) * requests) / 10_000))
          }
        }
      }),
      { numRuns },
    )
  }, 120_000)
})
