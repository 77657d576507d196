import { append, checkpoint, errorOf, numbers, row, type StoreCase } from './spec.js'

/** Writing to the log, and reading its chains. */
export const audit: readonly StoreCase[] = [
  {
    title: 'answers rows as they were appended, member for member',
    async run({ store: { audit } }, assert) {
      const everything = row(1, {
        id: '0190163d-8694-739b-aea5-966c26f8ad91',
        agentId: 'agent_1',
        decision: 'deny',
        code: 'no_match',
        policy: 'contacts',
        entry: '{"text":"ü \\"quoted\\" 🤖 \\u0000 \\u2028"}',
      })
      await audit.append([everything, row(2)], checkpoint(2))
      assert.equal((await audit.query({ order: 'oldest' })).items, [everything, row(2)])
      assert.equal(Object.keys((await audit.head('gateway')) ?? {}).sort(), Object.keys(row(2)).sort())
    },
  },
  {
    title: 'appends all rows or none, and no checkpoint without its rows',
    async run({ store: { audit } }, assert) {
      await audit.append([row(1)], checkpoint(1))
      const error = await errorOf(audit.append([row(2), row(3, { id: 'gateway-1' }), row(4)], checkpoint(4)))
      assert.equal(error.status, 409)
      assert.equal([(await audit.query({})).items, await audit.checkpoint('gateway')], [[row(1)], checkpoint(1)])
      await audit.append([row(2)], checkpoint(2))
      assert.equal((await audit.head('gateway'))?.sequence, 2)
    },
  },
  {
    title: 'refuses a second row at the same place of a chain',
    async run({ store: { audit } }, assert) {
      await audit.append([row(1)], checkpoint(1))
      assert.equal((await errorOf(audit.append([row(1, { id: 'other' })], checkpoint(1)))).status, 409)
      await audit.append([row(1, { writer: 'another' })], checkpoint(1, 'another'))
    },
  },
  {
    title: 'keeps every row of appends at the same time',
    async run({ store }, assert) {
      const writers = numbers(1, 12).map((n) => `writer ${n}`)
      await Promise.all(
        writers.map((writer) =>
          append(
            store,
            numbers(1, 20).map((n) => row(n, { writer })),
          ),
        ),
      )
      assert.equal((await store.audit.query({ limit: 1000 })).items.length, 240)
      assert.equal((await store.audit.writers()).length, 12)
    },
  },
  {
    title: 'keeps rows after it was opened again, and goes on',
    async run({ store, reopen }, assert) {
      await append(store, [row(1), row(2)])
      const again = await reopen()
      await append(again, [row(3)])
      assert.equal(
        (await again.audit.scan('gateway', 0, 10)).map(({ sequence }) => sequence),
        [1, 2, 3],
      )
      assert.equal(await again.audit.checkpoint('gateway'), checkpoint(3))
    },
  },
  {
    title: 'says which of some IDs are there already',
    async run({ store }, assert) {
      await append(store, [row(1), row(2)])
      const known = await store.audit.known(['gateway-2', 'GATEWAY-1', 'gateway-3', '', 'gateway-2'])
      assert.equal([[...known], [...(await store.audit.known([]))]], [['gateway-2'], []])
      const many = await store.audit.known(numbers(1, 1000).map((n) => `gateway-${n}`))
      assert.equal(many.size, 2)
    },
  },
  {
    title: 'reads one chain in order, a block at a time',
    async run({ store: { audit } }, assert) {
      const back = numbers(1, 5).map((n) => row(n, { timestamp: 1000 - n }))
      await audit.append(back, checkpoint(5))
      await audit.append([row(1, { writer: 'other' })], checkpoint(1, 'other'))
      assert.equal(await audit.scan('gateway', 0, 2), back.slice(0, 2))
      assert.equal(await audit.scan('gateway', 2, 10), back.slice(2))
      assert.equal([await audit.scan('gateway', 5, 10), await audit.scan('none', 0, 10)], [[], []])
    },
  },
  {
    title: 'answers the last row and the newest checkpoint of each chain',
    async run({ store }, assert) {
      await append(store, [row(1), row(2)])
      await append(store, [row(3)])
      await append(store, [row(1, { writer: 'other' })])
      const { audit } = store
      assert.equal([await audit.head('gateway'), await audit.checkpoint('gateway')], [row(3), checkpoint(3)])
      assert.equal((await audit.head('other'))?.id, 'other-1')
      assert.equal([await audit.head('none'), await audit.checkpoint('none'), await audit.cut('none')], [null, null, null])
      assert.equal(await audit.writers(), ['gateway', 'other'])
    },
  },
  {
    title: 'cuts a chain, keeps the cut, and leaves the other chains',
    async run({ store }, assert) {
      await append(
        store,
        numbers(1, 5).map((n) => row(n)),
      )
      await append(store, [row(1, { writer: 'other' })])
      assert.equal(await store.audit.deleteThrough(checkpoint(3)), 3)
      assert.equal(
        (await store.audit.scan('gateway', 0, 10)).map(({ sequence }) => sequence),
        [4, 5],
      )
      assert.equal([await store.audit.cut('gateway'), await store.audit.checkpoint('gateway')], [checkpoint(3), checkpoint(5)])
      assert.equal([(await store.audit.head('other'))?.sequence, await store.audit.cut('other')], [1, null])
    },
  },
  {
    title: 'moves a cut on, also where it takes everything, and the chain goes on after it',
    async run({ store }, assert) {
      await append(
        store,
        numbers(1, 5).map((n) => row(n)),
      )
      assert.equal([await store.audit.deleteThrough(checkpoint(2)), await store.audit.deleteThrough(checkpoint(5))], [2, 3])
      assert.equal([await store.audit.head('gateway'), (await store.audit.cut('gateway'))?.sequence], [null, 5])
      assert.equal(await store.audit.checkpoint('gateway'), checkpoint(5))
      await append(store, [row(6)])
      assert.equal(await store.audit.scan('gateway', 5, 10), [row(6)])
    },
  },
  {
    title: 'reads all chains in the order of their commits, whatever their times',
    async run({ store }, assert) {
      await append(store, [row(1), row(2)])
      await append(store, [row(1, { writer: 'other', timestamp: 5 })])
      await append(store, [row(3)])
      const { audit } = store
      const ids = async (id: string | undefined, limit = 10) => (await audit.after(id, limit))?.map((one) => one.id)
      assert.equal(await ids(undefined), ['gateway-1', 'gateway-2', 'other-1', 'gateway-3'])
      assert.equal(await ids('gateway-1', 2), ['gateway-2', 'other-1'])
      assert.equal([await ids('gateway-3'), await ids('none')], [[], null])
      assert.equal(await audit.newest(), 'gateway-3')
    },
  },
  {
    title: 'answers no newest row where there is none',
    async run({ store: { audit } }, assert) {
      assert.equal([await audit.newest(), await audit.after(undefined, 10), await audit.writers()], [null, [], []])
      assert.equal(await audit.query({}), { items: [] })
    },
  },
  {
    title: 'counts decisions since a time, and the actions that were denied most',
    async run({ store }, assert) {
      const denied = { decision: 'deny', code: 'denied' } as const
      await append(store, [
        row(1, { timestamp: 999, ...denied, action: 'read:old' }),
        row(2, { timestamp: 1000 }),
        row(3, { timestamp: 1001, ...denied, action: 'write:b' }),
        row(4, { timestamp: 1002, ...denied, action: 'write:a' }),
        row(5, { timestamp: 1003, ...denied, action: 'delete:c' }),
        row(6, { timestamp: 1004, ...denied, action: 'delete:c' }),
        row(7, { timestamp: 1005, code: 'administered', action: 'update:agents' }),
        row(8, { timestamp: 1006, decision: 'deny', code: 'unauthenticated', action: '' }),
      ])
      const topDenied = [
        { action: 'delete:c', count: 2 },
        { action: 'write:a', count: 1 },
        { action: 'write:b', count: 1 },
      ]
      assert.equal(await store.audit.stats(1000), { allowed: 1, denied: 5, topDenied })
      assert.equal(await store.audit.stats(2000), { allowed: 0, denied: 0, topDenied: [] })
    },
  },
  {
    title: 'names the ten actions that were denied most',
    async run({ store }, assert) {
      const rows = numbers(1, 40).map((n) => row(n, { decision: 'deny', code: 'denied', action: `read:a${n % 13}` }))
      await append(store, rows)
      const { topDenied } = await store.audit.stats(0)
      assert.equal([topDenied.length, topDenied[0]], [10, { action: 'read:a1', count: 4 }])
    },
  },
]
