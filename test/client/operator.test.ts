import { AuthenticationError, MeshGuardClient, MeshGuardError, UnavailableError, ValidationError } from '@meshguard/client'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { type Received, rejection, type Scripted, startScripted } from './scripted.js'

let scripted: Scripted
let client: MeshGuardClient

beforeAll(async () => {
  scripted = await startScripted()
  client = new MeshGuardClient({ gatewayUrl: scripted.url, agentToken: 'agent-secret', adminToken: 'admin-secret' })
})
afterEach(() => {
  scripted.received.length = 0
})
afterAll(async () => {
  await client.close()
  await scripted.close()
})

const policy = { name: 'readers', rules: [{ effect: 'allow' as const, actions: ['read:*'] }] }
const yaml = 'name: readers\nrules:\n  - effect: allow\n    actions: ["read:*"]\n'

/** Every method of the administration: what it is called with, and what goes over the wire. */
const calls: [string, (operator: MeshGuardClient) => Promise<unknown>, string, unknown?][] = [
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
  ['getTrace', (o) => o.getTrace('trace-of-a-call'), 'GET /admin/audit/traces/trace-of-a-call'],
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
  ['streamAudit', async (o) => o.streamAudit({ decision: 'deny' }).next(), 'GET /admin/audit/stream?decision=deny'],
]
const everything = { agents: [], policies: [], entries: [], tokens: [], delegations: [] }

describe('the administration', () => {
  it.each(calls)('%s sends one request with the admin token and no other', async (_, call, line, body) => {
    const one = new MeshGuardClient({ gatewayUrl: scripted.url, agentToken: 'agent-secret', adminToken: 'admin-secret' })
    scripted.answer((res) => {
      res
        .writeHead(200, { 'content-type': 'text/event-stream' })
        .end(line.includes('stream') ? 'data: {}\n\n' : JSON.stringify(everything))
    })
    await call(one)
    await one.close()
    const [{ method, url, headers, body: sent }] = scripted.received as [Received]
    expect(`${method} ${url}`).toBe(line)
    expect(headers['x-admin-token']).toBe('admin-secret')
    expect(headers).not.toHaveProperty('authorization')
    expect(sent === '' ? undefined : JSON.parse(sent)).toEqual(body)
  })

  it.each(calls)('%s sends nothing without an admin token', async (_, call) => {
    const error = await rejection(call(new MeshGuardClient({ gatewayUrl: scripted.url, agentToken: 'agent-secret' })))
    expect(error).toBeInstanceOf(AuthenticationError)
    expect(error.message).toContain('MESHGUARD_ADMIN_TOKEN')
    expect(scripted.received).toEqual([])
  })

  it('is complete: every method is in this table', () => {
    const administration = Object.getPrototypeOf(MeshGuardClient.prototype)
    const methods = Object.getOwnPropertyNames(administration).filter((name) => name !== 'constructor')
    expect(calls.map(([name]) => name).sort()).toEqual(methods.sort())
  })

  it('follows pages up to the limit, and asks for no more than is left', async () => {
    const page = (ids: number[], nextCursor?: string) => ({ json: { entries: ids.map((id) => ({ id })), nextCursor } })
    const ids = Array.from({ length: 1000 }, (_, i) => i)
    scripted.answer(page(ids, 'c1'), page([1000, 1001], 'c2'))
    expect(await client.getAuditLog({ limit: 1002 })).toHaveLength(1002)
    expect(scripted.received.map(({ url }) => url)).toEqual(['/admin/audit?limit=1000', '/admin/audit?limit=2&cursor=c1'])
    scripted.answer({ json: { agents: [{ id: 'a' }], nextCursor: 'x' } }, { json: { agents: [{ id: 'b' }] } })
    expect(await client.listAgents()).toEqual([{ id: 'a' }, { id: 'b' }])
  })

  it('sends a revision as If-Match, and 0 as If-None-Match', async () => {
    await client.applyPolicy(policy, { ifRevision: 0 })
    await client.deletePolicy('readers', { ifRevision: 3 })
    expect(scripted.received.map(({ headers }) => [headers['if-none-match'], headers['if-match']])).toEqual([
      ['*', undefined],
      [undefined, '"3"'],
    ])
  })

  it('parses a policy of text before it is sent', async () => {
    await client.applyPolicy(yaml)
    expect(scripted.received).toMatchObject([
      { url: '/admin/policies/readers', body: yaml, headers: { 'content-type': 'application/yaml' } },
    ])
    const bad = await rejection(client.applyPolicy('name: readers\nrules:\n  - effect: maybe\n    actions: ["read:*"]\n'))
    expect(bad).toBeInstanceOf(ValidationError)
    expect(bad['issues']).toMatchObject([{ line: 3 }])
    expect(await rejection(client.applyPolicy(`${yaml}---\n${yaml.replace('readers', 'writers')}`))).toMatchObject({
      message: 'The text holds 2 policies. Apply one at a time',
    })
    expect(scripted.received).toHaveLength(1)
  })

  it.each(['', '.', '..', '\ud800'])('asks for nothing by the id %j', async (id) => {
    expect(await rejection(client.getAgent(id))).toBeInstanceOf(ValidationError)
    expect(await rejection(client.deletePolicy(id))).toBeInstanceOf(ValidationError)
    expect(scripted.received).toEqual([])
  })

  it('keeps an id one segment, whatever is in it', async () => {
    await client.getAgent('../audit?a=b#c%2f')
    expect(scripted.received[0]?.url).toBe('/admin/agents/..%2Faudit%3Fa%3Db%23c%252f')
  })

  it.each([
    [404, 'not_found'],
    [409, 'conflict'],
    [412, 'precondition_failed'],
    [413, 'too_large'],
    [415, 'unsupported_media_type'],
    [403, 'forbidden'],
  ])('rejects with the status %i and what the gateway said', async (status, error) => {
    scripted.answer({ status, json: { error, message: 'What the gateway said', traceId: 'x' } })
    const thrown = await rejection(client.getPolicy('readers'))
    expect(thrown).toBeInstanceOf(MeshGuardError)
    expect(thrown).toMatchObject({ status, code: error, message: 'What the gateway said' })
  })

  it('does not take what is no answer of a gateway for one', async () => {
    scripted.answer({ text: '<html>' })
    expect(await rejection(client.getAgent('a'))).toBeInstanceOf(UnavailableError)
    scripted.answer({ json: { agents: 'many' } })
    expect(await rejection(client.listAgents())).toBeInstanceOf(UnavailableError)
    scripted.answer({ json: ['a'] })
    expect(await rejection(client.getAuditStats())).toBeInstanceOf(UnavailableError)
  })

  it('resolves for an answer without a body', async () => {
    scripted.answer((res) => res.writeHead(204).end())
    expect(await client.revokeAgent('agent_1')).toBeUndefined()
  })
})
