import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { startGateway, type World, type WorldAgent } from './gateway-world.js'

const POLICIES = [
  {
    name: 'contacts',
    rules: [
      { name: 'no-admin', effect: 'deny', actions: ['*:admin'] },
      { effect: 'allow', actions: ['read:*'] },
      { effect: 'allow', actions: ['send:sms'], rateLimit: { requests: 2, per: '1h' } },
      { effect: 'allow', actions: ['call:route'], conditions: { 'request.route': '/calls/:id', 'request.ip': '10.0.0.1' } },
    ],
  },
]

let world: World
let agent: WorldAgent
beforeAll(async () => {
  world = await startGateway({ policies: POLICIES })
  agent = await world.createAgent({ id: 'agent-1' })
})
afterAll(() => world.close())

const bearer = (token: string) => ({ authorization: `Bearer ${token}` })

describe('POST /v1/checks', () => {
  let service: string
  beforeAll(async () => {
    service = await world.createService('decide')
  })
  const post = (body: string, token = service, headers: Record<string, string> = {}) =>
    world.fetch('/v1/checks', {
      method: 'POST',
      headers: { ...bearer(token), 'content-type': 'application/json', ...headers },
      body,
    })
  const ask = async (...checks: object[]) => {
    const answer = await post(JSON.stringify({ checks }))
    expect([answer.status, answer.headers.get('cache-control')]).toEqual([200, 'no-store'])
    return (await answer.json()).decisions as Record<string, unknown>[]
  }

  test('answers every check with the status and body that it would have alone, in order', async () => {
    const { token } = agent
    const decisions = await ask(
      { token, action: 'read:contacts', resource: 'contacts/1', traceId: 'trace-of-the-first' },
      { agentId: 'agent-1', action: 'read:admin' },
      { token: 'bad', action: 'read:contacts' },
      { agentId: 'nobody', action: 'read:contacts' },
      { action: 'read:contacts' },
      { token, action: 'read' },
      { token, agentId: 'agent-2', action: 'read:contacts' },
      { token, agentId: 'agent-1', action: 'read:contacts' },
    )
    expect(decisions.map(({ status }) => status)).toEqual([200, 403, 401, 401, 401, 400, 401, 200])
    expect(decisions[0]).toEqual({
      status: 200,
      agentId: 'agent-1',
      allowed: true,
      decision: 'allow',
      action: 'read:contacts',
      resource: 'contacts/1',
      policy: 'contacts',
      rule: 'allow read:*',
      traceId: 'trace-of-the-first',
      code: 'allowed',
      policyVersion: expect.any(String),
    })
    expect(decisions[1]).toMatchObject({
      agentId: 'agent-1',
      error: 'Forbidden',
      code: 'denied',
      policy: 'contacts',
      rule: 'no-admin',
    })
    expect(decisions[2]).toEqual({
      status: 401,
      error: 'unauthorized',
      message: 'Invalid or expired token',
      traceId: expect.any(String),
    })
  })

  test('answers what is wrong with one check there, and decides the others', async () => {
    const { token } = agent
    const good = { token, action: 'read:contacts' }
    const bad: object[] = [
      { token, action: 7 },
      { token, action: 'read:x', resourse: 'x' },
      { token, action: 'read:x', context: [1] },
      { token, action: 'read:x', context: JSON.parse('{"a":{"__proto__":1}}') },
      { token, action: 'read:x', context: JSON.parse(`${'{"a":'.repeat(8)}{}${'}'.repeat(8)}`) },
      { token, action: 'read:x', request: { method: 'GET' } },
      { token, action: 'read:x', resource: 'x'.repeat(2049) },
    ]
    const decisions = await ask(good, ...bad, good)
    expect(decisions.map(({ status }) => status)).toEqual([200, ...bad.map(() => 400), 200])
    const refused = decisions.slice(1, -1) as unknown as { error: string; issues: { path: string; message: string }[] }[]
    expect(new Set(refused.map(({ error }) => error))).toEqual(new Set(['bad_request']))
    expect(refused.map(({ issues }) => issues.map(({ path }) => path))).toEqual([
      ['action'],
      ['resourse'],
      ['context'],
      ['a.__proto__'],
      ['a.a.a.a.a.a.a.a'],
      ['request.route'],
      ['resource'],
    ])
    expect(refused[1]?.issues[0]?.message).toBe('Unknown key "resourse". Did you mean "resource"?')
  })

  test("verifies a check's own token before its context is looked at", async () => {
    const [decision] = await ask({ token: 'bad', action: 'read:x', context: JSON.parse('{"__proto__":1}') })
    expect(decision).toMatchObject({ status: 401 })
  })

  test('consumes rate-limit units in the order of the array', async () => {
    const limited = await world.createAgent({ id: 'limited' })
    const decisions = await ask(...Array.from({ length: 4 }, () => ({ token: limited.token, action: 'send:sms' })))
    expect(decisions.map(({ status }) => status)).toEqual([200, 200, 429, 429])
    expect(decisions[2]).toMatchObject({ code: 'rate_limited', retry_after: expect.any(Number), limit: '2 requests per hour' })
  })

  test('hands the request that the service was asked to conditions', async () => {
    const request = { method: 'POST', route: '/calls/:id', ip: '10.0.0.1' }
    const decisions = await ask(
      { agentId: 'agent-1', action: 'call:route', request },
      { agentId: 'agent-1', action: 'call:route', request: { ...request, ip: '10.0.0.2' } },
      { agentId: 'agent-1', action: 'call:route' },
    )
    expect(decisions.map(({ status }) => status)).toEqual([200, 403, 403])
  })

  test('decides all checks on one policy version, though it changes meanwhile', async () => {
    const rules = (effect: string) => ({ name: 'switch', rules: [{ effect, actions: ['flip:switch'] }] })
    const versions = new Set<string>()
    for (let round = 0; round < 10; round++) {
      const checks = Array.from({ length: 64 }, () => ({ token: agent.token, action: 'flip:switch' }))
      const [decisions] = await Promise.all([
        ask(...checks),
        world.admin('PUT', '/admin/policies/switch', rules(round % 2 === 0 ? 'allow' : 'deny')),
      ])
      expect(new Set(decisions.map(({ status, policyVersion }) => `${status} ${policyVersion}`)).size).toBe(1)
      versions.add(String(decisions[0]?.['status']))
    }
    expect((await world.admin('DELETE', '/admin/policies/switch')).status).toBe(204)
    expect([...versions].sort()).toEqual(['200', '403'])
  })

  test('records every check on its own, with the service that asked, and no token', async () => {
    await ask(
      { token: agent.token, action: 'read:one', traceId: 'trace-batch-1' },
      { token: 'eyJhbGciOiJub25lIn0.eyJzdWIiOiJ4In0.', action: 'read:two', traceId: 'trace-batch-2' },
    )
    const text = await (await world.admin('GET', '/admin/audit?limit=2')).text()
    const { entries } = JSON.parse(text)
    expect(entries.map((entry: Record<string, unknown>) => [entry['traceId'], entry['action'], entry['decision']])).toEqual([
      ['trace-batch-2', 'read:two', 'deny'],
      ['trace-batch-1', 'read:one', 'allow'],
    ])
    expect(entries[1]).toMatchObject({ service: { name: 'test' }, agentId: 'agent-1' })
    expect(entries[1].claimed).toBeUndefined()
    expect(text).not.toContain('eyJ')
  })

  test.each([
    ['no JSON', '{'],
    ['a list', '[]'],
    ['no checks', '{}'],
    ['an empty list', '{"checks":[]}'],
    ['65 checks', JSON.stringify({ checks: Array(65).fill({}) })],
    ['checks that are no objects', '{"checks":[1]}'],
    ['null', '{"checks":[null]}'],
    ['more than checks', '{"checks":[{}],"more":1}'],
  ])('answers 400 to %s', async (_, body) => {
    const answer = await post(body)
    expect([answer.status, (await answer.json()).error]).toEqual([400, 'bad_request'])
  })

  test('answers 413 beyond 1 MiB and 415 to another type', async () => {
    expect((await post(JSON.stringify({ checks: [{ action: 'x'.repeat(1024 * 1024) }] }))).status).toBe(413)
    expect((await post('{}', service, { 'content-type': 'text/plain' })).status).toBe(415)
  })

  test('is for services with the scope decide alone', async () => {
    const body = JSON.stringify({ checks: [{ token: agent.token, action: 'read:x' }] })
    expect((await world.fetch('/v1/checks', { method: 'POST', body })).status).toBe(401)
    expect((await post(body, agent.token)).status).toBe(401)
    expect((await post(body, 'msvc_unknown')).status).toBe(401)
    const other = await post(body, await world.createService('audit:write', 'bundle'))
    expect(other.status).toBe(403)
    expect(await other.json()).toMatchObject({ error: 'Forbidden', message: expect.stringContaining('decide') })
  })
})
