import { createGuard, createPolicies, fromPolicies, type Limiter, type PolicyDocument } from '@meshguard/core'
import { afterEach, describe, expect, it } from 'vitest'
import { createDecide } from '../../packages/gateway/src/decide/create-decide.js'
import type { IdentifiedAgent, PolicyRegistry, Services } from '../../packages/gateway/src/services.js'
import { closeWorlds, openAuditWorld, START } from './audit-world.js'

afterEach(closeWorlds)

const agent = (id: string) => ({ id, name: id.toUpperCase(), trustTier: 'verified' as const })

/** From the root over a middle to the leaf. */
const chain = (first: readonly string[], second: readonly string[]): IdentifiedAgent => ({
  agent: agent('leaf'),
  chain: [
    {
      delegation: { id: 'dlg_1', from: 'root', to: 'middle', actions: first, depth: 1, createdAt: START, expiresAt: START + 1 },
      from: agent('root'),
    },
    {
      delegation: {
        id: 'dlg_2',
        from: 'middle',
        to: 'leaf',
        actions: second,
        parent: 'dlg_1',
        depth: 2,
        createdAt: START,
        expiresAt: START + 1,
      },
      from: agent('middle'),
    },
  ],
})

async function openWorld(policies: readonly PolicyDocument[]) {
  const world = await openAuditWorld()
  const set = createPolicies(policies)
  const registry = { current: () => set } as PolicyRegistry
  const taken: string[] = []
  const limiter: Limiter = {
    take(buckets, now) {
      taken.push(...buckets.map(({ key }) => key))
      return world.store.limiter.take(buckets, now)
    },
  }
  const guard = createGuard({ source: fromPolicies(registry, { limiter }) })
  const { config, audit, metrics, log, now } = world
  const decide = createDecide({
    config,
    guard,
    audit,
    policies: registry,
    metrics,
    log,
    now,
    identity: {} as Services['identity'],
  })
  const last = async () => (await audit.query({ limit: 1 })).items[0]
  return { decide, taken, last }
}

const limited: PolicyDocument = {
  name: 'limited',
  rules: [{ name: 'read', effect: 'allow', actions: ['read:*'], rateLimit: { requests: 2, per: '1m' } }],
}

describe('a decision for an agent that acts for another', () => {
  it('is recorded for the leaf, with the root and the whole chain', async () => {
    const { decide, last, taken } = await openWorld([limited])
    const request = { action: 'read:contacts', traceId: 'trace-0001' }
    expect(await decide({ who: chain(['read:*'], ['read:contacts']), request })).toMatchObject({
      allowed: true,
      agentId: 'leaf',
    })
    expect(await last()).toMatchObject({
      agentId: 'leaf',
      agentName: 'LEAF',
      onBehalfOf: 'root',
      chain: [
        { delegation: 'dlg_1', from: 'root', to: 'middle', actions: ['read:*'] },
        { delegation: 'dlg_2', from: 'middle', to: 'leaf', actions: ['read:contacts'] },
      ],
    })
    expect(taken).toEqual(['["limited","read","leaf"]'])
  })

  it('is denied, recorded with its chain, and counts nothing, where a hop does not cover the action', async () => {
    const { decide, last, taken } = await openWorld([limited])
    const request = { action: 'read:contacts', traceId: 'trace-0001' }
    expect(await decide({ who: chain(['read:*'], ['read:emails']), request })).toMatchObject({ allowed: false, code: 'denied' })
    expect(await last()).toMatchObject({ agentId: 'leaf', decision: 'deny', onBehalfOf: 'root' })
    expect(taken).toEqual([])
  })

  it('has its declared action judged with the chain as well', async () => {
    const { decide } = await openWorld([limited])
    const request = { action: 'read:contacts', traceId: 'trace-0001' }
    const who = chain(['read:*'], ['read:contacts'])
    expect(await decide({ who, request, declared: { action: 'read:emails' } })).toMatchObject({
      allowed: false,
      action: 'read:emails',
    })
  })

  it('has one unit counted for the leaf alone', async () => {
    const { decide } = await openWorld([limited])
    const request = { action: 'read:contacts', traceId: 'trace-0001' }
    const codes = []
    for (let i = 0; i < 3; i++) codes.push((await decide({ who: chain(['*'], ['*']), request })).code)
    codes.push((await decide({ who: { agent: agent('root') }, request })).code)
    expect(codes).toEqual(['allowed', 'allowed', 'rate_limited', 'allowed'])
  })
})
