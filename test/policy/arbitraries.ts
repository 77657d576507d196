/** Random policies and requests from so small a world that rules match, collide and have something to be unknown about. */
import fc from 'fast-check'
import type { ConditionsDocument, PolicyDocument, RuleDocument, Test } from '../../packages/core/src/policy/policy.js'
import type { Agent, DecisionRequest } from '../../packages/core/src/types.js'

const actions = ['read:a', 'read:a/b', 'read:b', 'write:a', 'write:b', 'write:a/b', 'admin:a', 'read:b:a']
const patterns = [...actions, 'read:*', 'write:*', '*:a', '*:a/*', '*', 'read:a*', '*:*b', 'r*:a*', '*d*:*', 're*d:*b', '*:b*a']
const effect = fc.constantFrom('allow' as const, 'deny' as const)

const literal = fc.constantFrom<string | number | boolean | null>('p', 'q', 'pq', 0, 1, 2, true, null)
const words = fc.constantFrom('p', 'q', 'pq', '')
const globs = fc.constantFrom('p*', '*q', '?', '*', 'p?', 'f/*', '*/a', 'f/?')
const ordered = fc.constantFrom<string | number>(0, 1, 2, '2026-01-01', '2026-02-01T10:00:00Z')
const oneOrMore = <T>(one: fc.Arbitrary<T>) => fc.oneof(one, fc.array(one, { minLength: 1, maxLength: 3 }))

const test: fc.Arbitrary<Test> = fc.oneof(
  literal,
  fc.array(literal, { minLength: 1, maxLength: 3 }),
  ...[
    ...['equals', 'notEquals'].map((operator) => literal.map((operand) => ({ [operator]: operand }))),
    ...['in', 'notIn'].map((operator) =>
      fc.array(literal, { minLength: 1, maxLength: 3 }).map((operand) => ({ [operator]: operand })),
    ),
    ...['startsWith', 'endsWith'].map((operator) => oneOrMore(words).map((operand) => ({ [operator]: operand }))),
    ...['matches', 'notMatches'].map((operator) => oneOrMore(globs).map((operand) => ({ [operator]: operand }))),
    ...['gt', 'gte', 'lt', 'lte'].map((operator) => ordered.map((operand) => ({ [operator]: operand }))),
    oneOrMore(literal).map((operand) => ({ contains: operand })),
    fc.boolean().map((operand) => ({ exists: operand })),
    fc.tuple(ordered, literal).map(([gte, notEquals]) => ({ gte, notEquals })),
  ],
)

const tierTest = fc.constantFrom<Test>('basic', ['trusted', 'privileged'], { notEquals: 'untrusted' }, { in: ['verified'] })
const tagTest = fc.constantFrom({ contains: 'x' }, { contains: ['y', 'z'] }, { exists: true }, { exists: false })
const resourceTest = fc.oneof(
  test,
  fc.constantFrom<Test>('f/a', { startsWith: 'f/' }, { matches: 'f/*' }, { notMatches: '*b' }),
)
const timeTest = fc.constantFrom(
  { between: '09:00-18:00' },
  { between: '22:00-06:00', days: ['mon' as const, 'fri' as const] },
  { days: ['sat' as const, 'sun' as const] },
)

const entry = fc.oneof(
  { weight: 4, arbitrary: fc.tuple(fc.constantFrom('context.a', 'context.b', 'context.in.a'), test) },
  { weight: 1, arbitrary: fc.tuple(fc.constantFrom('agent.id', 'agent.metadata.a', 'context.constructor'), test) },
  { weight: 2, arbitrary: fc.tuple(fc.constant('resource'), resourceTest) },
  { weight: 1, arbitrary: fc.tuple(fc.constant('agent.trustTier'), tierTest) },
  { weight: 1, arbitrary: fc.tuple(fc.constant('agent.tags'), tagTest) },
  { weight: 1, arbitrary: fc.tuple(fc.constant('request.method'), fc.constantFrom<Test>('GET', { notEquals: 'GET' })) },
  { weight: 1, arbitrary: fc.tuple(fc.constant('time'), timeTest) },
  { weight: 1, arbitrary: fc.tuple(fc.constant('context'), fc.record({ c: test })) },
)

/** One condition more often than two or three, so that they hold now and then. */
const conditions: fc.Arbitrary<ConditionsDocument> = fc
  .oneof({ weight: 3, arbitrary: fc.tuple(entry) }, { weight: 1, arbitrary: fc.array(entry, { minLength: 1, maxLength: 3 }) })
  .map((entries) => Object.fromEntries(entries))

const rule: fc.Arbitrary<RuleDocument> = fc.record({
  effect,
  actions: fc.array(fc.constantFrom(...patterns), { minLength: 1, maxLength: 3 }),
  conditions: fc.option(conditions, { nil: undefined, freq: 2 }),
  rateLimit: fc.option(fc.constant({ requests: 5, per: '1m' }), { nil: undefined, freq: 2 }),
})

const appliesTo = fc.constantFrom<PolicyDocument['appliesTo']>(
  undefined,
  undefined,
  undefined,
  { minTrustTier: 'basic' },
  { trustTiers: ['unverified', 'trusted'] },
  { tags: ['x'] },
  { tags: ['y', 'z'], minTrustTier: 'verified' },
  { agentIds: ['agent_1'] },
)

/** Rules that a policy can be made of. */
export const rules = fc.array(rule, { minLength: 1, maxLength: 6 })

/** One policy; its name is given by the set. */
const policy = fc.record({
  appliesTo,
  rules,
  combine: fc.constantFrom(undefined, 'first-match' as const, 'deny-overrides' as const),
  defaultEffect: fc.constantFrom(undefined, 'deny' as const, 'allow' as const),
  rateLimits: fc.constantFrom(undefined, undefined, { requestsPerMinute: 3 }, { requestsPerMinute: 3, requestsPerHour: 9 }),
})

/** Sets of up to five policies, named so that their order in the list is not the order of their names. */
export const policySets: fc.Arbitrary<PolicyDocument[]> = fc
  .array(policy, { minLength: 1, maxLength: 5 })
  .map((policies) => policies.map((one, i) => ({ ...one, name: `p${(i * 7) % 11}` })))

const value: fc.Arbitrary<unknown> = fc.oneof(
  { weight: 6, arbitrary: literal },
  { weight: 1, arbitrary: fc.array(literal, { maxLength: 3 }) },
  { weight: 1, arbitrary: fc.constantFrom<unknown>({ a: 'p' }, ['p'], '2026-01-15', '2026-02-01T10:00:00Z', 'f/a') },
)

const agent: fc.Arbitrary<Agent> = fc.record({
  id: fc.constantFrom('agent_1', 'agent_2', 'p'),
  trustTier: fc.constantFrom('unverified', 'sandboxed', 'verified', 'basic', 'trusted', 'privileged', 'galactic'),
  tags: fc.constantFrom<readonly string[] | undefined>(undefined, [], ['x'], ['y'], ['x', 'z'], ['other']),
  metadata: fc.option(fc.record({ a: value }, { requiredKeys: [] }), { nil: undefined }),
})

/** Valid requests about the world that the policies are about. */
export const requests: fc.Arbitrary<DecisionRequest & { agent: Agent }> = fc.record({
  agent,
  action: fc.constantFrom(...actions),
  resource: fc.constantFrom(undefined, 'f/a', 'f/b', 'f/../a', 'f/%2E/b', 'p', 'pq'),
  context: fc.option(
    fc.record({ a: value, b: value, c: value, in: fc.oneof(value, fc.record({ a: value })) }, { requiredKeys: [] }),
    { nil: undefined, freq: 6 },
  ),
  request: fc.constantFrom(undefined, { method: 'GET', route: '/a' }, { method: 'POST', route: '/a' }),
  traceId: fc.constant('property'),
})

/** Times of one week, to the hour. */
export const times = fc.integer({ min: 0, max: 7 * 24 }).map((hour) => Date.UTC(2026, 0, 5) + hour * 3_600_000)
