/** What a bundle says of agents, tokens and delegations goes before what tokens and applications say. */
import {
  type Agent,
  createGuard,
  type DecisionRequest,
  fromBundle,
  generateKeys,
  mintAgentToken,
  type PolicyDocument,
} from '@meshguard/core'
import type { BundleAgent, BundleDelegation, BundleDocument } from '@meshguard/core/bundle'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { createSigner } from '../sources/bundle-binding.js'

const HOUR_MS = 3_600_000
const policies: PolicyDocument[] = [
  { name: 'readers', rules: [{ effect: 'allow', actions: ['read:*'] }] },
  { name: 'trusted', appliesTo: { minTrustTier: 'trusted' }, rules: [{ effect: 'allow', actions: ['write:*'] }] },
  { name: 'sales', appliesTo: { tags: ['sales'] }, rules: [{ effect: 'allow', actions: ['send:*'] }] },
  {
    name: 'named',
    rules: [{ effect: 'allow', actions: ['call:*'], conditions: { 'agent.name': 'Nova', 'agent.metadata.team': 'a' } }],
  },
]
const nova: Agent = { id: 'agent_nova', name: 'nova', trustTier: 'verified', tags: ['sales'], metadata: { team: 'b' } }
const at = (ms: number) => new Date(ms).toISOString()

let signer: Awaited<ReturnType<typeof createSigner>>
let changes: Partial<BundleDocument>
let source: ReturnType<typeof fromBundle>
let version: number

beforeEach(async () => {
  vi.useFakeTimers({ toFake: ['Date'], now: Date.UTC(2026, 0, 5) })
  signer = await createSigner()
  changes = {}
  version = 0
  source = fromBundle({ load, ...signer.options, pollMs: 24 * HOUR_MS, onReload: () => undefined, onError: () => undefined })
})
afterEach(async () => {
  await source.close()
  vi.useRealTimers()
})

const load = () => signer.sign({ version: ++version, policies, ...changes })
const publish = async (given: Partial<BundleDocument> = {}) => {
  changes = { ...changes, ...given }
  await source.refresh()
}
const ask = (action: string, who: Partial<DecisionRequest>) => source.decide({ action, traceId: 'trace-0001', ...who })
const codes = async (who: Partial<DecisionRequest>) => {
  const answers = await Promise.all(['read:x', 'write:x', 'send:x', 'call:x'].map((action) => ask(action, who)))
  return answers.map(({ code }) => code).join(' ')
}
const NOBODY = 'unauthenticated unauthenticated unauthenticated unauthenticated'

describe('An agent of which the bundle says nothing', () => {
  it('is what its token says, or the application', async () => {
    await publish()
    const expected = 'allowed no_match allowed no_match'
    expect(await codes({ token: await signer.mint(nova) })).toBe(expected)
    expect(await codes({ agent: nova })).toBe(expected)
    expect(await ask('read:x', { token: await signer.mint(nova) })).toMatchObject({
      agent: { id: nova.id, trustTier: 'verified' },
    })
  })
})

describe('An agent of which the bundle says something', () => {
  it('has the tier, tags, name and metadata of the bundle', async () => {
    const token = await signer.mint({ ...nova, trustTier: 'privileged' })
    await publish()
    expect(await codes({ token })).toBe('allowed allowed allowed no_match')
    const states: readonly (readonly [BundleAgent, string])[] = [
      [{ tier: 'unverified', tags: [], gen: 0 }, 'allowed no_match no_match no_match'],
      [{ tier: 'trusted', tags: [], gen: 0 }, 'allowed allowed no_match no_match'],
      [{ tier: 'basic', tags: ['sales'], gen: 0, name: 'Nova', metadata: { team: 'a' } }, 'allowed no_match allowed allowed'],
      [{ tier: 'trusted', tags: ['sales'], gen: 0, name: 'Nova', metadata: {} }, 'allowed allowed allowed no_match'],
    ]
    for (const [state, expected] of states) {
      await publish({ agents: { [nova.id]: state } })
      expect(await codes({ token }), JSON.stringify(state)).toBe(expected)
      expect(await codes({ token }), 'remembered').toBe(expected)
      expect(await codes({ agent: { ...nova, trustTier: 'privileged' } }), 'handed in').toBe(expected)
    }
  })

  it('is the same object each time, and follows what the application changes of its own', async () => {
    await publish({ agents: { [nova.id]: { tier: 'trusted', tags: [], gen: 0 } } })
    const token = await signer.mint(nova)
    const [first, second] = [await ask('read:x', { token }), await ask('read:x', { token })]
    expect(second.agent).toBe(first.agent)
    const own = { ...nova, name: 'Nova', metadata: { team: 'a' } }
    expect(await codes({ agent: own })).toBe('allowed allowed no_match allowed')
    own.name = 'other'
    expect(await codes({ agent: own })).toBe('allowed allowed no_match no_match')
  })

  it('is found by the id that it has now, whatever id the same object had before', async () => {
    await publish({ agents: { [nova.id]: { tier: 'trusted', tags: [], gen: 0 }, rook: { revoked: true } } })
    const own = { ...nova, id: 'stranger' }
    expect(await codes({ agent: own }), 'a stranger').toBe('allowed no_match allowed no_match')
    own.id = nova.id
    expect(await codes({ agent: own }), 'known').toBe('allowed allowed no_match no_match')
    own.id = 'rook'
    expect(await codes({ agent: own }), 'revoked').toBe(NOBODY)
    await publish({ agents: { [nova.id]: { tier: 'trusted', tags: [], gen: 0 }, king: { tier: 'trusted', tags: [], gen: 0 } } })
    own.id = nova.id
    await ask('read:x', { agent: own })
    own.id = 'king'
    expect(await ask('read:x', { agent: own })).toMatchObject({ agent: { id: 'king' } })
  })

  it('is refused from the moment on that the bundle says so, remembered or not, and again let in', async () => {
    const token = await signer.mint(nova)
    await publish()
    expect(await codes({ token })).toContain('allowed')
    await publish({ agents: { [nova.id]: { revoked: true } } })
    expect(await codes({ token })).toBe(NOBODY)
    expect(await codes({ agent: nova })).toBe(NOBODY)
    expect(await source.explain({ action: 'read:x', token, traceId: 'trace-0001' })).toMatchObject({
      code: 'unauthenticated',
      steps: [],
    })
    const many = await source.decideMany([
      { action: 'read:x', token, traceId: 't-1' },
      { action: 'read:x', token: await signer.mint({ ...nova, id: 'other' }), traceId: 't-2' },
    ])
    expect(many.map(({ code }) => code)).toEqual(['unauthenticated', 'allowed'])
    await publish({ agents: {} })
    expect(await codes({ token })).toContain('allowed')
  })

  it('loses the tokens of older generations, and of later ones', async () => {
    const state = { tier: 'verified', tags: [], gen: 2 } as const
    await publish({ agents: { [nova.id]: state } })
    for (const [claims, code] of [
      [{ gen: 2 }, 'allowed'],
      [{ gen: 1 }, 'unauthenticated'],
      [{}, 'unauthenticated'],
      [{ gen: '2' }, 'unauthenticated'],
      [{ gen: 3 }, 'unauthenticated'],
    ] as const) {
      expect((await ask('read:x', { token: await signer.mint(nova, claims) })).code, JSON.stringify(claims)).toBe(code)
    }
    await publish({ agents: { [nova.id]: { ...state, gen: 0 } } })
    expect((await ask('read:x', { token: await signer.mint(nova, {}) })).code, 'none stands for 0').toBe('allowed')
  })

  it('is not another one, whatever the application says', async () => {
    await publish()
    const token = await signer.mint(nova)
    expect(await ask('read:x', { token, agent: { id: 'agent_rook', trustTier: 'privileged' } })).toMatchObject({
      code: 'unauthenticated',
    })
    expect(await ask('write:x', { token, agent: { ...nova, trustTier: 'privileged' } }), 'the token’s tier').toMatchObject({
      code: 'no_match',
    })
  })
})

describe('Tokens', () => {
  it.each<[string, () => Promise<string> | string]>([
    [
      'of a key that the bundle does not hold',
      async () => mintAgentToken({ id: nova.id, key: (await generateKeys()).privateKey }),
    ],
    ['of the key of bundles', () => mintAgentToken({ id: nova.id, key: signer.bundles.privateKey })],
    [
      'that are expired',
      () => mintAgentToken({ id: nova.id, key: signer.tokens.privateKey, clock: () => Date.now() - 48 * HOUR_MS }),
    ],
    ['of another issuer', () => mintAgentToken({ id: nova.id, key: signer.tokens.privateKey, issuer: 'other' })],
    ['that live too long', () => mintAgentToken({ id: nova.id, key: signer.tokens.privateKey, expiresInMs: 48 * HOUR_MS })],
    ['that are bundles', () => load()],
    ['that are none', () => 'nonsense'],
  ])('%s are refused', async (_, make) => {
    await publish()
    expect(await ask('read:x', { token: await make() })).toMatchObject({ allowed: false, code: 'unauthenticated' })
  })

  it('may be of a key for ES256', async () => {
    const { jwks, privateKey } = await generateKeys({ alg: 'ES256' })
    await publish({ jwks: { keys: [...signer.tokens.jwks.keys, ...jwks.keys] } })
    expect(await ask('read:x', { token: await mintAgentToken({ id: nova.id, key: privateKey }) })).toMatchObject({
      allowed: true,
    })
    expect(await ask('read:x', { token: await signer.mint(nova) })).toMatchObject({ allowed: true })
  })

  it('may be held to an audience', async () => {
    const strict = fromBundle({ load, ...signer.options, audience: 'contacts' })
    const key = signer.tokens.privateKey
    const codeFor = async (audience: string) =>
      (
        await strict.decide({
          action: 'read:x',
          traceId: 'trace-0001',
          token: await mintAgentToken({ id: nova.id, key, audience }),
        })
      ).code
    expect(await codeFor('contacts')).toBe('allowed')
    expect(await codeFor('other')).toBe('unauthenticated')
    await strict.close()
  })

  it('of a key that was made since are a reason to ask for the bundle, at most once a second', async () => {
    await publish()
    const made = await generateKeys()
    const before = version
    const token = await mintAgentToken({ id: nova.id, key: made.privateKey, claims: { gen: 0 } })
    const strangers = await Promise.all(
      Array.from({ length: 30 }, async () => mintAgentToken({ id: nova.id, key: (await generateKeys()).privateKey })),
    )
    for (const stranger of strangers) expect((await ask('read:x', { token: stranger })).code).toBe('unauthenticated')
    expect(version - before, 'the bundle had just been fetched').toBe(0)
    vi.setSystemTime(Date.now() + 2000)
    changes = { ...changes, jwks: { keys: [...signer.tokens.jwks.keys, made.publicKey] } }
    expect((await ask('read:x', { token })).code).toBe('allowed')
    expect(version - before).toBe(1)
    expect((await ask('read:x', { token: await signer.mint(nova) })).code, 'the old key is still good').toBe('allowed')
    await publish({ jwks: made.jwks })
    expect((await ask('read:x', { token: await signer.mint(nova) })).code, 'the old key is gone').toBe('unauthenticated')
  })

  it.each(['decide', 'decideMany'] as const)('that are being verified when their key goes are refused (%s)', async (method) => {
    await publish()
    const [first, second] = [await signer.mint(nova), await signer.mint({ ...nova, id: 'other' })]
    const real = crypto.subtle.verify.bind(crypto.subtle)
    const held: (() => void)[] = []
    const verify = vi.spyOn(crypto.subtle, 'verify').mockImplementation(async (...given) => {
      if (held.length < 2) await new Promise<void>((resolve) => void held.push(resolve))
      return real(...given)
    })
    const questions = [first, second].map((token) => ({ action: 'read:x', traceId: 'trace-0001', token }))
    const asking = method === 'decide' ? Promise.all(questions.map((one) => source.decide(one))) : source.decideMany(questions)
    await vi.waitFor(() => expect(held).toHaveLength(2))
    await publish({ jwks: (await generateKeys()).jwks })
    for (const go of held) go()
    expect((await asking).map(({ code }) => code)).toEqual(['unauthenticated', 'unauthenticated'])
    verify.mockRestore()
  })

  it('stay remembered over bundles with the same keys', async () => {
    await publish()
    const token = await signer.mint(nova)
    await ask('read:x', { token })
    await publish({ agents: { other: { revoked: true } } })
    expect(ask('read:x', { token })).toMatchObject({ allowed: true })
  })
})

describe('Delegation', () => {
  const state = (tier: 'verified' | 'trusted' = 'trusted', gen = 0): BundleAgent => ({ tier, tags: [], gen })
  const agents = { root: state(), middle: state(), leaf: state() }
  const hop = (id: string, from: string, to: string, more: Partial<BundleDelegation> = {}): BundleDelegation => ({
    ...{ id, from, to, actions: ['read:*', 'write:a'], depth: 1, expiresAt: at(Date.UTC(2026, 0, 5) + HOUR_MS) },
    ...more,
  })
  const chain = () => [hop('d1', 'root', 'middle'), hop('d2', 'middle', 'leaf', { parent: 'd1', depth: 2 })]
  const mint = (claims: object = {}) =>
    mintAgentToken({
      ...{ id: 'root', key: signer.tokens.privateKey, clock: () => Date.now() },
      claims: {
        gen: 0,
        act: { sub: 'leaf', act: { sub: 'middle' } },
        delegation: [
          { id: 'd1', actions: ['*'] },
          { id: 'd2', actions: ['*'] },
        ],
        ...claims,
      },
    })
  const code = async (action: string, token: string) => (await ask(action, { token })).code

  it('allows what every hop covers and the policies allow to all, and is the act of the last', async () => {
    await publish({ agents, delegations: chain() })
    const token = await mint()
    expect(await ask('read:x', { token })).toMatchObject({ allowed: true, agent: { id: 'leaf' } })
    expect(ask('read:x', { token }), 'remembered').toMatchObject({ allowed: true })
    expect(await code('write:a', token)).toBe('allowed')
    expect(await code('write:b', token), 'beyond the delegation, whatever the token says').toBe('denied')
    const guard = createGuard({ source })
    expect(await guard.check('read:x', { token })).toMatchObject({ allowed: true, agentId: 'leaf' })
    await publish({ agents: { ...agents, root: state('verified') } })
    expect(await code('write:a', token), 'not allowed to the root').toBe('no_match')
  })

  it.each<[string, () => Partial<BundleDocument>]>([
    ['a delegation is not there any more', () => ({ delegations: chain().slice(0, 1) })],
    [
      'a delegation has expired',
      () => ({
        delegations: [chain()[0] as never, hop('d2', 'middle', 'leaf', { parent: 'd1', depth: 2, expiresAt: at(Date.now()) })],
      }),
    ],
    [
      'a delegation is between others',
      () => ({ delegations: [chain()[0] as never, hop('d2', 'root', 'leaf', { parent: 'd1', depth: 2 })] }),
    ],
    [
      'the last delegation is to another',
      () => ({ delegations: [chain()[0] as never, hop('d2', 'middle', 'root', { parent: 'd1', depth: 2 })] }),
    ],
    [
      'a delegation between is to another',
      () => ({ delegations: [hop('d1', 'root', 'leaf'), hop('d2', 'middle', 'leaf', { parent: 'd1', depth: 2 })] }),
    ],
    [
      'a delegation extends another one',
      () => ({ delegations: [chain()[0] as never, hop('d2', 'middle', 'leaf', { parent: 'd9', depth: 2 })] }),
    ],
    [
      'a depth is wrong',
      () => ({ delegations: [chain()[0] as never, hop('d2', 'middle', 'leaf', { parent: 'd1', depth: 1 })] }),
    ],
    ['the root is revoked', () => ({ agents: { ...agents, root: { revoked: true } } })],
    ['an agent between is revoked', () => ({ agents: { ...agents, middle: { revoked: true } } })],
    ['the one that acts is revoked', () => ({ agents: { ...agents, leaf: { revoked: true } } })],
    ['the one that acts has a later generation', () => ({ agents: { ...agents, leaf: state('trusted', 1) } })],
    ['the bundle does not know an agent', () => ({ agents: { root: agents.root, leaf: agents.leaf } })],
  ])('is refused when %s', async (_, change) => {
    await publish({ agents, delegations: chain() })
    const token = await mint()
    expect(await code('read:x', token)).toBe('allowed')
    await publish(change())
    expect(await code('read:x', token)).toBe('unauthenticated')
  })

  it('is refused when it goes round in a circle, whoever signed that', async () => {
    await publish({
      agents,
      delegations: [hop('d1', 'root', 'middle'), hop('d2', 'middle', 'root', { parent: 'd1', depth: 2 })],
    })
    expect(await code('read:x', await mint({ act: { sub: 'root', act: { sub: 'middle' } } }))).toBe('unauthenticated')
  })

  it('ends by itself when a hop expires', async () => {
    await publish({ agents, delegations: chain() })
    const token = await mint()
    expect(await code('read:x', token)).toBe('allowed')
    vi.setSystemTime(Date.now() + HOUR_MS)
    expect(await code('read:x', token)).toBe('unauthenticated')
  })

  it.each<[string, object]>([
    ['names other actors', { act: { sub: 'leaf', act: { sub: 'other' } } }],
    ['names its actors in another order', { act: { sub: 'middle', act: { sub: 'leaf' } } }],
    ['names too few actors', { act: { sub: 'leaf' } }],
    ['names too many actors', { act: { sub: 'other', act: { sub: 'leaf', act: { sub: 'middle' } } } }],
    ['names an actor that is no agent', { act: { sub: 'leaf', act: { sub: '' } } }],
    ['names an agent twice', { act: { sub: 'leaf', act: { sub: 'root' } } }],
    ['has no hops', { delegation: [] }],
    ['has hops that are none', { delegation: 'd1' }],
    ['has hops without ids', { delegation: [{}, {}] }],
    ['has more hops than there may be', { delegation: Array.from({ length: 6 }, (_, i) => ({ id: `d${i}` })) }],
    ['has an actor and no delegation', { delegation: undefined }],
    ['has a delegation and no actor', { act: undefined }],
    ['may only act', { act: undefined, delegation: undefined, may_act: { sub: 'leaf' } }],
    ['may be acted for by others, too', { may_act: { sub: 'root' } }],
  ])('is refused when a token %s', async (_, claims) => {
    await publish({ agents, delegations: chain() })
    expect(await code('read:x', await mint(claims))).toBe('unauthenticated')
  })

  it('that an application has proved is looked up, too', async () => {
    const delegation = [{ from: { id: 'root', trustTier: 'trusted' }, actions: ['read:*'] }]
    const agent = { id: 'leaf', trustTier: 'trusted' }
    await publish()
    expect(await ask('read:x', { agent, delegation })).toMatchObject({ allowed: true })
    await publish({ agents: { root: { revoked: true } } })
    expect(await ask('read:x', { agent, delegation })).toMatchObject({ code: 'unauthenticated' })
  })
})
