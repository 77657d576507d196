import type { AgentFilter, Store } from '../../../packages/gateway/src/store/store.js'
import { agent, errorOf, numbers, type StoreCase } from './spec.js'

async function ids(store: Store, filter: AgentFilter = {}): Promise<string[]> {
  return (await store.agents.list(filter)).items.map(({ id }) => id)
}

export const agents: readonly StoreCase[] = [
  {
    title: 'answers an agent as it was inserted, member for member',
    async run({ store }, assert) {
      const everything = agent('a', {
        name: `Ünï "quoted" 'single' \\ 🤖`,
        trustTier: 'privileged',
        tags: ['one', 'two'],
        metadata: { nested: { list: [1, null, 'x'] }, '': 'empty key' },
        status: 'revoked',
        generation: 7,
        revokedAt: 1_763_881_111_111,
        lastSeenAt: 1_763_881_111_112,
      })
      await store.agents.insert(everything)
      assert.equal(await store.agents.get('a'), everything)
      await store.agents.insert(agent('b'))
      assert.equal(Object.keys((await store.agents.get('b')) ?? {}).sort(), Object.keys(agent('b')).sort())
    },
  },
  {
    title: 'answers undefined for an agent that is not there',
    async run({ store }, assert) {
      await store.agents.insert(agent('a'))
      assert.equal([await store.agents.get('A'), await store.agents.get('a '), await store.agents.get('')], [null, null, null])
    },
  },
  {
    title: 'refuses an ID that is taken and leaves the first agent as it is',
    async run({ store }, assert) {
      await store.agents.insert(agent('a', { tags: ['first'] }))
      assert.equal((await errorOf(store.agents.insert(agent('a', { tags: ['second'] })))).status, 409)
      assert.equal((await store.agents.get('a'))?.tags, ['first'])
      assert.equal([await ids(store, { tag: 'first' }), await ids(store, { tag: 'second' })], [['a'], []])
    },
  },
  {
    title: 'lists agents oldest first, those of one moment by ID',
    async run({ store }, assert) {
      for (const [id, createdAt] of Object.entries({ c: 1, b: 2, z: 1, a: 3 }))
        await store.agents.insert(agent(id, { createdAt }))
      assert.equal(await ids(store), ['c', 'z', 'b', 'a'])
    },
  },
  {
    title: 'filters agents by tier, status and tag, and by all of them at once',
    async run({ store }, assert) {
      await store.agents.insert(agent('a', { tags: ['x', 'y'] }))
      await store.agents.insert(agent('b', { tags: ['x'], trustTier: 'trusted' }))
      await store.agents.insert(agent('c', { tags: ['x'], trustTier: 'trusted', status: 'revoked' }))
      assert.equal(await ids(store, { tag: 'x' }), ['a', 'b', 'c'])
      assert.equal(await ids(store, { trustTier: 'trusted' }), ['b', 'c'])
      assert.equal(await ids(store, { status: 'revoked' }), ['c'])
      assert.equal(await ids(store, { tag: 'x', trustTier: 'trusted', status: 'active' }), ['b'])
    },
  },
  {
    title: 'takes a tag of a filter literally and whole',
    async run({ store }, assert) {
      await store.agents.insert(agent('a', { tags: ['a', 'b', '%', 'say "hi"'] }))
      for (const tag of ['a', '%', 'say "hi"']) assert.equal(await ids(store, { tag }), ['a'])
      for (const tag of [',', '"', 'A', '_', 'a","b', 'say', '']) assert.equal(await ids(store, { tag }), [])
    },
  },
  {
    title: 'pages through all agents once, whatever the size of a page',
    async run({ store }, assert) {
      for (const n of numbers(1, 7)) await store.agents.insert(agent(`a${n}`, { createdAt: Math.ceil(n / 3) }))
      for (const limit of numbers(1, 8)) {
        const seen: string[] = []
        let cursor: string | undefined
        do {
          const page = await store.agents.list({ limit, cursor })
          assert.ok(page.items.length <= limit, 'a page is too long')
          seen.push(...page.items.map(({ id }) => id))
          cursor = page.nextCursor
        } while (cursor !== undefined)
        assert.equal(
          seen,
          numbers(1, 7).map((n) => `a${n}`),
        )
      }
    },
  },
  {
    title: 'keeps the pages of agents in place while others are added',
    async run({ store }, assert) {
      for (const n of numbers(1, 4)) await store.agents.insert(agent(`a${n}`, { createdAt: n * 10 }))
      const first = await store.agents.list({ limit: 2 })
      await store.agents.insert(agent('before', { createdAt: 5 }))
      await store.agents.insert(agent('between', { createdAt: 25 }))
      assert.equal(await ids(store, { limit: 9, cursor: first.nextCursor }), ['between', 'a3', 'a4'])
    },
  },
  {
    title: 'changes what is named, sets updatedAt, and answers the agent after it',
    async run({ store }, assert) {
      await store.agents.insert(agent('a', { tags: ['old'], metadata: { kept: true } }))
      const after = await store.agents.update('a', { name: 'New', tags: ['new', 'new'], generation: 1 }, 5000)
      assert.equal(
        after,
        agent('a', { name: 'New', tags: ['new', 'new'], generation: 1, metadata: { kept: true }, updatedAt: 5000 }),
      )
      assert.equal(await store.agents.get('a'), after)
      assert.equal([await ids(store, { tag: 'old' }), await ids(store, { tag: 'new' })], [[], ['a']])
    },
  },
  {
    title: 'takes being seen for no change of the agent',
    async run({ store }, assert) {
      await store.agents.insert(agent('a'))
      assert.equal(await store.agents.update('a', { lastSeenAt: 9000 }, 9000), agent('a', { lastSeenAt: 9000 }))
      assert.equal((await store.agents.update('a', {}, 9999))?.updatedAt, 1000)
      assert.equal((await store.agents.update('a', { status: 'revoked', revokedAt: 9001 }, 9001))?.updatedAt, 9001)
    },
  },
  {
    title: 'answers undefined for a change of an unknown agent and makes none',
    async run({ store }, assert) {
      assert.equal(await store.agents.update('a', { name: 'x', tags: ['y'] }, 1), undefined)
      assert.equal(await ids(store), [])
    },
  },
  {
    title: 'loses no change of one agent among many at the same time',
    async run({ store }, assert) {
      await store.agents.insert(agent('a'))
      await Promise.all([
        store.agents.update('a', { name: 'New' }, 2000),
        store.agents.update('a', { tags: ['t'] }, 2000),
        store.agents.update('a', { trustTier: 'trusted' }, 2000),
        store.agents.update('a', { generation: 3 }, 2000),
        ...numbers(1, 20).map((n) => store.agents.update('a', { lastSeenAt: n }, n)),
      ])
      const { lastSeenAt, ...rest } = (await store.agents.get('a')) ?? agent('gone')
      assert.equal(rest, agent('a', { name: 'New', tags: ['t'], trustTier: 'trusted', generation: 3, updatedAt: 2000 }))
    },
  },
  {
    title: 'raises a generation once, whoever raises it to the same at the same time, and never lowers it',
    async run({ store }, assert) {
      await store.agents.insert(agent('a'))
      const raise = (generation: number, name: string) =>
        store.agents.update('a', { generation, name }, 2000).then(
          (after) => after?.name,
          (error) => error.status,
        )
      const raised = await Promise.all(['one', 'two', 'three'].map((name) => raise(1, name)))
      assert.equal(raised.filter((status) => status === 409).length, 2)
      const name = raised.find((status) => status !== 409)
      assert.equal(await raise(0, 'four'), 409)
      assert.equal(await store.agents.get('a'), agent('a', { name, generation: 1, updatedAt: 2000 }))
    },
  },
  {
    title: 'says which of some ids are of agents, whatever became of them',
    async run({ store }, assert) {
      for (const n of numbers(1, 3)) await store.agents.insert(agent(`a${n}`))
      await store.agents.update('a2', { status: 'revoked', revokedAt: 5000 }, 5000)
      const known = await store.agents.known(['a2', 'A1', 'a4', '', 'a1', 'a1'])
      assert.equal([[...known].sort(), [...(await store.agents.known([]))]], [['a1', 'a2'], []])
      const many = await store.agents.known(numbers(1, 1000).map((n) => `a${n}`))
      assert.equal(many.size, 3)
    },
  },
  {
    title: 'lists the agents that were changed since a time, the earliest change first, and none that is as it was made',
    async run({ store }, assert) {
      for (const n of numbers(1, 9)) await store.agents.insert(agent(`a${n}`, { createdAt: 1000, updatedAt: 1000 }))
      await store.agents.update('a3', { trustTier: 'trusted' }, 5000)
      await store.agents.update('a1', { generation: 1 }, 6000)
      await store.agents.update('a2', { status: 'revoked', revokedAt: 5000 }, 5000)
      await store.agents.update('a5', { lastSeenAt: 9000 }, 9000)
      await store.agents.update('a6', { name: 'changed when the clock was behind' }, 900)
      const changed = async (since: number, limit?: number) => {
        const seen: string[] = []
        let cursor: string | undefined
        do {
          const page = await store.agents.changedSince(since, { ...(limit !== undefined && { limit }), cursor })
          seen.push(...page.items.map(({ id }) => id))
          cursor = page.nextCursor
        } while (cursor !== undefined)
        return seen
      }
      for (const limit of [undefined, 1, 2, 3, 4]) assert.equal(await changed(0, limit), ['a6', 'a2', 'a3', 'a1'])
      assert.equal(await changed(5001), ['a1'])
      assert.equal(await changed(5000), ['a2', 'a3', 'a1'])
      assert.equal(await changed(6001), [])
      assert.equal((await errorOf(store.agents.changedSince(0, { cursor: 'x' }))).status, 400)
    },
  },
  {
    title: 'refuses a cursor that it did not make, with 400',
    async run({ store }, assert) {
      await store.agents.insert(agent('a'))
      const cursors = ['', 'x', '????', 'W10', 'WzFd', 'WyIxIiwyXQ', 'bnVsbA', 'e30', 'WzEsImEiXQ==', 'WzEsImEiXQ ', '[1,"a"]']
      for (const cursor of cursors) assert.equal([cursor, (await errorOf(store.agents.list({ cursor }))).status], [cursor, 400])
      assert.equal(await ids(store, { cursor: 'WzEsImEiXQ' }), ['a'])
    },
  },
  {
    title: 'refuses a page of no or too many agents, with 400',
    async run({ store }, assert) {
      for (const limit of [0, -1, 1.5, 1001, Number.NaN, Number.POSITIVE_INFINITY]) {
        assert.equal((await errorOf(store.agents.list({ limit }))).status, 400)
      }
      assert.equal(await ids(store, { limit: 1000 }), [])
    },
  },
]
