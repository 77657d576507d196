import type { ConditionsDocument, PolicyDocument } from '@meshguard/core'
import { type Case, type Feature, nova, type Question, rook } from './spec.js'

const when = (conditions: ConditionsDocument): readonly PolicyDocument[] => [
  { name: 'when', rules: [{ effect: 'allow', actions: ['write:*'], conditions }] },
]

/** Which questions conditions let pass, and which not. */
function conditions(
  title: string,
  given: ConditionsDocument,
  passing: readonly Omit<Question, 'action'>[],
  refused: readonly Omit<Question, 'action'>[],
  needs: readonly Feature[] = [],
): Case {
  return {
    title,
    policies: when(given),
    needs,
    async run({ ask }, assert) {
      for (const [questions, expected] of [
        [passing, true],
        [refused, false],
      ] as const) {
        for (const question of questions) {
          const { allowed } = await ask({ action: 'write:x', ...question }, nova)
          assert.equal(allowed, expected, JSON.stringify(question))
        }
      }
    },
  }
}

export const circumstanceCases: readonly Case[] = [
  conditions(
    'looks at values of the context, whatever their types',
    { 'context.env': 'prod' },
    [{ context: { env: 'prod' } }],
    [{}, { context: {} }, { context: { env: 'dev' } }, { context: { env: ['prod'] } }, { context: { env: { prod: true } } }],
  ),
  conditions(
    'compares numbers as numbers',
    { 'context.amount': { lte: 100 } },
    [{ context: { amount: 100 } }, { context: { amount: -0.5 } }],
    [{ context: { amount: 100.01 } }, { context: { amount: '99' } }, { context: { amount: null } }, {}],
  ),
  conditions(
    'finds what is nested',
    { 'context.in.side': true },
    [{ context: { in: { side: true } } }],
    [{ context: { in: { side: 'true' } } }, { context: { 'in.side': true } }],
  ),
  conditions(
    'reads text of every script in a context',
    { 'context.name': 'Zoë – 株式会社 🦊' },
    [{ context: { name: 'Zoë – 株式会社 🦊' } }],
    [{ context: { name: 'Zoe – 株式会社 🦊' } }],
  ),
  conditions(
    'takes what a context inherits for absent',
    { 'context.constructor': { exists: true } },
    [],
    [{}, { context: {} }, { context: { a: 1 } }],
  ),
  conditions(
    'compares resources',
    { resource: { startsWith: 'contacts/' } },
    [{ resource: 'contacts/42' }, { resource: 'contacts/a%20b' }],
    [{}, { resource: 'contacts' }, { resource: 'Contacts/42' }, { resource: 'other/contacts/42' }],
  ),
  conditions(
    'takes a * in a resource for itself',
    { resource: 'contacts/42' },
    [{ resource: 'contacts/42' }],
    [{ resource: 'contacts/*' }, { resource: '*' }],
  ),
  conditions(
    'keeps the spaces and letters of a resource as they are',
    { resource: ' Zoë ' },
    [{ resource: ' Zoë ' }],
    [{ resource: 'Zoë' }, { resource: ' Zoe ' }, { resource: '' }],
    ['any-text'],
  ),
  conditions(
    'reads a large context',
    { 'context.note': { endsWith: '!' } },
    [{ context: { rest: Array(1000).fill('twenty letters of it'), note: 'yes!' } }],
    [{ context: { rest: Array(1000).fill('twenty letters of it'), note: 'no' } }],
    ['any-text'],
  ),
  conditions(
    'looks at the request',
    { 'request.method': 'POST', 'request.route': { startsWith: '/contacts' } },
    [{ request: { method: 'POST', route: '/contacts/:id' } }],
    [{}, { request: { method: 'GET', route: '/contacts/:id' } }, { request: { method: 'POST', route: '/other' } }],
    ['request'],
  ),
  conditions(
    'looks at the address of the caller',
    { 'request.ip': '192.0.2.7' },
    [{ request: { method: 'GET', route: '/', ip: '192.0.2.7' } }],
    [{ request: { method: 'GET', route: '/', ip: '192.0.2.8' } }, { request: { method: 'GET', route: '/' } }],
    ['request'],
  ),
  conditions('looks at what is known of the agent', { 'agent.metadata.team': 'growth', 'agent.id': nova.id }, [{}], []),
  {
    title: 'does not take what the asker says of the agent',
    policies: when({ 'agent.metadata.team': 'growth' }),
    async run({ ask }, assert) {
      const context = { agent: { metadata: { team: 'growth' } }, team: 'growth', 'agent.metadata.team': 'growth' }
      assert.equal((await ask({ action: 'write:x', context }, rook)).allowed, false)
    },
  },
  {
    title: 'a deny that cannot be told to hold denies',
    policies: [
      {
        name: 'guarded',
        rules: [
          { name: 'not-prod', effect: 'deny', actions: ['write:*'], conditions: { 'context.env': 'prod' } },
          { name: 'open', effect: 'allow', actions: ['write:*'] },
        ],
      },
    ],
    async run({ ask }, assert) {
      assert.equal((await ask({ action: 'write:x', context: { env: 'dev' } }, nova)).allowed, true)
      assert.equal((await ask({ action: 'write:x', context: { env: 'prod' } }, nova)).rule, 'not-prod')
      assert.equal((await ask({ action: 'write:x', context: { env: ['prod'] } }, nova)).allowed, false)
    },
  },
  {
    title: 'looks at the clock',
    policies: when({ time: { between: '09:00-17:00', days: ['mon'] } }),
    async run({ ask, moveTo, start }, assert) {
      const hour = 3_600_000
      for (const [after, expected] of [
        [8.9, false],
        [9, true],
        [16.9, true],
        [17, false],
        [24 + 12, false],
      ] as const) {
        await moveTo(start + after * hour)
        assert.equal((await ask('write:x', nova)).allowed, expected, `after ${after} h`)
      }
    },
  },
]
