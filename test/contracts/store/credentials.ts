import type { DelegationRecord, Store, TokenRecord } from '../../../packages/gateway/src/store/store.js'
import { agent, errorOf, numbers, type StoreCase } from './spec.js'

function token(id: string, members: Partial<TokenRecord> = {}): TokenRecord {
  return { id, name: `Token ${id}`, scopes: ['decide', 'audit:read'], hash: `hash of ${id}`, createdAt: 1000, ...members }
}

function delegation(id: string, members: Partial<DelegationRecord> = {}): DelegationRecord {
  return { id, from: 'a', to: 'b', actions: ['read:*'], depth: 1, createdAt: 1000, expiresAt: 2000, ...members }
}

async function withAgents({ agents }: Store): Promise<void> {
  await agents.insert(agent('a'))
  await agents.insert(agent('b'))
}

export const credentials: readonly StoreCase[] = [
  {
    title: 'finds a token by its hash, and by nothing else',
    async run({ store: { tokens } }, assert) {
      await tokens.insert(token('a', { expiresAt: 1_763_881_111_111 }))
      await tokens.insert(token('b'))
      assert.equal(await tokens.findByHash('hash of a'), token('a', { expiresAt: 1_763_881_111_111 }))
      assert.equal(await tokens.findByHash('hash of b'), token('b'))
      for (const hash of ['', 'hash', 'HASH OF A', 'hash of %', 'a']) assert.equal(await tokens.findByHash(hash), undefined)
    },
  },
  {
    title: 'lists tokens oldest first',
    async run({ store: { tokens } }, assert) {
      for (const [id, createdAt] of Object.entries({ b: 2, z: 1, a: 2 })) await tokens.insert(token(id, { createdAt }))
      assert.equal(
        (await tokens.list()).map(({ id }) => id),
        ['z', 'a', 'b'],
      )
    },
  },
  {
    title: 'refuses a second token of the same ID or hash',
    async run({ store: { tokens } }, assert) {
      await tokens.insert(token('a'))
      assert.equal((await errorOf(tokens.insert(token('a', { hash: 'another' })))).status, 409)
      assert.equal((await errorOf(tokens.insert(token('b', { hash: 'hash of a' })))).status, 409)
      assert.equal(await tokens.list(), [token('a')])
    },
  },
  {
    title: 'deletes a token once',
    async run({ store: { tokens } }, assert) {
      await tokens.insert(token('a'))
      await tokens.insert(token('b'))
      const deleted = await Promise.all(numbers(1, 3).map(() => tokens.delete('a')))
      assert.equal(deleted.filter(Boolean).length, 1)
      assert.equal([await tokens.findByHash('hash of a'), await tokens.delete('x')], [null, false])
      assert.equal(await tokens.list(), [token('b')])
    },
  },
  {
    title: 'answers a delegation as it was inserted, and lists them oldest first',
    async run({ store }, assert) {
      await withAgents(store)
      const root = delegation('root', { createdAt: 5, reason: 'holiday "cover"' })
      const leaf = delegation('leaf', {
        createdAt: 6,
        parent: 'root',
        depth: 2,
        from: 'b',
        to: 'a',
        actions: ['read:x', 'write:*'],
      })
      await store.delegations.insert(root)
      await store.delegations.insert(leaf)
      assert.equal([await store.delegations.get('leaf'), await store.delegations.get('none')], [leaf, null])
      assert.equal(await store.delegations.list(), [root, leaf])
    },
  },
  {
    title: 'refuses a delegation of a taken ID, and one between agents or below a parent that are not there',
    async run({ store }, assert) {
      await withAgents(store)
      await store.delegations.insert(delegation('d'))
      const wrong = [
        delegation('d'),
        delegation('e', { from: 'x' }),
        delegation('e', { to: 'x' }),
        delegation('e', { parent: 'x' }),
      ]
      for (const one of wrong) assert.equal((await errorOf(store.delegations.insert(one))).status, 409)
      assert.equal(await store.delegations.list(), [delegation('d')])
    },
  },
  {
    title: 'revokes a delegation once and keeps the time of it',
    async run({ store }, assert) {
      await withAgents(store)
      await store.delegations.insert(delegation('d'))
      assert.equal([await store.delegations.revoke('d', 1500), await store.delegations.revoke('d', 1600)], [true, false])
      assert.equal(await store.delegations.revoke('x', 1500), false)
      assert.equal(await store.delegations.get('d'), delegation('d', { revokedAt: 1500 }))
    },
  },
  {
    title: 'keeps settings, each at its last value',
    async run({ store: { settings } }, assert) {
      assert.equal(await settings.get('key'), undefined)
      await settings.set('key', 'one')
      await settings.set('Key', '')
      await settings.set('key', 'two\n"🤖"')
      assert.equal([await settings.get('key'), await settings.get('Key')], ['two\n"🤖"', ''])
    },
  },
  {
    title: 'swaps a setting only if it still is what was expected, once however many try at once',
    async run({ store: { settings } }, assert) {
      const all = (expected: string | undefined) =>
        Promise.all(Array.from({ length: 8 }, (_, i) => settings.swap('key', expected, `${expected}${i}`)))
      assert.equal((await all(undefined)).filter(Boolean).length, 1)
      const first = await settings.get('key')
      assert.equal(await settings.swap('key', 'another', 'lost'), false)
      assert.equal(await settings.swap('key', undefined, 'lost'), false)
      assert.equal(await settings.get('key'), first)
      assert.equal((await all(first)).filter(Boolean).length, 1)
      assert.equal(await settings.swap('nothing', 'something', 'lost'), false)
      assert.equal(await settings.get('nothing'), undefined)
    },
  },
]
