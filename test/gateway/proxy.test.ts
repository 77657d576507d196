import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { startGateway, type World, type WorldAgent } from './gateway-world.js'
import { type Received, startUpstream, type Upstream } from './upstream.js'

const POLICIES = [
  {
    name: 'records',
    rules: [
      { name: 'no-exports', effect: 'deny', actions: ['read:contacts/export'] },
      { effect: 'allow', actions: ['read:contacts', 'write:records', 'read:/', 'use:*'] },
      { effect: 'allow', actions: ['send:email'], conditions: { 'context.amount': { lte: 10 } } },
      { effect: 'allow', actions: ['read:limited'], rateLimit: { requests: 2, per: '1h' } },
      {
        effect: 'allow',
        actions: ['read:office'],
        conditions: { 'request.method': 'GET', 'request.route': '/office/:id', 'request.ip': '127.0.0.1' },
      },
    ],
  },
]

let upstream: Upstream
let canary: Upstream
let world: World
let agent: WorldAgent

beforeAll(async () => {
  ;[upstream, canary] = await Promise.all([startUpstream(), startUpstream()])
  world = await startGateway({ policies: POLICIES, proxy: { target: `${upstream.origin}/base/`, maxBody: 1000 } })
  agent = await world.createAgent({ id: 'agent-1' })
})
afterAll(async () => {
  expect(canary.connections()).toBe(0)
  await world.close()
  await Promise.all([upstream.close(), canary.close()])
})
beforeEach(() => {
  upstream.received.length = 0
  upstream.answer(undefined)
})

const headersOf = (headers: Record<string, string> = {}) => ({ authorization: `Bearer ${agent.token}`, ...headers })
const get = (path: string, headers: Record<string, string> = {}) => world.fetch(path, { headers: headersOf(headers) })
const newest = async () => (await (await world.admin('GET', '/admin/audit?limit=1')).json()).entries[0]

describe('A request that is allowed', () => {
  test('is forwarded byte for byte, with what the gateway says of it', async () => {
    const answer = await get('/proxy/api/contacts/42/?q=%2e%2e/a&q=b+c&=?', {
      accept: 'a/b',
      'x-meshguard-trace-id': 'trace-12345678',
    })
    expect(answer.status).toBe(200)
    const [{ method, url, headers }] = upstream.received as [Received]
    expect([method, url]).toEqual(['GET', '/base/api/contacts/42/?q=%2e%2e/a&q=b+c&=?'])
    expect(headers).toMatchObject({
      host: new URL(upstream.origin).host,
      accept: 'a/b',
      'x-meshguard-agent-id': 'agent-1',
      'x-meshguard-action': 'read:contacts',
      'x-meshguard-resource': 'contacts/42',
      'x-meshguard-trace-id': 'trace-12345678',
      'x-meshguard-decision': 'allow',
      'x-forwarded-for': '127.0.0.1',
      via: '1.1 meshguard',
    })
    expect(headers['traceparent']).toMatch(/^00-[0-9a-f]{32}-[0-9a-f]{16}-01$/)
    expect(headers['authorization']).toBeUndefined()
  })

  test('is answered with what the upstream says, and who says it', async () => {
    upstream.answer((_, outgoing) => {
      outgoing.writeHead(418, [
        ...[
          'Content-Type',
          'text/x',
          'Set-Cookie',
          'a=1',
          'Set-Cookie',
          'b=2',
          'X-MeshGuard-Decision',
          'deny',
          'X_MeshGuard_Origin',
          'gateway',
        ],
        ...[
          'Connection',
          'keep-alive, X-Hop',
          'X-Hop',
          '1',
          'X-Latin',
          'é',
          'Date',
          'Thu, 01 Jan 1970 00:00:00 GMT',
          'WWW-Authenticate',
          'Basic',
        ],
      ])
      outgoing.end('tea')
    })
    const answer = await get('/proxy/contacts', { 'x-meshguard-trace-id': 'trace-12345678' })
    expect([answer.status, await answer.text()]).toEqual([418, 'tea'])
    expect(answer.headers.getSetCookie()).toEqual(['a=1', 'b=2'])
    const headers = Object.fromEntries(answer.headers)
    expect(headers).toMatchObject({
      'content-type': 'text/x',
      'x-latin': 'é',
      date: 'Thu, 01 Jan 1970 00:00:00 GMT',
      'www-authenticate': 'Basic',
      'x-meshguard-origin': 'upstream',
      'x-meshguard-decision': 'allow',
      'x-meshguard-agent-id': 'agent-1',
      'x-meshguard-policy': 'records',
      'x-meshguard-trace-id': 'trace-12345678',
    })
    for (const name of ['x-hop', 'x_meshguard_origin', 'cache-control']) expect(headers[name]).toBeUndefined()
  })

  test("is recorded with its path, its pattern and the agent's address", async () => {
    await get('/proxy/api/contacts/42?secret=1')
    expect(await newest()).toMatchObject({
      agentId: 'agent-1',
      action: 'read:contacts',
      resource: 'contacts/42',
      decision: 'allow',
      request: { method: 'GET', path: '/proxy/api/contacts/42', route: '/api/contacts/:id', ip: '127.0.0.1' },
    })
    expect((await newest()).claimed).toBeUndefined()
  })

  test('carries its body', async () => {
    const answer = await world.fetch('/proxy/api/records/123', {
      method: 'PUT',
      headers: headersOf({ 'content-type': 'x/y' }),
      body: 'a body',
    })
    expect(await answer.json()).toEqual({ method: 'PUT', url: '/base/api/records/123', body: 'a body' })
    expect(upstream.received[0]?.headers).toMatchObject({ 'content-length': '6', 'content-type': 'x/y' })
    expect(upstream.received[0]?.headers['transfer-encoding']).toBeUndefined()
  })

  test('satisfies conditions on the request', async () => {
    expect((await get('/proxy/office/1')).status).toBe(200)
    expect((await world.fetch('/proxy/office/1', { method: 'HEAD', headers: headersOf() })).status).toBe(200)
    expect((await get('/proxy/office/1/2')).status).toBe(403)
  })

  test('is not redirected', async () => {
    upstream.answer((_, outgoing) => outgoing.writeHead(302, { location: `${canary.origin}/x` }).end())
    const answer = await get('/proxy/contacts')
    expect([answer.status, answer.headers.get('location')]).toEqual([302, `${canary.origin}/x`])
    expect(canary.connections()).toBe(0)
  })

  test.each([401, 403, 429, 500, 503])("tells an upstream's own %s from one of the gateway", async (status) => {
    upstream.answer((_, outgoing) => outgoing.writeHead(status).end('theirs'))
    const answer = await get('/proxy/contacts')
    expect([answer.status, answer.headers.get('x-meshguard-origin'), await answer.text()]).toEqual([
      status,
      'upstream',
      'theirs',
    ])
  })
})

describe('A request that is not allowed', () => {
  const refused = async (answer: Response, status: number) => {
    expect(answer.status).toBe(status)
    expect(answer.headers.get('x-meshguard-origin')).toBe('gateway')
    expect(answer.headers.get('cache-control')).toBe('no-store')
    expect(upstream.received).toEqual([])
    return answer.json()
  }

  test('is answered 403 with what was derived', async () => {
    expect(await refused(await get('/proxy/contacts/%65xport'), 403)).toMatchObject({
      action: 'read:contacts/export',
      rule: 'no-exports',
      resource: 'contacts/export',
    })
    expect(
      await refused(await world.fetch('/proxy/contacts/1', { method: 'DELETE', headers: headersOf() }), 403),
    ).toMatchObject({ action: 'delete:contacts', code: 'no_match' })
  })

  test('is answered 403 where nothing can be derived', async () => {
    for (const method of ['OPTIONS', 'PROPFIND', 'LOCK']) {
      expect(await refused(await world.fetch('/proxy/contacts', { method, headers: headersOf() }), 403)).toMatchObject({
        code: 'unmapped',
      })
    }
    expect(await newest()).toMatchObject({
      code: 'unmapped',
      decision: 'deny',
      request: { method: 'LOCK', path: '/proxy/contacts' },
    })
  })

  test('is answered 401 without a good token, and says no more', async () => {
    expect(await refused(await world.fetch('/proxy/contacts'), 401)).toEqual({
      error: 'unauthorized',
      message: 'Invalid or expired token',
      traceId: expect.any(String),
    })
    await refused(await get('/proxy//x', { authorization: 'Bearer bad' }), 401)
  })

  test('is answered 401 from the moment that its agent is revoked', async () => {
    const leaving = await world.createAgent({ id: 'agent-leaving' })
    const asked = { headers: { authorization: `Bearer ${leaving.token}` } }
    expect((await world.fetch('/proxy/contacts', asked)).status).toBe(200)
    expect((await world.admin('DELETE', `/admin/agents/${leaving.id}`)).status).toBe(200)
    upstream.received.length = 0
    await refused(await world.fetch('/proxy/contacts', asked), 401)
  })

  test('is answered 400 where its path is not canonical, which is recorded', async () => {
    expect(await refused(await get('/proxy/contacts%2Fexport'), 400)).toMatchObject({ error: 'bad_request' })
    expect(await newest()).toMatchObject({
      code: 'invalid_action',
      agentId: 'agent-1',
      request: { path: '/proxy/contacts%2Fexport' },
    })
    await refused(await get('/proxy//contacts'), 400)
    await refused(await get(`/proxy/contacts/${'1'.repeat(300)}`), 400)
  })

  test('is answered 429 beyond a rate limit', async () => {
    for (let i = 0; i < 2; i++)
      expect((await get('/proxy/limited', { 'x-meshguard-action': 'read:contacts' })).status).toBe(200)
    upstream.received.length = 0
    const answer = await get('/proxy/limited')
    expect(answer.headers.get('retry-after')).toMatch(/^\d+$/)
    expect(await refused(answer, 429)).toMatchObject({ code: 'rate_limited' })
  })

  test('is answered 413 where its length says that it is too long, without an allow', async () => {
    const answer = await world.fetch('/proxy/records/1', { method: 'PUT', headers: headersOf(), body: 'x'.repeat(1001) })
    expect(await refused(answer, 413)).toMatchObject({ error: 'too_large' })
    expect((await newest()).request?.path).not.toBe('/proxy/records/1')
  })
})

describe('What an agent declares', () => {
  const declare = (path: string, headers: Record<string, string>) => get(path, headers)

  test('narrows: the request must be allowed as derived and as declared, and the entry keeps both', async () => {
    const headers = { 'x-meshguard-action': 'use:contacts', 'x-meshguard-resource': 'contacts/mine' }
    expect((await declare('/proxy/contacts/1', headers)).status).toBe(200)
    expect(await newest()).toMatchObject({
      action: 'read:contacts',
      resource: 'contacts/1',
      declared: { action: 'use:contacts', resource: 'contacts/mine' },
    })
    expect(upstream.received[0]?.headers).toMatchObject({
      'x-meshguard-action': 'read:contacts',
      'x-meshguard-resource': 'contacts/1',
    })
  })

  test('is named by the 403 if that was refused', async () => {
    const answer = await declare('/proxy/contacts/1', { 'x-meshguard-action': 'delete:database' })
    expect(answer.status).toBe(403)
    expect(await answer.json()).toMatchObject({ action: 'delete:database' })
    expect(await newest()).toMatchObject({ action: 'read:contacts', decision: 'deny', declared: { action: 'delete:database' } })
    expect(upstream.received).toEqual([])
  })

  test('never widens', async () => {
    for (const headers of [
      { 'x-meshguard-action': 'read:contacts' },
      { 'x-meshguard-action': 'read:contacts', 'x-meshguard-resource': 'contacts/1' },
    ]) {
      const answer = await declare('/proxy/contacts/export', headers)
      expect([answer.status, (await answer.json()).action]).toEqual([403, 'read:contacts/export'])
    }
    const answer = await declare('/proxy/contacts/1', {
      'x-meshguard-action': 'send:email',
      'x-meshguard-context': '{"amount":11}',
    })
    expect([answer.status, (await answer.json()).action]).toEqual([403, 'send:email'])
    expect(upstream.received).toEqual([])
    expect(
      (await declare('/proxy/contacts/1', { 'x-meshguard-action': 'send:email', 'x-meshguard-context': '{"amount":10}' }))
        .status,
    ).toBe(200)
  })

  test.each([
    { 'x-meshguard-action': 'read:*' },
    { 'x-meshguard-action': '' },
    { 'x-meshguard-context': '{' },
    { 'x-meshguard-context': '{"__proto__":{}}' },
    { 'x-meshguard-resource': 'x'.repeat(2049) },
  ])('is 400 where it is malformed: %o', async (headers) => {
    const answer = await declare('/proxy/contacts/1', headers as unknown as Record<string, string>)
    expect([answer.status, answer.headers.get('x-meshguard-origin')]).toEqual([400, 'gateway'])
    expect(upstream.received).toEqual([])
  })
})
