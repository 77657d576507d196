import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { type Check, compileCondition, FALSE, TRUE, UNKNOWN } from '../../packages/core/src/policy/checks.js'
import { readConditions } from '../../packages/core/src/policy/conditions.js'
import type { ConditionsDocument } from '../../packages/core/src/policy/policy.js'
import type { DecisionRequest } from '../../packages/core/src/types.js'

const WORDS = new Map<number, string>([
  [FALSE, 'false'],
  [TRUE, 'true'],
  [UNKNOWN, 'unknown'],
])

function checkOf(conditions: ConditionsDocument): Check {
  const problems: string[] = []
  const [condition] = readConditions(conditions, (path, message) => problems.push(`${path.join('.')}: ${message}`))
  expect(problems).toEqual([])
  if (condition === undefined) throw new Error('no condition')
  return compileCondition(condition)
}

function outcome(conditions: ConditionsDocument, request: Partial<DecisionRequest>, now = 0): string | undefined {
  return WORDS.get(checkOf(conditions)({ action: 'read:a', traceId: 't', ...request }, now))
}

function ofContext(test: unknown, context: Record<string, unknown> | undefined): string | undefined {
  return outcome({ context: { a: test } } as ConditionsDocument, { context })
}

describe('a condition on an attribute', () => {
  it.each([
    ['a string equals a string', 'x', 'x', 'true'],
    ['another string', 'x', 'y', 'false'],
    ['a number is no string', 'x', 1, 'unknown'],
    ['a string is no number', 1, '1', 'unknown'],
    ['a list is unknown', 'x', ['x'], 'unknown'],
    ['an object is unknown', 'x', { x: 1 }, 'unknown'],
    ['false is a boolean', true, false, 'false'],
    ['null equals null', null, null, 'true'],
    ['null is no string', 'x', null, 'unknown'],
    ['a string is no null', { notEquals: null }, 'x', 'unknown'],
    ['NaN is unknown', { notEquals: 1 }, Number.NaN, 'unknown'],
    ['notEquals with a list is unknown', { notEquals: 'x' }, ['x'], 'unknown'],
    ['in, of a type that some element has', { in: ['x', 1] }, 2, 'false'],
    ['in, of a type that no element has', { in: ['x', 1] }, true, 'unknown'],
    ['notIn', { notIn: ['x'] }, 'y', 'true'],
    ['notIn, of another type', { notIn: ['x'] }, 7, 'unknown'],
    ['startsWith any', { startsWith: ['x', 'y'] }, 'yes', 'true'],
    ['endsWith none', { endsWith: ['x', 'y'] }, 'yes', 'false'],
    ['startsWith a number', { startsWith: 'x' }, 7, 'unknown'],
    ['contains a part', { contains: 'or' }, 'word', 'true'],
    ['contains in a list is membership', { contains: 'or' }, ['word'], 'false'],
    ['a member', { contains: ['a', 'or'] }, ['word', 'or'], 'true'],
    ['an empty list has no member', { contains: 'or' }, [], 'false'],
    ['a nested list does not slip past membership', { contains: 'prod' }, [['prod']], 'unknown'],
    ['contains in an object', { contains: 'or' }, { or: 1 }, 'unknown'],
    ['contains in a number', { contains: '1' }, 12, 'unknown'],
    ['notMatches none of them', { notMatches: ['x*', '*y'] }, 'abc', 'true'],
    ['notMatches one of them', { notMatches: ['x*', '*y'] }, 'xbc', 'false'],
    ['notMatches a number', { notMatches: 'x*' }, 3, 'unknown'],
    ['a string of 8 192 units is searched', { endsWith: 'b' }, `${'a'.repeat(8191)}b`, 'true'],
    ['a longer one is unknown', { endsWith: 'b' }, `${'a'.repeat(8192)}b`, 'unknown'],
    ['a longer one can still be equal', { notEquals: 'b' }, 'a'.repeat(9000), 'true'],
    ['numbers compare', { gt: 1, lt: 3 }, 2, 'true'],
    ['the end of a range', { gt: 1, lt: 3 }, 3, 'false'],
    ['a number in a string does not compare', { gte: 1 }, '2', 'unknown'],
    ['a date compares with a date', { lt: '2026-01-02' }, '2026-01-01T23:59:59.999Z', 'true'],
    ['an offset counts', { gte: '2026-01-01T00:00:00Z' }, '2026-01-01T01:00:00+02:00', 'false'],
    ['a day that is none', { gte: '2026-01-01' }, '2026-02-30', 'unknown'],
    ['a time without a zone', { gte: '2026-01-01' }, '2026-02-01T00:00:00', 'unknown'],
    ['a number does not compare with a date', { gte: '2026-01-01' }, 5, 'unknown'],
    ['exists', { exists: true }, null, 'true'],
    ['exists not', { exists: false }, null, 'false'],
    ['all operators must hold', { startsWith: 'x', endsWith: 'y' }, 'xz', 'false'],
    ['false beats unknown', { startsWith: 'y', gt: 1 }, 'xz', 'false'],
  ])('%s', (_title, test, value, expected) => {
    expect(ofContext(test, { a: value })).toBe(expected)
  })

  it('is unknown when the attribute is missing, whatever the operator', () => {
    for (const test of [
      'x',
      null,
      ['x'],
      { notEquals: 'x' },
      { notIn: ['x'] },
      { notMatches: 'x' },
      { contains: 'x' },
      { lt: 1 },
    ]) {
      expect(ofContext(test, {}), JSON.stringify(test)).toBe('unknown')
      expect(ofContext(test, undefined), JSON.stringify(test)).toBe('unknown')
    }
    expect(ofContext({ exists: false }, {})).toBe('true')
    expect(ofContext({ exists: true }, {})).toBe('false')
  })

  it('reads own keys of objects only', () => {
    const paths = [
      'context.__proto__',
      'context.constructor',
      'context.a.length',
      'context.a.0',
      'context.toString.name',
    ] as const
    for (const path of paths) {
      expect(outcome({ [path]: { exists: true } }, { context: { a: ['x'] } }), path).toBe('false')
      expect(outcome({ [path]: { exists: true } }, { context: { a: 'x' } }), path).toBe('false')
    }
    expect(outcome({ 'context.a.b': 'x' }, { context: { a: { b: 'x' } } })).toBe('true')
    expect(outcome({ 'context.a.b': 'x' }, { context: { a: Object.create({ b: 'x' }) } })).toBe('unknown')
    const own = JSON.parse('{"__proto__": "x"}')
    expect(outcome({ 'context.__proto__': 'x' }, { context: own })).toBe('true')
  })

  it('knows the agent and the route', () => {
    const agent = { id: 'agent_1', name: 'nova', trustTier: 'basic', tags: ['a'], metadata: { team: { name: 'x' } } }
    const request = { agent, request: { method: 'GET', route: '/a/:id', ip: '10.0.0.7' } }
    expect(outcome({ 'agent.id': 'agent_1' }, request)).toBe('true')
    expect(outcome({ 'agent.name': { startsWith: 'n' } }, request)).toBe('true')
    expect(outcome({ 'agent.trustTier': ['verified'] }, request)).toBe('true')
    expect(outcome({ 'agent.trustTier': 'basic' }, { agent: { ...agent, trustTier: 'galactic' } })).toBe('false')
    expect(outcome({ 'agent.metadata.team.name': 'x' }, request)).toBe('true')
    expect(outcome({ 'request.route': '/a/:id' }, request)).toBe('true')
    expect(outcome({ 'request.ip': { startsWith: '10.' } }, request)).toBe('true')
    expect(outcome({ 'request.method': 'GET' }, {})).toBe('unknown')
  })

  it.each(['/files/../etc', '..', 'a/.', './a', 'a\\b', 'a\0b', 'a%2Eb', 'a%2fb', 'a%5Cb'])(
    'does not know what the resource %j is, except that it exists',
    (resource) => {
      for (const test of [
        resource,
        { notEquals: 'x' },
        { startsWith: '' },
        { matches: '*' },
        { notMatches: 'x' },
        [resource],
      ]) {
        expect(outcome({ resource: test }, { resource }), JSON.stringify(test)).toBe('unknown')
      }
      expect(outcome({ resource: { exists: true } }, { resource })).toBe('true')
    },
  )

  it.each(['/files/a.b', '/files/..a', 'a/...', 'a%20b', 'a..b'])('knows the resource %j', (resource) => {
    expect(outcome({ resource }, { resource })).toBe('true')
  })
})

describe('a condition on the time', () => {
  const at = (text: string) => Date.parse(text)

  it.each([
    ['2026-01-05T08:59:59Z', 'false'],
    ['2026-01-05T09:00:00Z', 'true'],
    ['2026-01-05T17:59:59Z', 'true'],
    ['2026-01-05T18:00:00Z', 'false'],
    ['1969-12-29T10:00:00Z', 'true'],
  ])('has its start in and its end out: %s', (time, expected) => {
    expect(outcome({ time: { between: '09:00-18:00', days: ['mon'] } }, {}, at(time))).toBe(expected)
  })

  it.each([
    ['2026-01-05T22:00:00Z', 'true'],
    ['2026-01-06T05:59:00Z', 'true'],
    ['2026-01-06T22:00:00Z', 'false'],
    ['2026-01-05T05:00:00Z', 'false'],
  ])('belongs, across midnight, to the day it began on: %s', (time, expected) => {
    expect(outcome({ time: { between: '22:00-06:00', days: ['mon'] } }, {}, at(time))).toBe(expected)
  })

  it('follows summer time', () => {
    const time = { between: '09:00-10:00', timezone: 'Europe/Berlin' }
    expect(outcome({ time }, {}, at('2026-01-15T08:30:00Z'))).toBe('true')
    expect(outcome({ time }, {}, at('2026-07-15T08:30:00Z'))).toBe('false')
    expect(outcome({ time }, {}, at('2026-07-15T07:30:00Z'))).toBe('true')
  })

  it('knows zones whose day is another', () => {
    const time = { days: ['mon' as const], timezone: 'Asia/Kolkata' }
    expect(outcome({ time }, {}, at('2026-01-04T18:30:00Z'))).toBe('true')
    expect(outcome({ time }, {}, at('2026-01-04T18:29:59Z'))).toBe('false')
  })

  it('is unknown at a time that is none', () => {
    for (const timezone of ['UTC', 'Europe/Berlin']) {
      expect(outcome({ time: { days: ['mon'], timezone } }, {}, Number.NaN)).toBe('unknown')
      expect(outcome({ time: { days: ['mon'], timezone } }, {}, Number.POSITIVE_INFINITY)).toBe('unknown')
    }
  })
})

describe('any condition', () => {
  const operators = {
    startsWith: 'x',
    endsWith: 'x',
    contains: 'x',
    matches: '*a*a*b',
    notMatches: '*?x',
    exists: true,
  } as const
  const checks = [
    checkOf({ resource: operators }),
    checkOf({ 'context.a.b': operators }),
    checkOf({ 'context.a': ['x', 1, null] }),
    checkOf({ 'context.a': { gte: '2026-01-01', contains: [1, 'x'] } }),
    checkOf({ 'agent.trustTier': { notEquals: 'basic' } }),
    checkOf({ 'agent.metadata.a': { lt: 3 } }),
    checkOf({ time: { between: '22:00-06:00', timezone: 'America/New_York' } }),
  ]

  it('answers true, false or unknown to whatever it is asked, and never throws', () => {
    const long = fc.string({ unit: fc.constantFrom('a', '.', '/', '%2e', '\\', '😀', '-'), minLength: 0, maxLength: 8300 })
    const request = fc.record({
      action: fc.constant('read:a'),
      resource: fc.oneof(long, fc.anything()),
      context: fc.oneof(fc.record({ a: fc.oneof(long, fc.anything()) }), fc.anything()),
      agent: fc.oneof(fc.anything(), fc.record({ trustTier: fc.anything(), metadata: fc.anything() })),
    })
    const numRuns = Number(process.env['MESHGUARD_RUNS'] ?? 5000) / 5
    fc.assert(
      fc.property(request, fc.double(), (given, now) => {
        for (const check of checks) expect(WORDS.has(check(given as DecisionRequest, now))).toBe(true)
      }),
      { numRuns },
    )
  }, 120_000)
})
