import { AuthenticationError, type MeshGuardClient, MeshGuardError, UnavailableError, ValidationError } from '@meshguard/client'
import { ADMIN, type Case, isA, type Received, rejection } from './spec.js'

const policy = { name: 'readers', rules: [{ effect: 'allow' as const, actions: ['read:*'] }] }
const yaml = 'name: readers\nrules:\n  - effect: allow\n    actions: ["read:*"]\n'
const everything = { agents: [], policies: [], entries: [], tokens: [], delegations: [] }

/** Every method of the administration: how it is called, and the line and the JSON that go over the wire. */
export const calls: readonly (readonly [string, (operator: MeshGuardClient) => Promise<unknown>, string, unknown?])[] = [
  [
    'listAgents',
    (o) => o.listAgents({ trustTier: 'trusted', tag: 'a b', status: 'active' }),
    'GET /admin/agents?trustTier=trusted&tag=a+b&status=active&limit=1000',
  ],
  ['getAgent', (o) => o.getAgent('agent_1'), 'GET /admin/agents/agent_1'],
  [
    'createAgent',
    (o) => o.createAgent({ name: 'scout', trustTier: 'trusted', tags: ['a'] }),
    'POST /admin/agents',
    { name: 'scout', trustTier: 'trusted', tags: ['a'] },
  ],
  ['updateAgent', (o) => o.updateAgent('agent_1', { tags: [] }), 'PATCH /admin/agents/agent_1', { tags: [] }],
  ['revokeAgent', (o) => o.revokeAgent('agent_1'), 'DELETE /admin/agents/agent_1'],
  ['issueToken', (o) => o.issueToken('agent_1', { expiresIn: '1h' }), 'POST /admin/agents/agent_1/token', { expiresIn: '1h' }],
  ['listPolicies', (o) => o.listPolicies(), 'GET /admin/policies'],
  ['policyProblem', (o) => o.policyProblem(), 'GET /admin/policies'],
  ['getPolicy', (o) => o.getPolicy('readers'), 'GET /admin/policies/readers'],
  ['applyPolicy', (o) => o.applyPolicy(policy), 'PUT /admin/policies/readers', policy],
  ['deletePolicy', (o) => o.deletePolicy('readers'), 'DELETE /admin/policies/readers'],
  ['validatePolicy', (o) => o.validatePolicy(policy), 'POST /admin/policies/validate', policy],
  [
    'testPolicy',
    (o) => o.testPolicy({ agent: 'agent_1', action: 'read:x' }),
    'POST /admin/policies/test',
    { agent: 'agent_1', action: 'read:x' },
  ],
  [
    'getAuditLog',
    (o) => o.getAuditLog({ decision: 'deny', from: new Date(0) }),
    'GET /admin/audit?decision=deny&from=1970-01-01T00%3A00%3A00.000Z&limit=50',
  ],
  ['getTrace', (o) => o.getTrace('trace-of-a-call'), 'GET /admin/audit/traces/trace-of-a-call?limit=1000'],
  ['getAuditStats', (o) => o.getAuditStats({ period: '7d' }), 'GET /admin/audit/stats?period=7d'],
  [
    'exportAudit',
    (o) => o.exportAudit({ format: 'csv', to: '2026-01-01T00:00:00Z' }),
    'GET /admin/audit/export?format=csv&to=2026-01-01T00%3A00%3A00Z',
  ],
  ['verifyAudit', (o) => o.verifyAudit(), 'GET /admin/audit/verify'],
  ['listTokens', (o) => o.listTokens(), 'GET /admin/tokens'],
  [
    'createToken',
    (o) => o.createToken({ name: 'api', scopes: ['decide'] }),
    'POST /admin/tokens',
    { name: 'api', scopes: ['decide'] },
  ],
  ['revokeToken', (o) => o.revokeToken('tok_1'), 'DELETE /admin/tokens/tok_1'],
  ['listDelegations', (o) => o.listDelegations(), 'GET /admin/delegations'],
  [
    'createDelegation',
    (o) => o.createDelegation({ from: 'a', to: 'b', actions: ['read:*'], expiresIn: '1h' }),
    'POST /admin/delegations',
    { from: 'a', to: 'b', actions: ['read:*'], expiresIn: '1h' },
  ],
  ['revokeDelegation', (o) => o.revokeDelegation('dlg_1'), 'DELETE /admin/delegations/dlg_1'],
  ['streamAudit', (o) => o.streamAudit({ decision: 'deny' }).next(), 'GET /admin/audit/stream?decision=deny'],
]

const byMethod = calls.map(
  ([name, call, line, body]): Case => ({
    title: `${name} sends one request with the admin token and no other, and none without it`,
    async run({ answer, connect, received }, assert) {
      await answer(name === 'streamAudit' ? { text: 'data: {}\n\n' } : { json: everything })
      await call(connect())
      const [{ method, url, headers, body: sent }] = (await received()) as [Received]
      assert.equal(`${method} ${url}`, line)
      assert.equal(headers['x-admin-token'], ADMIN)
      assert.equal(headers['authorization'], undefined)
      assert.equal(sent === '' ? undefined : JSON.parse(sent), body)
      const error = await rejection(call(connect({ adminToken: undefined })))
      isA(AuthenticationError, error, assert)
      assert.match(error.message, /MESHGUARD_ADMIN_TOKEN/)
      assert.equal((await received()).length, 1)
    },
  }),
)

const refusals = [
  [404, 'not_found'],
  [409, 'conflict'],
  [412, 'precondition_failed'],
  [413, 'too_large'],
  [415, 'unsupported_media_type'],
  [403, 'forbidden'],
] as const

export const operatorCases: readonly Case[] = [
  ...byMethod,
  {
    title: 'follows pages up to the limit, and asks for no more than is left',
    async run({ answer, connect, received }, assert) {
      const page = (ids: readonly number[], nextCursor?: string) => ({
        json: { entries: ids.map((id) => ({ id })), nextCursor },
      })
      await answer(page([...Array(1000).keys()], 'c1'), page([1000, 1001], 'c2'))
      assert.equal((await connect().getAuditLog({ limit: 1002 })).length, 1002)
      const urls = (await received()).map(({ url }) => url)
      assert.equal(urls, ['/admin/audit?limit=1000', '/admin/audit?limit=2&cursor=c1'])
    },
  },
  {
    title: 'follows pages to the last one',
    async run({ answer, connect }, assert) {
      await answer({ json: { agents: [{ id: 'a' }], nextCursor: 'x' } }, { json: { agents: [{ id: 'b' }] } })
      assert.equal(await connect().listAgents(), [{ id: 'a' }, { id: 'b' }])
    },
  },
  {
    title: 'sends a revision as If-Match, and 0 as If-None-Match',
    async run({ connect, received }, assert) {
      await connect().applyPolicy(policy, { ifRevision: 0 })
      await connect().deletePolicy('readers', { ifRevision: 3 })
      const sent = (await received()).map(({ headers }) => [headers['if-none-match'] ?? '', headers['if-match'] ?? ''])
      assert.equal(sent, [
        ['*', ''],
        ['', '"3"'],
      ])
    },
  },
  {
    title: 'parses a policy of text before it is sent',
    async run({ connect, received }, assert) {
      await connect().applyPolicy(yaml)
      const [{ url, body, headers }] = (await received()) as [Received]
      assert.equal([url, body, headers['content-type']], ['/admin/policies/readers', yaml, 'application/yaml'])
      const bad = await rejection(connect().applyPolicy(yaml.replace('allow', 'maybe')))
      isA(ValidationError, bad, assert)
      assert.equal((bad['issues'] as { line: number }[])[0]?.line, 3)
      const two = await rejection(connect().applyPolicy(`${yaml}---\n${yaml.replace('readers', 'writers')}`))
      assert.equal(two.message, 'The text holds 2 policies. Apply one at a time')
      assert.equal((await received()).length, 1)
    },
  },
  {
    title: 'asks for nothing by an id that is no segment of a path',
    async run({ connect, received }, assert) {
      for (const id of ['', '.', '..', '\ud800']) {
        isA(ValidationError, await rejection(connect().getAgent(id)), assert, JSON.stringify(id))
        isA(ValidationError, await rejection(connect().deletePolicy(id)), assert, JSON.stringify(id))
      }
      assert.equal(await received(), [])
    },
  },
  {
    title: 'keeps an id one segment, whatever is in it',
    async run({ connect, received }, assert) {
      await connect().getAgent('../audit?a=b#c%2f')
      assert.equal((await received())[0]?.url, '/admin/agents/..%2Faudit%3Fa%3Db%23c%252f')
    },
  },
  ...refusals.map(
    ([status, error]): Case => ({
      title: `rejects with the status ${status} and what the gateway said`,
      async run({ answer, connect }, assert) {
        await answer({ status, json: { error, message: 'What the gateway said', traceId: 'x' } })
        const thrown = await rejection(connect().getPolicy('readers'))
        isA(MeshGuardError, thrown, assert)
        assert.equal([thrown['status'], thrown['code'], thrown.message], [status, error, 'What the gateway said'])
      },
    }),
  ),
  {
    title: 'does not take what is no answer of a gateway for one',
    async run({ answer, connect }, assert) {
      await answer({ text: '<html>' })
      isA(UnavailableError, await rejection(connect().getAgent('a')), assert)
      await answer({ json: { agents: 'many' } })
      isA(UnavailableError, await rejection(connect().listAgents()), assert)
      await answer({ json: ['a'] })
      isA(UnavailableError, await rejection(connect().getAuditStats()), assert)
    },
  },
  {
    title: 'resolves for an answer without a body',
    async run({ answer, connect }, assert) {
      await answer({ status: 204, text: '' })
      assert.equal(await connect().revokeAgent('agent_1'), undefined)
    },
  },
]
