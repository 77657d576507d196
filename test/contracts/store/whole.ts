import type { Store } from '../../../packages/gateway/src/store/store.js'
import { agent, append, checkpoint, errorOf, row, type StoreCase } from './spec.js'

/** Every method once, with what it takes. */
export function everyMethod(store: Store): Readonly<Record<string, () => Promise<unknown>>> {
  const { agents, policies, tokens, delegations, audit, settings } = store
  const document = { name: 'p', rules: [] } as never
  return {
    'agents.list': () => agents.list(),
    'agents.get': () => agents.get('a'),
    'agents.known': () => agents.known(['a']),
    'agents.insert': () => agents.insert(agent('new')),
    'agents.update': () => agents.update('a', { name: 'x' }, 1),
    'agents.changedSince': () => agents.changedSince(0),
    'policies.list': () => policies.list(),
    'policies.get': () => policies.get('p'),
    'policies.put': () => policies.put(document, 1),
    'policies.delete': () => policies.delete('p'),
    'tokens.list': () => tokens.list(),
    'tokens.findByHash': () => tokens.findByHash('h'),
    'tokens.insert': () => tokens.insert({ id: 't', name: 't', scopes: [], hash: 'h', createdAt: 1 }),
    'tokens.delete': () => tokens.delete('t'),
    'delegations.list': () => delegations.list(),
    'delegations.get': () => delegations.get('d'),
    'delegations.insert': () =>
      delegations.insert({ id: 'd', from: 'a', to: 'a', actions: [], depth: 1, createdAt: 1, expiresAt: 2 }),
    'delegations.revoke': () => delegations.revoke('d', 1),
    'audit.append': () => audit.append([row(100)], checkpoint(100)),
    'audit.known': () => audit.known(['x']),
    'audit.query': () => audit.query({}),
    'audit.newest': () => audit.newest(),
    'audit.after': () => audit.after('x', 1),
    'audit.scan': () => audit.scan('gateway', 0, 1),
    'audit.writers': () => audit.writers(),
    'audit.head': () => audit.head('gateway'),
    'audit.checkpoint': () => audit.checkpoint('gateway'),
    'audit.cut': () => audit.cut('gateway'),
    'audit.deleteThrough': () => audit.deleteThrough(checkpoint(1)),
    'audit.stats': () => audit.stats(0),
    'limiter.take': async () => store.limiter.take([{ key: 'k', requests: 5, windowMs: 1000 }], 1),
    'settings.get': () => settings.get('k'),
    'settings.set': () => settings.set('k', 'v'),
    'settings.swap': () => settings.swap('k', 'v', 'w'),
    ping: () => store.ping(),
  }
}

export const whole: readonly StoreCase[] = [
  {
    title: 'answers a ping',
    async run({ store }) {
      await store.ping()
    },
  },
  {
    title: 'keeps everything when it is opened again',
    async run({ store, reopen }, assert) {
      await store.agents.insert(agent('a', { tags: ['t'] }))
      await store.policies.put({ name: 'p', rules: [] } as never, 5)
      await store.tokens.insert({ id: 't', name: 't', scopes: ['admin'], hash: 'h', createdAt: 1 })
      await store.delegations.insert({ id: 'd', from: 'a', to: 'a', actions: ['*'], depth: 1, createdAt: 1, expiresAt: 2 })
      await store.settings.set('k', 'v')
      await append(store, [row(1)])
      const again = await reopen()
      assert.equal((await again.agents.list({ tag: 't' })).items, [agent('a', { tags: ['t'] })])
      assert.equal((await again.policies.get('p'))?.revision, 1)
      assert.equal((await again.tokens.findByHash('h'))?.scopes, ['admin'])
      assert.equal((await again.delegations.list()).length, 1)
      assert.equal([await again.settings.get('k'), await again.audit.head('gateway')], ['v', row(1)])
    },
  },
  {
    title: 'rejects with UnavailableError from every method once it is closed, and closes twice',
    async run({ store }, assert) {
      await store.close()
      await store.close()
      for (const [name, call] of Object.entries(everyMethod(store))) {
        assert.equal([name, (await errorOf(call())).name], [name, 'UnavailableError'])
      }
    },
  },
  {
    title: 'finishes what was asked before it closes',
    async run({ store, reopen }, assert) {
      const appended = append(store, [row(1)])
      const again = await reopen()
      await appended
      assert.equal((await again.audit.head('gateway'))?.sequence, 1)
    },
  },
]
