import { expect } from 'vitest'
import type { Store } from '../../packages/gateway/src/store/store.js'
import { append, checkpoint, row } from '../contracts/store/spec.js'

/** Everything that is in the dumps of the fixtures is there, start after start, and the store goes on. */
export async function holdsEverything(open: () => Promise<Store>): Promise<void> {
  for (const _start of ['first', 'second']) {
    const store = await open()
    const { items } = await store.agents.list({ tag: 'production' })
    expect(items).toEqual([
      {
        id: 'agent_1',
        name: "Ünï 'quoted'",
        trustTier: 'trusted',
        tags: ['production', 'sales'],
        metadata: { team: { size: 3 } },
        status: 'active',
        generation: 2,
        createdAt: 1_760_000_000_000,
        updatedAt: 1_760_000_001_000,
        lastSeenAt: 1_760_000_002_000,
      },
    ])
    expect((await store.agents.get('agent_2'))?.revokedAt).toBe(1_760_000_003_000)
    const changed = await store.agents.changedSince(1_760_000_001_000, { limit: 10 })
    expect(changed.items.map(({ id }) => id)).toEqual(['agent_1', 'agent_2'])
    expect((await store.policies.list()).map(({ name, revision }) => [name, revision])).toEqual([['contacts', 2]])
    expect((await store.policies.get('contacts'))?.document.rules).toEqual([{ effect: 'allow', actions: ['read:*'] }])
    expect(await store.tokens.findByHash('ab'.repeat(32))).toMatchObject({ scopes: ['decide'], expiresAt: 1_790_000_000_000 })
    expect(await store.delegations.get('d2')).toMatchObject({ parent: 'd1', depth: 2, revokedAt: 1_760_000_004_000 })
    expect(await store.settings.get('setting')).toBe('value')
    expect(await store.audit.cut('gateway')).toEqual(checkpoint(1))
    expect(await store.audit.checkpoint('gateway')).toEqual(checkpoint(3))
    expect(await store.audit.scan('gateway', 0, 10)).toEqual([row(2, { agentId: 'agent_1', policy: 'contacts' }), row(3)])
    const bucket = { key: 'limit', requests: 1, windowMs: 86_400_000 }
    expect((await store.limiter.take([bucket], 1_760_000_000_001)).ok).toBe(false)
    await store.close()
  }
  const store = await open()
  await append(store, [row(4)])
  expect((await store.audit.query({ limit: 1 })).items).toEqual([row(4)])
}
