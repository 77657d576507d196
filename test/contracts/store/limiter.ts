import { type Bucket, createMemoryLimiter, type Taken } from '@meshguard/core'
import fc from 'fast-check'
import { errorOf, numbers, type StoreCase } from './spec.js'

function bucket(key: string, requests: number, windowMs = 60_000): Bucket {
  return { key, requests, windowMs }
}

const passed = (all: readonly Taken[]) => all.filter(({ ok }) => ok).length

export const limiter: readonly StoreCase[] = [
  {
    title: 'lets a burst of all requests through, then one every window divided by requests',
    async run({ store }, assert) {
      const three = [bucket('a', 3)]
      for (const n of numbers(1, 5)) assert.equal((await store.limiter.take(three, 0)).ok, n <= 3)
      assert.equal(await store.limiter.take(three, 19_999), { ok: false, retryAfter: 1, exhausted: three[0] })
      assert.equal(await store.limiter.take(three, 20_000), { ok: true, retryAfter: 0 })
      assert.equal(await store.limiter.take(three, 20_000), { ok: false, retryAfter: 20, exhausted: three[0] })
    },
  },
  {
    title: 'takes from all buckets or from none, and names the one that makes the caller wait longest',
    async run({ store }, assert) {
      const [small, large] = [bucket('small', 1, 3_600_000), bucket('large', 3)]
      assert.equal((await store.limiter.take([small, large], 0)).ok, true)
      for (const _ of numbers(1, 5)) {
        assert.equal(await store.limiter.take([large, small], 0), { ok: false, retryAfter: 3600, exhausted: small })
      }
      assert.equal(passed([await store.limiter.take([large], 0), await store.limiter.take([large], 0)]), 2)
      assert.equal((await store.limiter.take([large], 0)).ok, false)
    },
  },
  {
    title: 'lets exactly as many through as there are when all ask at the same time',
    async run({ store }, assert) {
      const buckets = [bucket('a', 7), bucket('b', 40)]
      const all = await Promise.all(numbers(1, 60).map(() => store.limiter.take(buckets, 1000)))
      assert.equal(passed(all), 7)
      assert.equal(passed(await Promise.all(numbers(1, 60).map(() => store.limiter.take([bucket('b', 40)], 1000)))), 33)
    },
  },
  {
    title: 'keeps what was used when the limit of a bucket changes',
    async run({ store }, assert) {
      for (const _ of numbers(1, 6)) await store.limiter.take([bucket('a', 10)], 0)
      const all = []
      for (const _ of numbers(1, 10)) all.push(await store.limiter.take([bucket('a', 8, 3_600_000)], 0))
      assert.equal(passed(all), 2)
    },
  },
  {
    title: 'remembers what was used over a restart',
    async run({ store, reopen }, assert) {
      await store.limiter.take([bucket('a', 1)], 1_763_881_111_111)
      const again = await reopen()
      assert.equal((await again.limiter.take([bucket('a', 1)], 1_763_881_111_112)).ok, false)
    },
  },
  {
    title: 'drops buckets that have run empty and keeps those that have not',
    async run({ store }, assert) {
      await store.limiter.take([bucket('long', 1, 86_400_000), bucket('short', 1, 1000)], 0)
      for (const n of numbers(1, 5)) await store.limiter.take([bucket(`passing ${n}`, 1, 1000)], n * 70_000)
      assert.equal((await store.limiter.take([bucket('short', 1, 1000)], 400_000)).ok, true)
      assert.equal((await store.limiter.take([bucket('long', 1, 86_400_000)], 400_000)).ok, false)
    },
  },
  {
    title: 'refuses a limit or a time that is no number',
    async run({ store }, assert) {
      assert.equal((await errorOf((async () => store.limiter.take([bucket('a', 1)], Number.NaN))())).name, 'TypeError')
      assert.equal((await store.limiter.take([bucket('a', Number.NaN)], 0)).ok, false)
      assert.equal((await store.limiter.take([bucket('a', 0)], 0)).ok, false)
      assert.equal((await store.limiter.take([], 0)).ok, true)
      assert.equal((await store.limiter.take([bucket('a', 1)], 0)).ok, true)
    },
  },
  {
    title: 'answers like the limiter in memory, whatever is asked and whenever',
    async run({ store }, assert) {
      const buckets = fc.uniqueArray(
        fc.record({
          key: fc.constantFrom('a', 'b', 'c'),
          requests: fc.integer({ min: 1, max: 5 }),
          windowMs: fc.constantFrom(1000, 7000, 60_000),
        }),
        { selector: ({ key }) => key, maxLength: 3 },
      )
      const steps = fc.array(fc.record({ buckets, passedMs: fc.integer({ min: -500, max: 20_000 }) }), { maxLength: 30 })
      let run = 0
      await fc.assert(
        fc.asyncProperty(steps, async (sequence) => {
          const memory = createMemoryLimiter()
          const prefix = `${run++}/`
          let now = 1_763_881_111_111
          for (const step of sequence) {
            now += step.passedMs
            const own = step.buckets.map((one) => ({ ...one, key: prefix + one.key }))
            assert.equal(await store.limiter.take(own, now), await memory.take(own, now))
          }
        }),
        { numRuns: Number(process.env['MESHGUARD_RUNS'] ?? 40), interruptAfterTimeLimit: 8000 },
      )
    },
  },
]
