import { covers } from '@meshguard/core/policy'
import fc from 'fast-check'
import type { AuditFilter, Store } from '../../../packages/gateway/src/store/store.js'
import { append, errorOf, numbers, row, type StoreCase } from './spec.js'

async function sequences(store: Store, filter: AuditFilter): Promise<number[]> {
  return (await store.audit.query(filter)).items.map(({ sequence }) => sequence)
}

/** All pages of a query, one after the other. */
async function walk(store: Store, filter: AuditFilter, between?: () => Promise<void>): Promise<number[]> {
  const seen: number[] = []
  let cursor: string | undefined
  do {
    const page = await store.audit.query({ ...filter, cursor })
    seen.push(...page.items.map(({ sequence }) => sequence))
    cursor = page.nextCursor
    await between?.()
  } while (cursor !== undefined)
  return seen
}

/** Asking the log. */
export const auditQuery: readonly StoreCase[] = [
  {
    title: 'answers the newest first by time, then sequence, or the oldest first',
    async run({ store }, assert) {
      await append(store, [
        row(1, { timestamp: 30 }),
        row(2, { timestamp: 10 }),
        row(3, { timestamp: 30 }),
        row(4, { timestamp: 20 }),
      ])
      assert.equal(await sequences(store, {}), [3, 1, 4, 2])
      assert.equal(await sequences(store, { order: 'oldest' }), [2, 4, 1, 3])
    },
  },
  {
    title: 'filters by decision, agent, trace, policy and exact action, and by all of them at once',
    async run({ store }, assert) {
      await append(store, [
        row(1, { agentId: 'a', policy: 'p' }),
        row(2, { agentId: 'b', decision: 'deny', code: 'denied' }),
        row(3, { agentId: 'a', decision: 'deny', code: 'denied', traceId: 'shared', action: 'write:x', policy: 'p' }),
        row(4, { traceId: 'shared' }),
      ])
      const cases: [AuditFilter, number[]][] = [
        [{ decision: 'deny' }, [3, 2]],
        [{ agentId: 'a' }, [3, 1]],
        [{ traceId: 'shared' }, [4, 3]],
        [{ policy: 'p' }, [3, 1]],
        [{ action: 'write:x' }, [3]],
        [{ decision: 'deny', agentId: 'a', traceId: 'shared', policy: 'p', action: 'write:*' }, [3]],
        [{ agentId: 'A' }, []],
        [{ agentId: '%' }, []],
        [{ agentId: '' }, []],
      ]
      for (const [filter, expected] of cases) assert.equal([filter, await sequences(store, filter)], [filter, expected])
    },
  },
  {
    title: 'takes a range of time from its first moment to before its last',
    async run({ store }, assert) {
      await append(
        store,
        numbers(1, 5).map((n) => row(n, { timestamp: n * 10 })),
      )
      assert.equal(await sequences(store, { from: 20, to: 40 }), [3, 2])
      assert.equal(await sequences(store, { from: 40 }), [5, 4])
      assert.equal([await sequences(store, { to: 10 }), await sequences(store, { from: 40, to: 20 })], [[], []])
    },
  },
  {
    title: 'takes * in an action for any run of characters and everything else literally',
    async run({ store }, assert) {
      const actions = [
        'read:contacts',
        'read:a_b',
        'read:a%b',
        'read:axb',
        'Read:contacts',
        'read:[a]',
        'read:a?b',
        'read:a\\b',
        'read:',
      ]
      await append(
        store,
        actions.map((action, i) => row(i, { action })),
      )
      const found = async (action: string) => (await sequences(store, { action, order: 'oldest' })).map((i) => actions[i])
      assert.equal(await found('read:con*'), ['read:contacts'])
      assert.equal(await found('*:contacts'), ['read:contacts', 'Read:contacts'])
      assert.equal(await found('read:a_*'), ['read:a_b'])
      assert.equal(await found('read:a%*'), ['read:a%b'])
      assert.equal(await found('read:[*'), ['read:[a]'])
      assert.equal(await found('read:a?*'), ['read:a?b'])
      assert.equal(await found('read:a\\*'), ['read:a\\b'])
      assert.equal((await found('read:*')).length, 8)
      assert.equal((await found('*')).length, 9)
      assert.equal([await found('READ:*'), await found('read:a_b*c'), await found('%')], [[], [], []])
    },
  },
  {
    title: 'finds by a pattern what policies would cover with it',
    async run({ store }, assert) {
      const word = fc.string({ unit: fc.constantFrom('a', 'b', ':', '_', '%', '\\', '?', '[', 'A'), maxLength: 6 })
      const actions = fc.sample(word, { numRuns: 200, seed: 1 })
      await append(
        store,
        actions.map((action, i) => row(i, { action })),
      )
      const pattern = fc.array(word, { minLength: 2, maxLength: 5 }).map((words) => words.join('*'))
      await fc.assert(
        fc.asyncProperty(pattern, async (action) => {
          const expected = [...actions.keys()].filter((i) => covers(action, actions[i] as string))
          assert.equal(await sequences(store, { action, order: 'oldest', limit: 1000 }), expected)
        }),
        { numRuns: Number(process.env['MESHGUARD_RUNS'] ?? 60), interruptAfterTimeLimit: 8000 },
      )
    },
  },
  {
    title: 'refuses an action with more than four stars, with 400',
    async run({ store }, assert) {
      assert.equal((await errorOf(store.audit.query({ action: '*a*b*c*d*' }))).status, 400)
      assert.equal(await sequences(store, { action: '*a*b*c*' }), [])
    },
  },
  {
    title: 'answers 50 rows unless asked, and at most 1 000',
    async run({ store }, assert) {
      await append(
        store,
        numbers(1, 60).map((n) => row(n)),
      )
      assert.equal([(await sequences(store, {})).length, (await sequences(store, { limit: 60 })).length], [50, 60])
      for (const limit of [0, 1001, -5, 2.5, Number.NaN])
        assert.equal((await errorOf(store.audit.query({ limit }))).status, 400)
    },
  },
  {
    title: 'pages through every row once in both orders, also where many share one moment and sequence',
    async run({ store }, assert) {
      for (const writer of ['x', 'y', 'z']) {
        await append(
          store,
          numbers(1, 6).map((n) => row(n, { writer, timestamp: Math.ceil(n / 4) })),
        )
      }
      for (const order of ['newest', 'oldest'] as const) {
        const all = await sequences(store, { order, limit: 1000 })
        assert.equal(all.length, 18)
        for (const limit of [1, 2, 5, 17, 18]) assert.equal(await walk(store, { order, limit }), all)
      }
    },
  },
  {
    title: 'gives no cursor after the last row',
    async run({ store }, assert) {
      await append(
        store,
        numbers(1, 4).map((n) => row(n)),
      )
      const first = await store.audit.query({ limit: 2 })
      const second = await store.audit.query({ limit: 2, cursor: first.nextCursor })
      assert.equal([typeof first.nextCursor, 'nextCursor' in second], ['string', false])
    },
  },
  {
    title: 'keeps the pages in place while rows are added',
    async run({ store }, assert) {
      await append(
        store,
        numbers(1, 9).map((n) => row(n)),
      )
      let next = 10
      const added = async () => append(store, [row(next++), row(next++)])
      assert.equal(await walk(store, { limit: 2 }, added), numbers(1, 9).reverse())
    },
  },
  {
    title: 'keeps the pages in place while old rows are cut off',
    async run({ store }, assert) {
      await append(
        store,
        numbers(1, 9).map((n) => row(n)),
      )
      const first = await store.audit.query({ limit: 3 })
      await store.audit.deleteThrough({ writer: 'gateway', sequence: 4, hash: 'h', timestamp: 1, signature: 's' })
      assert.equal(await sequences(store, { limit: 9, cursor: first.nextCursor }), [6, 5])
    },
  },
  {
    title: 'pages through what a filter leaves',
    async run({ store }, assert) {
      await append(
        store,
        numbers(1, 40).map((n) => row(n, { agentId: n % 7 === 0 ? 'rare' : 'usual' })),
      )
      assert.equal(await walk(store, { agentId: 'rare', limit: 2 }), [35, 28, 21, 14, 7])
      assert.equal(await walk(store, { agentId: 'rare', limit: 2, order: 'oldest', from: row(10).timestamp }), [14, 21, 28, 35])
    },
  },
  {
    title: 'finds what is rare in a long log, in both orders, and counts all of it',
    async run({ store }, assert) {
      const rare = new Set([3, 20_000, 20_001, 44_999])
      const rows = numbers(1, 45_000).map((n) =>
        row(n, rare.has(n) ? { agentId: 'rare', decision: 'deny', code: 'denied' } : {}),
      )
      for (let i = 0; i < rows.length; i += 5000) await append(store, rows.slice(i, i + 5000))
      assert.equal(await sequences(store, { agentId: 'rare' }), [...rare].reverse())
      assert.equal(await sequences(store, { agentId: 'rare', order: 'oldest' }), [...rare])
      assert.equal(await walk(store, { agentId: 'rare', limit: 1, order: 'oldest' }), [...rare])
      assert.equal(await sequences(store, { traceId: 'trace-2' }), [2])
      assert.equal(await sequences(store, { traceId: 'none' }), [])
      const topDenied = [{ action: 'read:contacts', count: 4 }]
      assert.equal(await store.audit.stats(0), { allowed: 44_996, denied: 4, topDenied })
    },
  },
  {
    title: 'refuses a cursor that it did not make, with 400',
    async run({ store }, assert) {
      await append(store, [row(1)])
      const agents = Buffer.from('[1,"a"]').toString('base64url')
      for (const cursor of ['', 'x', agents, 'WzEsMl0', 'WyIxIiwyLCJ4Il0', 'WzEsMixudWxsXQ', `${agents}=`]) {
        assert.equal([cursor, (await errorOf(store.audit.query({ cursor }))).status], [cursor, 400])
      }
    },
  },
]
