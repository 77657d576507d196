import { createGuard, fromPolicies, parsePolicy } from '@meshguard/core'
import { documentOf } from '@meshguard/core/policy'
import { recordingSource } from '@meshguard/core/testing'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { PolicyDocument } from '../../packages/core/src/policy/policy.js'
import type { Agent, Answer, Bucket, DecisionRequest, DelegationHop } from '../../packages/core/src/types.js'
import { policySets, requests, times } from './arbitraries.js'

const numRuns = Number(process.env['MESHGUARD_RUNS'] ?? 3000)

const agent = (id: string, members: Partial<Agent> = {}): Agent => ({ id, trustTier: 'verified', ...members })
const all = (name: string, members: Partial<PolicyDocument> = {}): PolicyDocument => ({
  name,
  rules: [{ effect: 'allow', actions: ['*'] }],
  ...members,
})
const asked = (delegation: readonly DelegationHop[], members: Partial<DecisionRequest> = {}): DecisionRequest => ({
  action: 'read:a',
  agent: agent('leaf'),
  traceId: 'delegation',
  delegation,
  ...members,
})
const hops = (...ids: string[]): DelegationHop[] => ids.map((id) => ({ from: agent(id), actions: ['*'] }))
const decide = (policies: readonly PolicyDocument[], request: DecisionRequest) =>
  fromPolicies(policies).decide(request, 0) as Answer

describe('a delegated request', () => {
  it('is allowed where every hop covers the action and the policies allow it to all agents', () => {
    const chain = [
      { from: agent('root'), actions: ['read:*'] },
      { from: agent('middle'), actions: ['read:a', 'write:a'] },
    ]
    expect(decide([all('everyone')], asked(chain))).toMatchObject({ allowed: true, policy: 'everyone' })
    expect(decide([all('everyone')], asked(chain, { action: 'write:a' }))).toMatchObject({
      allowed: false,
      code: 'denied',
      reason: 'The delegation does not cover this action',
    })
  })

  it.each(['root', 'middle', 'leaf'])('is denied where the policies deny it to the %s of the chain', (id) => {
    const policies = [
      all('everyone'),
      all('not-you', { appliesTo: { agentIds: [id] }, rules: [{ effect: 'deny', actions: ['read:a'], reason: 'Not you' }] }),
    ]
    const answer = decide(policies, asked(hops('root', 'middle')))
    expect(answer).toMatchObject({ allowed: false, code: 'denied', policy: 'not-you', reason: 'Not you' })
  })

  it.each(['root', 'middle', 'leaf'])('keeps within what a policy that applies to the %s says of delegation', (id) => {
    const bound = (delegation: PolicyDocument['delegation']) => [
      all('everyone'),
      all('bound', { appliesTo: { agentIds: [id] }, delegation }),
    ]
    const chain = asked(hops('root', 'middle'))
    expect(decide(bound({ maxDepth: 2 }), chain).allowed).toBe(true)
    expect(decide(bound({ maxDepth: 1 }), chain)).toMatchObject({ allowed: false, code: 'denied' })
    expect(decide(bound({ permissionCeiling: ['write:*', 'read:*'] }), chain).allowed).toBe(true)
    expect(decide(bound({ permissionCeiling: ['write:*'] }), chain)).toMatchObject({ allowed: false, code: 'denied' })
    const alone = { ...chain, delegation: undefined }
    expect(decide(bound({ maxDepth: 0, permissionCeiling: ['write:*'] }), alone).allowed).toBe(true)
  })

  it('is denied beyond five hops, and where an agent occurs twice', () => {
    expect(decide([all('everyone')], asked(hops('a', 'b', 'c', 'd', 'e'))).allowed).toBe(true)
    expect(decide([all('everyone')], asked(hops('a', 'b', 'c', 'd', 'e', 'f')))).toMatchObject({ allowed: false })
    expect(decide([all('everyone')], asked(hops('a', 'b', 'a')))).toMatchObject({ allowed: false })
    expect(decide([all('everyone')], asked(hops('a', 'leaf')))).toMatchObject({ allowed: false })
  })

  it('is denied where one of its agents is malformed', () => {
    const answer = decide([all('everyone', { defaultEffect: 'allow' })], asked([{ from: agent('no id!'), actions: ['*'] }]))
    expect(answer).toMatchObject({ allowed: false, code: 'unauthenticated' })
  })

  it('has one unit counted, for the agent that acts, and none where it is denied', () => {
    const taken: string[] = []
    const limiter = {
      take(buckets: readonly Bucket[]) {
        taken.push(...buckets.map(({ key }) => key))
        return { ok: true, retryAfter: 0 }
      },
    }
    const rules = [{ effect: 'allow' as const, actions: ['read:*'], rateLimit: { requests: 5, per: '1m' } }]
    const source = fromPolicies([all('limited', { rules, rateLimits: { requestsPerMinute: 9 } })], { limiter })
    source.decide(asked(hops('root', 'middle')), 0)
    expect(taken.sort()).toEqual(['["limited","allow read:*","leaf"]', '["limited",60000,"leaf"]'])
    taken.length = 0
    source.decide(asked([{ from: agent('root'), actions: ['write:*'] }]), 0)
    source.decide(asked(hops('leaf')), 0)
    expect(taken).toEqual([])
  })

  it('is explained as it is decided', async () => {
    const source = fromPolicies([all('everyone', { delegation: { maxDepth: 0 } })])
    const explained = source.explain(asked(hops('root')), 0)
    expect(explained).toMatchObject({ allowed: false, code: 'denied', steps: [{ policy: 'everyone', applies: true }] })
  })

  it('is refused without asking a source that does not evaluate delegation', async () => {
    const source = recordingSource()
    const guard = createGuard({ source })
    const decision = await guard.decide(asked(hops('root')))
    expect(decision).toMatchObject({ allowed: false, code: 'unauthenticated' })
    expect((await guard.decide(asked(hops('root')), { mode: 'audit' })).allowed).toBe(false)
    expect(source.requests).toEqual([])
  })

  it('never allows what the root alone or the leaf alone would be denied, nor what a hop does not cover', () => {
    const id =
      (name: string) =>
      (one: Agent): Agent => ({ ...one, id: name })
    const ceiling = fc.option(fc.subarray(['read:*', 'write:*', '*:a', 'read:a'], { minLength: 1 }), { nil: undefined })
    const delegation = fc.option(fc.record({ maxDepth: fc.integer({ min: 0, max: 5 }), permissionCeiling: ceiling }), {
      nil: undefined,
      freq: 2,
    })
    const sets = fc
      .tuple(policySets, fc.array(delegation, { minLength: 5, maxLength: 5 }))
      .map(([policies, bounds]) => policies.map((policy, i) => ({ ...policy, delegation: bounds[i] })))
    const agents = requests.map(({ agent }) => agent)
    const covered = fc.subarray(['read:*', 'write:*', '*:a', '*', 'admin:a'], { minLength: 1 })
    const chains = fc.array(fc.tuple(agents, covered), { minLength: 1, maxLength: 6 })
    let allowed = 0
    fc.assert(
      fc.property(sets, requests, chains, times, (policies, request, chain, now) => {
        const delegation = chain.map(([from, actions], i) => ({ from: id(`hop_${i}`)(from), actions }))
        const source = fromPolicies(policies)
        const answer = source.decide({ ...request, delegation }, now) as Answer
        if (!answer.allowed) return
        allowed++
        expect(delegation.length).toBeLessThanOrEqual(5)
        for (const one of [request.agent, ...delegation.map(({ from }) => from)]) {
          expect((source.decide({ ...request, agent: one }, now) as Answer).code).not.toMatch(/denied|no_match/)
        }
        for (const { actions } of delegation) {
          const only = fromPolicies([{ name: 'hop', rules: [{ effect: 'allow', actions }] }])
          expect((only.decide({ ...request }, now) as Answer).allowed).toBe(true)
        }
      }),
      { numRuns },
    )
    expect(allowed, 'chains that were allowed').toBeGreaterThan(numRuns / 50)
  })
})

describe('the document of a policy', () => {
  it('says what the policy says', () => {
    const limits = fc.constantFrom(
      undefined,
      { requests: 5, per: '90s' },
      { requests: 7, per: '2d' },
      { requests: 1, per: '999999s' },
    )
    fc.assert(
      fc.property(policySets, limits, (policies, rateLimit) => {
        for (const written of policies) {
          const rules = written.rules.map((rule, i) => ({
            ...rule,
            rateLimit,
            ...(i === 0 ? { name: 'named', reason: 'so' } : {}),
          }))
          const policy = parsePolicy({ ...written, rules, version: '1', description: 'd', delegation: { maxDepth: 1 } })
          const document = JSON.parse(JSON.stringify(documentOf(policy)))
          expect(parsePolicy(document)).toEqual(policy)
          expect(documentOf(parsePolicy(document))).toEqual(document)
        }
      }),
      { numRuns: Math.min(numRuns, 500) },
    )
  })
})
