import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { type Issue, ValidationError } from '../../packages/core/src/errors.js'
import { createPolicies } from '../../packages/core/src/policy/policies.js'
import type { PolicyDocument } from '../../packages/core/src/policy/policy.js'
import { definePolicy, parsePolicy } from '../../packages/core/src/policy/schema.js'

const rule = { effect: 'allow', actions: ['read:*'] } as const

function issuesOf(work: () => unknown): readonly Issue[] {
  try {
    work()
  } catch (error) {
    if (error instanceof ValidationError) return error.issues
    throw error
  }
  return []
}

/** The issues of a policy with these keys put in or over the smallest one. */
function issuesWith(keys: Record<string, unknown>): readonly Issue[] {
  return issuesOf(() => parsePolicy({ name: 'p', rules: [rule], ...keys }))
}

function issuesInRule(keys: Record<string, unknown>): readonly Issue[] {
  return issuesWith({ rules: [{ ...rule, ...keys }] })
}

describe('parsing a policy', () => {
  it('fills in what may be left out', () => {
    const policy = parsePolicy({ name: 'p', rules: [rule] })
    expect(policy).toMatchObject({ combine: 'first-match', defaultEffect: 'deny', rateLimits: [] })
    expect(policy.rules[0]).toMatchObject({ name: 'allow read:*', conditions: [] })
  })

  it('names rules by effect and first pattern, and numbers those that would be called the same', () => {
    const deny = { effect: 'deny', actions: ['admin:*'] } as const
    const named = { ...deny, name: 'deny admin:* #2' }
    expect(parsePolicy({ name: 'p', rules: [deny, deny, named, deny, rule] }).rules.map((one) => one.name)).toEqual([
      'deny admin:*',
      'deny admin:* #3',
      'deny admin:* #2',
      'deny admin:* #4',
      'allow read:*',
    ])
  })

  it('writes tiers, limits and conditions in one way', () => {
    const policy = parsePolicy({
      name: 'p',
      appliesTo: { minTrustTier: 'basic' },
      rateLimits: { requestsPerHour: 9 },
      rules: [
        {
          ...rule,
          rateLimit: { requests: 3, per: '2h' },
          conditions: { 'agent.trustTier': ['untrusted'], context: { amount: { lte: 5 } } },
        },
      ],
    })
    expect(policy.appliesTo?.trustTiers).toEqual(['verified', 'trusted', 'privileged'])
    expect(policy.rateLimits).toEqual([{ requests: 9, windowMs: 3_600_000 }])
    expect(policy.rules[0]).toMatchObject({
      rateLimit: { requests: 3, windowMs: 7_200_000 },
      conditions: [
        { path: 'agent.trustTier', tests: [{ operator: 'in', operand: ['unverified'] }] },
        { path: 'context.amount', tests: [{ operator: 'lte', operand: 5 }] },
      ],
    })
  })

  it('freezes what it makes, and does not hold on to what it was given', () => {
    const given = { name: 'p', rules: [{ effect: 'allow' as const, actions: ['read:a'] }] }
    const policy = definePolicy(given)
    given.rules[0]?.actions.push('*')
    expect(policy.rules[0]?.actions).toEqual(['read:a'])
    expect(() => Object.assign(policy.rules[0] ?? {}, { effect: 'deny' })).toThrow(TypeError)
    expect(Object.isFrozen(policy.rules[0]?.actions)).toBe(true)
  })

  it.each<[string, Record<string, unknown>, Issue['path'], string]>([
    ['an unknown key', { defautEffect: 'deny' }, ['defautEffect'], 'Unknown key "defautEffect". Did you mean "defaultEffect"?'],
    ['a key like nothing', { zzz: 1 }, ['zzz'], 'There are name, version'],
    ['a name with capitals', { name: 'P' }, ['name'], 'a-z 0-9'],
    ['a name that is none', { name: 7 }, ['name'], 'expected text'],
    ['a version that is a number', { version: 1 }, ['version'], 'quote it'],
    ['no rules', { rules: undefined }, [], '"rules" is missing'],
    ['empty rules', { rules: [] }, ['rules'], 'rules: expected a list with at least 1 entry'],
    ['a bad combine', { combine: 'first' }, ['combine'], '"first-match", "deny-overrides"'],
    ['an empty scope', { appliesTo: {} }, ['appliesTo'], 'is empty'],
    ['a scope that is nothing', { appliesTo: null }, ['appliesTo'], 'expected an object'],
    ['a scope whose only key is undefined', { appliesTo: { tags: undefined } }, ['appliesTo'], 'is empty'],
    ['a bad agent id', { appliesTo: { agentIds: ['a b'] } }, ['appliesTo', 'agentIds', 0], 'agent id'],
    ['a window that is none', { rateLimits: { requestsPerDay: 1 } }, ['rateLimits', 'requestsPerDay'], 'requestsPerHour'],
    ['half a request', { rateLimits: { requestsPerHour: 0.5 } }, ['rateLimits', 'requestsPerHour'], 'whole number'],
    ['a rate too large to count', { rateLimits: { requestsPerHour: 10 ** 12 } }, ['rateLimits', 'requestsPerHour'], 'counted'],
    ['a depth beyond five', { delegation: { maxDepth: 6 } }, ['delegation', 'maxDepth'], 'at most 5'],
    [
      'a ceiling that is no pattern',
      { delegation: { permissionCeiling: ['x'] } },
      ['delegation', 'permissionCeiling', 0],
      '"x"',
    ],
  ])('refuses %s', (_title, keys, path, words) => {
    const issues = issuesWith(keys)
    expect(issues).toHaveLength(1)
    expect(issues[0]).toMatchObject({ path, message: expect.stringContaining(words) })
  })

  it.each<[string, Record<string, unknown>, Issue['path'], string]>([
    ['an effect that is none', { effect: 'permit' }, ['effect'], 'not "permit"'],
    ['an effect with a capital', { effect: 'Allow' }, ['effect'], 'Did you mean "allow"?'],
    ['no effect', { effect: undefined }, [], '"effect" is missing'],
    ['65 patterns', { actions: Array.from({ length: 65 }, (_, i) => `read:${i}`) }, ['actions'], '64'],
    ['a rate of minutes in words', { rateLimit: { requests: 1, per: '1 minute' } }, ['rateLimit', 'per'], '1m'],
    ['a rate without a window', { rateLimit: { requests: 1 } }, ['rateLimit'], '"per" is missing'],
    ['a rate too large to count', { rateLimit: { requests: 10 ** 9, per: '365d' } }, ['rateLimit'], 'counted'],
    ['conditions that are nothing', { conditions: null }, ['conditions'], 'expected tests'],
    ['empty conditions', { conditions: {} }, ['conditions'], 'is empty'],
    ['an undefined test', { conditions: { 'context.a': undefined } }, ['conditions', 'context.a'], 'expected a test'],
    ['a test without operators', { conditions: { 'context.a': {} } }, ['conditions', 'context.a'], 'expected a test'],
    ['an empty list', { conditions: { 'context.a': [] } }, ['conditions', 'context.a'], 'expected a list with'],
    ['a list in a list', { conditions: { 'context.a': [['x']] } }, ['conditions', 'context.a'], 'expected a list with'],
    ['NaN', { conditions: { 'context.a': Number.NaN } }, ['conditions', 'context.a'], 'expected a test'],
    [
      'an unknown operator',
      { conditions: { resource: { startswith: 'y' } } },
      ['conditions', 'resource', 'startswith'],
      '"startsWith"',
    ],
    [
      'a nested context',
      { conditions: { context: { a: { b: 1 } } } },
      ['conditions', 'context', 'a', 'b'],
      'Unknown operator "b"',
    ],
    ['a dotted key in context', { conditions: { context: { 'a.b': 1 } } }, ['conditions', 'context', 'a.b'], 'whole path'],
    ['an empty key', { conditions: { 'context.a..b': 1 } }, ['conditions', 'context.a..b'], 'empty key'],
    ['metadata as a whole', { conditions: { 'agent.metadata': 'x' } }, ['conditions', 'agent.metadata'], 'Unknown path'],
    [
      'the path of a request',
      { conditions: { 'request.path': '/' } },
      ['conditions', 'request.path'],
      'Unknown path "request.path"',
    ],
    ['an inherited path', { conditions: { constructor: 'x' } }, ['conditions', 'constructor'], 'Unknown path'],
    [
      'a date that is none',
      { conditions: { 'context.a': { gt: '2026-02-30' } } },
      ['conditions', 'context.a', 'gt'],
      'a date like',
    ],
    ['a tier that is none', { conditions: { 'agent.trustTier': 'trustd' } }, ['conditions', 'agent.trustTier'], '"trusted"'],
    ['tags in a list', { conditions: { 'agent.tags': ['a'] } }, ['conditions', 'agent.tags'], 'contains'],
    ['five stars', { conditions: { resource: { matches: '*****' } } }, ['conditions', 'resource', 'matches'], '4 stars'],
    ['a time without a range', { conditions: { time: { timezone: 'UTC' } } }, ['conditions', 'time'], 'between'],
    ['hour 24', { conditions: { time: { between: '09:00-24:00' } } }, ['conditions', 'time', 'between'], '09:00-18:00'],
    [
      'an offset as zone',
      { conditions: { time: { days: ['mon'], timezone: '+02:00' } } },
      ['conditions', 'time', 'timezone'],
      '+02:00',
    ],
    ['a day in full', { conditions: { time: { days: ['mon', 'monday'] } } }, ['conditions', 'time', 'days', 1], '"monday"'],
    [
      'an unknown key in time',
      { conditions: { time: { days: ['mon'], zone: 'UTC' } } },
      ['conditions', 'time', 'zone'],
      'Unknown key',
    ],
  ])('refuses a rule with %s', (_title, keys, path, words) => {
    const issues = issuesInRule(keys)
    expect(issues).toHaveLength(1)
    expect(issues[0]).toMatchObject({ path: ['rules', 0, ...path], message: expect.stringContaining(words) })
  })

  it('refuses a test of one attribute in two spellings, and more than 16 of them', () => {
    expect(issuesInRule({ conditions: { context: { a: 1 }, 'context.a': 2 } })[0]?.message).toMatch(/tested twice/)
    const many = Object.fromEntries(Array.from({ length: 17 }, (_, i) => [`context.k${i}`, 1]))
    expect(issuesInRule({ conditions: many })[0]?.message).toMatch(/at most 16 conditions/)
  })

  it('refuses __proto__ as a key everywhere, and reads nothing that is inherited', () => {
    const polluted = JSON.parse('{"name":"p","__proto__":{},"rules":[{"effect":"allow","actions":["read:*"],"__proto__":{}}]}')
    expect(issuesOf(() => parsePolicy(polluted)).map((issue) => issue.path)).toEqual([['rules', 0, '__proto__'], ['__proto__']])
    expect(issuesOf(() => parsePolicy(Object.create({ name: 'p', rules: [rule] })))).toHaveLength(2)
  })

  it('is not changed by a polluted Object.prototype', () => {
    Object.defineProperty(Object.prototype, 'defaultEffect', { value: 'allow', configurable: true, enumerable: false })
    try {
      expect(parsePolicy({ name: 'p', rules: [rule] }).defaultEffect).toBe('deny')
    } finally {
      Reflect.deleteProperty(Object.prototype, 'defaultEffect')
    }
  })

  it.each([undefined, null, 7, 'x', [], () => {}])('refuses %s, which is no object', (value) => {
    expect(issuesOf(() => parsePolicy(value))[0]).toMatchObject({
      path: [],
      message: expect.stringContaining('expected an object'),
    })
  })

  it('refuses what is nested without end', () => {
    const cycle: Record<string, unknown> = { name: 'p' }
    cycle['rules'] = [cycle]
    expect(issuesOf(() => parsePolicy(cycle))[0]?.message).toMatch(/nested at most 16/)
  })

  it('reports everything that is wrong at once', () => {
    const issues = issuesOf(() =>
      parsePolicy({ nme: 'p', rules: [{ effect: 'no', actions: [] }, 7], combine: 1, appliesTo: {} }),
    )
    expect(issues.map((issue) => issue.path.join('.')).sort()).toEqual(
      ['', 'appliesTo', 'combine', 'nme', 'rules.0.actions', 'rules.0.effect', 'rules.1'].sort(),
    )
  })

  it('answers whatever it is given with a policy or a ValidationError', () => {
    const value = fc.oneof(
      fc.anything(),
      fc.constantFrom<unknown>({}, ['x'], ['mon'], 'UTC', '09:00-18:00', '2026-01-01', 'verified', '1m'),
    )
    const tests = fc.dictionary(
      fc.constantFrom('between', 'timezone', 'days', 'equals', 'in', 'contains', 'matches', 'gt', 'a'),
      value,
    )
    const paths = fc.constantFrom('resource', 'agent.trustTier', 'agent.tags', 'time', 'context', 'context.a', 'nope')
    const anyRule = fc.record(
      {
        name: value,
        effect: fc.oneof(fc.constantFrom('allow', 'deny'), value),
        actions: fc.oneof(fc.constant(['read:*']), value),
        conditions: fc.oneof(fc.dictionary(paths, fc.oneof(tests, value)), value),
        rateLimit: fc.oneof(fc.record({ requests: value, per: value }), value),
      },
      { requiredKeys: [] },
    )
    const document = fc.record({
      name: fc.oneof(fc.constant('p'), value),
      rules: fc.oneof(fc.array(anyRule), value),
      appliesTo: fc.oneof(fc.record({ trustTiers: value, minTrustTier: value }), value),
      rateLimits: fc.oneof(fc.record({ requestsPerHour: value }), value),
      delegation: value,
    })
    const numRuns = Number(process.env['MESHGUARD_RUNS'] ?? 5000) / 5
    fc.assert(
      fc.property(document, (given) => void issuesOf(() => parsePolicy(given))),
      { numRuns },
    )
  }, 120_000)

  it('refuses 10 001 rules', () => {
    expect(issuesWith({ rules: Array.from({ length: 10_001 }, () => rule) })[0]).toMatchObject({ path: ['rules'] })
  })

  it('has types that refuse what it refuses', () => {
    // @ts-expect-error there is no such effect
    const effect: PolicyDocument = { name: 'p', rules: [{ effect: 'permit', actions: ['a:b'] }] }
    // @ts-expect-error there is no such path
    const path: PolicyDocument = { name: 'p', rules: [{ ...rule, conditions: { 'request.path': 'x' } }] }
    // @ts-expect-error there is no such operator
    const operator: PolicyDocument = { name: 'p', rules: [{ ...rule, conditions: { resource: { startswith: 'x' } } }] }
    for (const document of [effect, path, operator]) expect(() => definePolicy(document)).toThrow(ValidationError)
  })
})

describe('a set of policies', () => {
  const a = { name: 'a', rules: [rule] }
  const b = { name: 'b', rules: [rule] }

  it('has one version in whatever order, and another when anything changes', () => {
    const { version } = createPolicies([a, b])
    expect(createPolicies([parsePolicy(b), a]).version).toBe(version)
    expect(version).toMatch(/^[0-9a-f]{16}$/)
    const others = [[a], [a, { ...b, description: 'x' }], [a, { ...b, defaultEffect: 'allow' as const }], []]
    expect(new Set([version, ...others.map((set) => createPolicies(set).version)]).size).toBe(5)
  })

  it('has the same version whether a default is written out or not', () => {
    const full = { ...a, combine: 'first-match' as const, defaultEffect: 'deny' as const }
    expect(createPolicies([full]).version).toBe(createPolicies([a]).version)
  })

  it('is in the order of names and frozen', () => {
    const set = createPolicies([b, a])
    expect(set.policies.map((policy) => policy.name)).toEqual(['a', 'b'])
    expect(Object.isFrozen(set) && Object.isFrozen(set.policies)).toBe(true)
  })

  it('refuses two policies of one name, and says where every issue is', () => {
    expect(issuesOf(() => createPolicies([a, b, a]))).toEqual([{ path: [2, 'name'], message: 'Two policies are named "a"' }])
    const bad = { name: 'c', rules: [] } as PolicyDocument
    expect(issuesOf(() => createPolicies([a, bad, bad])).map((issue) => issue.path)).toEqual([
      [1, 'rules'],
      [2, 'rules'],
    ])
  })

  it('refuses more than 100 000 rules in all', () => {
    const many = Array.from({ length: 10_000 }, (_, i) => ({ effect: 'allow' as const, actions: [`read:${i}`], name: `${i}` }))
    const policies = Array.from({ length: 10 }, (_, i) => parsePolicy({ name: `p${i}`, rules: many }))
    expect(createPolicies(policies).policies).toHaveLength(10)
    expect(issuesOf(() => createPolicies([...policies, a]))[0]?.message).toMatch(/at most 100000 rules/)
  }, 60_000)
})
