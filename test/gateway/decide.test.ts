import { createGuard, createPolicies, fromPolicies, type PolicyDocument, UnavailableError } from '@meshguard/core'
import { afterEach, describe, expect, it } from 'vitest'
import type { GatewaySettings } from '../../packages/gateway/src/config.js'
import { createDecide } from '../../packages/gateway/src/decide/create-decide.js'
import { RequestError } from '../../packages/gateway/src/http/errors.js'
import type { Asked, Decide, IdentifiedAgent, PolicyRegistry, Services } from '../../packages/gateway/src/services.js'
import { closeWorlds, openAuditWorld, START, type World } from './audit-world.js'

afterEach(closeWorlds)

const readers: PolicyDocument = {
  name: 'readers',
  rules: [
    { name: 'no-secrets', effect: 'deny', actions: ['*:secrets'], reason: 'Secrets are for people' },
    { name: 'read', effect: 'allow', actions: ['read:*'], conditions: { resource: { notEquals: 'contacts/0' } } },
    { name: 'mail', effect: 'allow', actions: ['write:email'], rateLimit: { requests: 2, per: '1m' } },
  ],
}

const who = (id = 'agent_1'): IdentifiedAgent => ({ agent: { id, name: 'Reader', trustTier: 'verified', tags: ['sales'] } })

const ask = (action: string, members: Partial<Asked> = {}, resource?: string): Asked => ({
  who: who(),
  request: { action, resource, traceId: 'trace-0001' },
  ...members,
})

interface DecideWorld extends World {
  readonly decide: Decide
  readonly counted: string[]
}

async function openDecideWorld(
  settings: GatewaySettings = {},
  policies: readonly PolicyDocument[] = [readers],
): Promise<DecideWorld> {
  const world = await openAuditWorld(settings)
  const set = createPolicies(policies)
  const registry = { current: () => set } as PolicyRegistry
  const guard = createGuard({
    source: fromPolicies(registry, { limiter: world.store.limiter }),
    mode: settings.mode ?? 'enforce',
  })
  const counted: string[] = []
  const metrics = { ...world.metrics, decision: (decision: string, code: string) => void counted.push(`${decision} ${code}`) }
  const { config, audit, log, now } = world
  const identity = {} as Services['identity']
  const decide = createDecide({ config, guard, audit, policies: registry, metrics, log, now, identity })
  return Object.assign(Object.create(world), { decide, counted }) as DecideWorld
}

const entries = async (world: World) => (await world.audit.query({ limit: 1000 })).items

describe('a decision of the gateway', () => {
  it('is recorded with who asked, what was asked, what was answered and how', async () => {
    const world = await openDecideWorld()
    const entry = { method: 'GET', path: '/proxy/check', ip: '127.0.0.1', claimed: true } as const
    const decision = await world.decide(ask('read:contacts', { entry }, 'contacts/42'))
    expect(decision).toMatchObject({ allowed: true, code: 'allowed', policy: 'readers', rule: 'read' })
    const [recorded] = await entries(world)
    expect(recorded).toEqual({
      id: expect.stringMatching(/^[0-9a-f-]{36}$/),
      timestamp: new Date(decision.timestamp).toISOString(),
      traceId: 'trace-0001',
      agentId: 'agent_1',
      agentName: 'Reader',
      trustTier: 'verified',
      action: 'read:contacts',
      resource: 'contacts/42',
      decision: 'allow',
      code: 'allowed',
      policy: 'readers',
      rule: 'read',
      mode: 'enforce',
      source: 'policies',
      policyVersion: decision.policyVersion,
      durationMs: expect.any(Number),
      request: { method: 'GET', path: '/proxy/check', ip: '127.0.0.1' },
      claimed: true,
    })
    expect(world.counted).toEqual(['allow allowed'])
  })

  it('is recorded for a denial with its reason', async () => {
    const world = await openDecideWorld()
    expect((await world.decide(ask('read:secrets'))).allowed).toBe(false)
    expect((await world.decide(ask('delete:contacts'))).code).toBe('no_match')
    expect((await world.decide(ask('nonsense'))).code).toBe('invalid_action')
    expect((await entries(world)).toReversed()).toMatchObject([
      { decision: 'deny', code: 'denied', rule: 'no-secrets', reason: 'Secrets are for people' },
      { decision: 'deny', code: 'no_match' },
      { decision: 'deny', code: 'invalid_action' },
    ])
  })

  it.each(['read:contacts', 'read:secrets'])('about %s is no answer where it cannot be recorded', async (action) => {
    const world = await openDecideWorld()
    world.fault.append = async () => {
      throw new UnavailableError('The disk is full')
    }
    await expect(world.decide(ask(action))).rejects.toBeInstanceOf(UnavailableError)
    delete world.fault.append
    await world.decide(ask(action))
    expect(await entries(world)).toHaveLength(1)
  })

  it('waits for its entry, but not with AUDIT_MODE=async', async () => {
    for (const auditMode of ['durable', 'async'] as const) {
      const world = await openDecideWorld({ auditMode })
      const held: (() => void)[] = []
      world.fault.append = async (...args) => {
        await new Promise<void>((resolve) => held.push(resolve))
        return world.store.audit.append(...args)
      }
      let isDone = false
      const done = world.decide(ask('read:contacts')).then(() => {
        isDone = true
      })
      await expect.poll(() => held.length).toBe(1)
      expect(isDone).toBe(auditMode === 'async')
      held[0]?.()
      await done
    }
  })

  it('counts rate limits in the store', async () => {
    const world = await openDecideWorld()
    const codes = []
    for (let i = 0; i < 3; i++) codes.push((await world.decide(ask('write:email'))).code)
    expect(codes).toEqual(['allowed', 'allowed', 'rate_limited'])
    expect((await world.decide(ask('write:email', { who: who('agent_2') }))).code).toBe('allowed')
  })

  it('is 503, and no allow, where the store cannot count', async () => {
    const world = await openDecideWorld()
    await world.store.close()
    await expect(world.decide(ask('write:email'))).rejects.toBeInstanceOf(UnavailableError)
  })

  it('refuses without asking what a route has refused, and records it', async () => {
    const world = await openDecideWorld()
    const refuse = { code: 'unmapped', reason: 'No route of PROXY_ROUTES' } as const
    expect(await world.decide(ask('read:contacts', { refuse }))).toMatchObject({ allowed: false, code: 'unmapped' })
    expect(await entries(world)).toMatchObject([{ agentId: 'agent_1', code: 'unmapped', reason: 'No route of PROXY_ROUTES' }])
  })

  it('is 401 without an agent, and looks at no token itself', async () => {
    const world = await openDecideWorld()
    const request = { action: 'read:contacts', token: 'anything', traceId: 'trace-0001' }
    expect(await world.decide({ who: undefined, request })).toMatchObject({ allowed: false, code: 'unauthenticated' })
  })
})

describe('a declared action', () => {
  it('can only narrow, and both are recorded', async () => {
    const world = await openDecideWorld()
    const narrowed = await world.decide(ask('read:contacts', { declared: { action: 'read:secrets' } }))
    expect(narrowed).toMatchObject({ allowed: false, code: 'denied', action: 'read:secrets' })
    const widened = await world.decide(ask('delete:contacts', { declared: { action: 'read:contacts' } }, 'contacts/1'))
    expect(widened).toMatchObject({ allowed: false, code: 'no_match', action: 'delete:contacts' })
    const resource = await world.decide(
      ask('read:contacts', { declared: { action: 'read:contacts', resource: 'contacts/0' } }, 'contacts/1'),
    )
    expect(resource.allowed).toBe(false)
    const agreed = await world.decide(
      ask('read:contacts', { declared: { action: 'read:contact-list', resource: undefined } }, 'contacts/1'),
    )
    expect(agreed).toMatchObject({ allowed: true, action: 'read:contacts' })
    expect((await entries(world)).toReversed()).toMatchObject([
      { action: 'read:contacts', declared: { action: 'read:secrets' }, decision: 'deny' },
      { action: 'delete:contacts', declared: { action: 'read:contacts' }, decision: 'deny' },
      { action: 'read:contacts', declared: { resource: 'contacts/0' }, decision: 'deny' },
      { action: 'read:contacts', declared: { action: 'read:contact-list' }, decision: 'allow' },
    ])
  })

  it('is refused when it is no action', async () => {
    const world = await openDecideWorld()
    expect((await world.decide(ask('read:contacts', { declared: { action: 'read:*' } }))).code).toBe('invalid_action')
  })

  it('consumes nothing: one unit goes for what was derived', async () => {
    const world = await openDecideWorld()
    const codes = []
    for (let i = 0; i < 3; i++)
      codes.push((await world.decide(ask('write:email', { declared: { action: 'write:email' } }))).code)
    expect(codes).toEqual(['allowed', 'allowed', 'rate_limited'])
    for (let i = 0; i < 5; i++)
      await world.decide(ask('read:contacts', { who: who('agent_2'), declared: { action: 'write:email' } }))
    expect((await world.decide(ask('write:email', { who: who('agent_2') }))).code).toBe('allowed')
  })
})

describe('modes', () => {
  it('in audit mode let through what policies deny, and record what they say', async () => {
    const world = await openDecideWorld({ mode: 'audit', deniedRpm: 1 })
    for (let i = 0; i < 3; i++) {
      const decision = await world.decide(ask('read:secrets'))
      expect(decision).toMatchObject({ allowed: true, decision: 'deny', code: 'denied', enforced: false })
    }
    const declared = await world.decide(ask('read:contacts', { declared: { action: 'read:secrets' } }))
    expect(declared).toMatchObject({ allowed: true, decision: 'deny', enforced: false })
    expect(await world.decide(ask('nonsense'))).toMatchObject({ allowed: false, code: 'invalid_action' })
    expect((await entries(world)).map(({ decision, mode }) => `${decision} ${mode}`)).toEqual(Array(5).fill('deny audit'))
  })

  it('in bypass evaluate nothing, and record it', async () => {
    const world = await openDecideWorld({ mode: 'bypass' })
    const decision = await world.decide(ask('read:secrets', { declared: { action: 'delete:secrets' } }))
    expect(decision).toMatchObject({ allowed: true, code: 'bypassed' })
    expect(await entries(world)).toMatchObject([{ decision: 'allow', code: 'bypassed', mode: 'bypass' }])
  })
})

describe('floods', () => {
  it('of denials of one agent are 429 beyond DENIED_RPM, become one summary, and touch nobody else', async () => {
    const world = await openDecideWorld({ deniedRpm: 3 })
    const outcomes = await Promise.allSettled(Array.from({ length: 10 }, () => world.decide(ask('read:secrets'))))
    expect(outcomes.map(({ status }) => status)).toEqual([...Array(3).fill('fulfilled'), ...Array(7).fill('rejected')])
    const refused = outcomes.flatMap((one) => (one.status === 'rejected' ? [one.reason] : []))
    expect(refused[0]).toBeInstanceOf(RequestError)
    expect(refused[0]).toMatchObject({ status: 429, details: { code: 'too_many_requests', headers: { 'retry-after': '60' } } })
    expect((await world.decide(ask('read:contacts', {}, 'contacts/1'))).allowed).toBe(true)
    expect((await world.decide(ask('read:secrets', { who: who('agent_2') }))).code).toBe('denied')
    expect(await entries(world)).toHaveLength(5)
    world.clock.now += 60_000
    expect((await world.decide(ask('read:secrets'))).code).toBe('denied')
    await expect.poll(() => entries(world)).toHaveLength(7)
    const summary = (await entries(world)).find(({ action }) => action === 'summary:denials')
    expect(summary).toMatchObject({
      agentId: 'agent_1',
      decision: 'deny',
      code: 'too_many_requests',
      metadata: { count: 7, from: new Date(START).toISOString(), to: new Date(START + 60_000).toISOString() },
    })
  })

  it('without an agent are refused as ever, recorded 60 times a minute an address, and then counted', async () => {
    const world = await openDecideWorld()
    const from = (ip: string) =>
      world.decide({
        who: undefined,
        request: { action: '', traceId: 'trace-0001' },
        entry: { method: 'GET', ip },
        refuse: { code: 'unauthenticated', reason: 'Invalid or expired token' },
      })
    for (let i = 0; i < 100; i++) expect((await from('10.0.0.1')).code).toBe('unauthenticated')
    for (let i = 0; i < 100; i++) await from(`2001:db8::${i.toString(16)}`)
    await from('10.0.0.2')
    expect(await entries(world)).toHaveLength(121)
    await world.audit.close()
    const all = await entries(world)
    expect(all).toHaveLength(122)
    expect(all.find(({ action }) => action === 'summary:unauthenticated')).toMatchObject({
      metadata: {
        count: 80,
        addresses: 2,
        most: [
          ['10.0.0.1', 40],
          ['2001:db8:0:0::/64', 40],
        ],
      },
    })
  })

  it('from ever new addresses are bounded all the same', async () => {
    const world = await openDecideWorld()
    let admitted = 0
    for (let i = 0; i < 20_000; i++)
      if (world.audit.admitsUnauthenticated(`10.${i >> 16}.${(i >> 8) & 255}.${i & 255}`)) admitted++
    expect(admitted).toBe(6000)
  })
})
