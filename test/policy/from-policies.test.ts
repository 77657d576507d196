import { describe, expect, it } from 'vitest'
import { createMemoryLimiter } from '../../packages/core/src/policy/limiter.js'
import { createPolicies } from '../../packages/core/src/policy/policies.js'
import type { Policies, PolicyDocument } from '../../packages/core/src/policy/policy.js'
import { definePolicy } from '../../packages/core/src/policy/schema.js'
import { fromPolicies, type PolicyInput } from '../../packages/core/src/sources/from-policies.js'
import type { Agent, Answer, Bucket, DecisionRequest } from '../../packages/core/src/types.js'

const nova: Agent = Object.freeze({ id: 'agent_nova', trustTier: 'verified', tags: Object.freeze(['production']) })
const readers: PolicyDocument = { name: 'readers', rules: [{ effect: 'allow', actions: ['read:*'] }] }
const limited: PolicyDocument = {
  name: 'mail',
  rules: [{ name: 'minute', effect: 'allow', actions: ['write:*'], rateLimit: { requests: 2, per: '1m' } }],
  rateLimits: { requestsPerMinute: 3 },
}

function ask(action: string, agent: unknown = nova): DecisionRequest {
  return { action, agent: agent as Agent, traceId: 't' }
}

describe('the source fromPolicies', () => {
  it('takes a policy, a document, a list, a set, or something that knows the set', () => {
    const set = createPolicies([readers])
    const inputs: PolicyInput[] = [readers, definePolicy(readers), [readers], set, { current: () => set }]
    for (const input of inputs) expect(fromPolicies(input).decide(ask('read:a'))).toMatchObject({ code: 'allowed' })
    expect(fromPolicies([]).decide(ask('read:a'))).toMatchObject({
      code: 'no_match',
      reason: 'No policy applies to this agent',
    })
  })

  it('takes a set from another copy of the package', () => {
    const { version, policies } = createPolicies([readers])
    const foreign = { version, policies: [{ name: policies[0]?.name, rules: readers.rules }] }
    expect(fromPolicies(foreign as unknown as PolicyInput).decide(ask('read:a'))).toMatchObject({ code: 'allowed' })
  })

  it('throws at creation for what is no policy and no limiter', () => {
    for (const odd of [null, undefined, './policies', Promise.resolve([])]) {
      expect(() => fromPolicies(odd as unknown as PolicyInput)).toThrow(
        /expected policies: one, a list, or what "await loadPolicies/,
      )
    }
    expect(() => fromPolicies({} as unknown as PolicyInput)).toThrow(/"name" is missing/)
    expect(() => fromPolicies(readers, { limiter: {} as never })).toThrow(/limiter/)
    expect(() => fromPolicies(readers, { limitr: undefined } as never)).toThrow(/unknown option "limitr".*"limiter"/)
    expect(() => fromPolicies({ current: 5 } as never)).toThrow(/current/)
    for (const odd of [undefined, null, 'x', 5]) expect(() => fromPolicies({ current: () => odd as never })).toThrow(TypeError)
  })

  it('throws for a set in force that is none, at the same cost however often it is asked, until there is one again', () => {
    let [read, inForce]: [number, unknown] = [0, createPolicies([readers])]
    const source = fromPolicies({ current: () => inForce as Policies })
    const bad = {
      get name() {
        read++
        return 'Not a name'
      },
      rules: [],
    }
    inForce = [bad]
    for (let i = 0; i < 5; i++) expect(() => source.decide(ask('read:a'))).toThrow(/name/)
    expect(read).toBe(1)
    for (const odd of [undefined, null, 7, {}]) {
      inForce = odd
      expect(() => source.decide(ask('read:a'))).toThrow()
    }
    inForce = createPolicies([readers])
    expect(source.decide(ask('read:a'))).toMatchObject({ code: 'allowed' })
  })

  it.each([undefined, null, 'agent_nova', {}, { id: '' }, { id: 'a b' }, { id: 'a', tags: 'x' }, { id: 'a', tags: [1] }])(
    'answers unauthenticated for the agent %j',
    (agent) => {
      const source = fromPolicies(readers)
      const request = { ...ask('read:a'), agent: agent as unknown as Agent }
      expect(source.decide(request)).toMatchObject({ allowed: false, code: 'unauthenticated' })
      expect(source.explain(request)).toMatchObject({ allowed: false, code: 'unauthenticated', steps: [] })
    },
  )

  it.each([undefined, null, 7, '', 'read', 'read:*', { toString: () => 'read:a' }])(
    'answers invalid_action for %j',
    (action) => {
      expect(fromPolicies(readers).decide(ask(action as string))).toMatchObject({ allowed: false, code: 'invalid_action' })
    },
  )

  it('allows by default only what no rule denies, without naming a policy', () => {
    const open: PolicyDocument = { name: 'open', defaultEffect: 'allow', rules: [{ effect: 'deny', actions: ['delete:*'] }] }
    const answer = fromPolicies(open).decide(ask('read:a')) as Answer
    expect(answer).toMatchObject({ allowed: true, code: 'allowed' })
    expect([answer.policy, answer.rule, answer.reason]).toEqual([undefined, undefined, undefined])
  })

  it('tells only denied agents the reason of a rule', () => {
    const source = fromPolicies({
      name: 'p',
      rules: [
        { effect: 'deny', actions: ['a:b'], reason: 'No' },
        { effect: 'allow', actions: ['*'], reason: 'Yes' },
      ],
    })
    expect(source.decide(ask('a:b'))).toMatchObject({ code: 'denied', reason: 'No' })
    expect((source.decide(ask('a:c')) as Answer).reason).toBeUndefined()
  })

  it('gives one frozen answer again and again for what it remembers', () => {
    const source = fromPolicies(readers)
    const answer = source.decide(ask('read:a'))
    expect(source.decide(ask('read:a'))).toBe(answer)
    expect(source.decide(ask('read:b', { ...nova, id: 'other' }))).toBe(answer)
    expect(Object.isFrozen(answer)).toBe(true)
  })

  it('keys buckets by policy, rule or window, and agent, so that a rule named like a window has its own', () => {
    const taken: Bucket[][] = []
    const take = (buckets: readonly Bucket[]) => {
      taken.push([...buckets])
      return { ok: true, retryAfter: 0 }
    }
    const document = { ...limited, rules: [{ ...limited.rules[0], name: '60000' }] } as PolicyDocument
    fromPolicies(document, { limiter: { take } }).decide(ask('write:a'), 5)
    expect(taken).toEqual([
      [
        { key: '["mail","60000","agent_nova"]', requests: 2, windowMs: 60_000 },
        { key: '["mail",60000,"agent_nova"]', requests: 3, windowMs: 60_000 },
      ],
    ])
  })

  it('says after how many seconds to come back, and which limit it was', () => {
    const source = fromPolicies(limited)
    for (let i = 0; i < 2; i++) expect(source.decide(ask('write:a'), 0)).toMatchObject({ code: 'allowed' })
    const expected = { allowed: false, code: 'rate_limited', policy: 'mail', rule: 'minute', retryAfter: 30 }
    expect(source.decide(ask('write:a'), 0)).toMatchObject({ ...expected, limit: { requests: 2, windowMs: 60_000 } })
  })

  it('waits for a limiter that answers later, one request after the other', async () => {
    const memory = createMemoryLimiter()
    const asked: number[] = []
    let running = 0
    const take = async (buckets: readonly Bucket[], now: number) => {
      asked.push(++running)
      await new Promise((resolve) => setTimeout(resolve, 1))
      running--
      return memory.take(buckets, now)
    }
    const source = fromPolicies([limited, readers], { limiter: { take } })
    const answers = await source.decideMany([ask('read:a'), ...Array.from({ length: 4 }, () => ask('write:a'))], 0)
    expect(answers.map((answer) => answer.code)).toEqual(['allowed', 'allowed', 'allowed', 'rate_limited', 'rate_limited'])
    expect(asked).toEqual([1, 1, 1, 1])
  })

  it('does not allow when the limiter fails or answers something else', async () => {
    const broken = (taken: unknown) => fromPolicies(limited, { limiter: { take: () => taken as never } })
    expect(broken({ ok: 'yes', retryAfter: Number.NaN }).decide(ask('write:a'))).toMatchObject({
      code: 'rate_limited',
      retryAfter: 1,
    })
    expect(() => broken(undefined).decide(ask('write:a'))).toThrow()
    await expect(broken(Promise.reject(new Error('down'))).decide(ask('write:a'))).rejects.toThrow('down')
  })

  it('decides by the set in force, keeps counting over a change, and answers a batch by one set', () => {
    let set = createPolicies([limited])
    const source = fromPolicies({ current: () => set })
    const before = source.decide(ask('write:a'), 0) as Answer
    set = createPolicies([{ ...limited, description: 'changed' }, readers])
    const after = source.decide(ask('write:a'), 0) as Answer
    expect([before.code, after.code]).toEqual(['allowed', 'allowed'])
    expect(after.policyVersion).toBe(set.version)
    expect(after.policyVersion).not.toBe(before.policyVersion)
    const answers = source.decideMany([ask('write:a'), ask('read:a'), ask('read:*')], 0) as Answer[]
    expect(answers.map((answer) => answer.code)).toEqual(['rate_limited', 'allowed', 'invalid_action'])
    expect(new Set(answers.map((answer) => answer.policyVersion))).toEqual(new Set([set.version]))
  })

  it('asks for the time only when nobody tells it', () => {
    const source = fromPolicies({
      name: 'p',
      rules: [{ effect: 'allow', actions: ['*'], conditions: { time: { between: '00:00-12:00' } } }],
    })
    expect(source.decide(ask('a:b'), Date.UTC(2026, 0, 1, 11))).toMatchObject({ allowed: true })
    expect(source.decide(ask('a:b'), Date.UTC(2026, 0, 1, 12))).toMatchObject({ allowed: false })
    expect(source.decide(ask('a:b'))).toMatchObject({ allowed: new Date().getUTCHours() < 12 })
  })

  it('forgets rather than grows, and decides the same after it forgot', () => {
    const scoped: PolicyDocument = { ...readers, appliesTo: { agentIds: Array.from({ length: 5000 }, (_, i) => `agent_${i}`) } }
    const source = fromPolicies([scoped, { name: 'no', rules: [{ effect: 'deny', actions: ['read:secrets*'] }] }])
    for (let i = 0; i < 40_000; i++) {
      const agent = { ...nova, id: `agent_${i % 6000}` }
      const expected = i % 6000 < 5000 ? 'allowed' : 'no_match'
      expect((source.decide(ask(`read:thing${i}`, agent)) as Answer).code).toBe(expected)
      if (i % 100 === 0) expect((source.decide(ask('read:secrets', agent)) as Answer).code).toBe('denied')
    }
  })

  it('never takes an action for another one that had its place before all were forgotten', () => {
    const secrets: PolicyDocument = { name: 'no', rules: [{ effect: 'deny', actions: ['read:secret*'] }] }
    const source = fromPolicies([readers, secrets, { ...limited, appliesTo: { tags: ['mail'] } }])
    const agents = [nova, { ...nova, tags: ['mail'] }]
    const codeOf = (action: string, agent: Agent | undefined) => (source.decide(ask(action, agent)) as Answer).code
    for (let i = 0; i < 50_000; i++) {
      const number = (i * 7919) % 40_000
      const kinds = [
        [`read:secret${number}`, 'denied'],
        [`read:thing${number}`, 'allowed'],
        [`write${number}:it`, 'no_match'],
      ]
      const [action, expected] = kinds[(i % 7) % 3] as [string, string]
      expect([codeOf(action, agents[i % 2]), codeOf(action, agents[(i + 1) % 2])]).toEqual([expected, expected])
    }
  })

  it('closes without complaint', async () => {
    await expect(fromPolicies(readers).close()).resolves.toBeUndefined()
  })
})

describe('an explanation', () => {
  const source = fromPolicies([
    {
      name: 'b-mail',
      rules: [
        { name: 'small', effect: 'allow', actions: ['write:*'], conditions: { 'context.amount': { lte: 5 } } },
        { name: 'no-night', effect: 'deny', actions: ['write:*'], conditions: { 'context.hour': { gte: 22 } } },
        { name: 'rest', effect: 'allow', actions: ['*'] },
      ],
    },
    { name: 'a-ops', appliesTo: { tags: ['ops'] }, rules: [{ effect: 'allow', actions: ['*'] }] },
    limited,
  ])

  it('walks through every policy in the order of names and says why each rule did or did not match', () => {
    const { steps, ...answer } = source.explain({ ...ask('write:a'), context: { amount: 7 } })
    expect(answer).toMatchObject({ allowed: false, code: 'denied', policy: 'b-mail', rule: 'no-night' })
    expect(steps).toEqual([
      { policy: 'a-ops', applies: false, why: 'the agent has no tag ops', rules: [] },
      {
        policy: 'b-mail',
        applies: true,
        why: 'applies to every agent',
        rules: [
          { rule: 'small', matched: false, why: 'write:* covers it; context.amount lte 5 does not hold' },
          {
            rule: 'no-night',
            matched: true,
            why: 'write:* covers it; context.hour gte 22 is unknown, which does not keep a deny from matching',
          },
          { rule: 'rest', matched: false, why: 'not looked at: "no-night" came first' },
        ],
      },
      {
        policy: 'mail',
        applies: true,
        why: 'applies to every agent',
        rules: [{ rule: 'minute', matched: true, why: 'write:* covers it' }],
      },
    ])
  })

  it('consumes no rate limit', () => {
    const counting = fromPolicies(limited)
    for (let i = 0; i < 9; i++) expect(counting.explain(ask('write:a'), 0).code).toBe('allowed')
    expect(counting.decide(ask('write:a'), 0)).toMatchObject({ code: 'allowed' })
  })
})
