import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { startGateway, type World, type WorldAgent } from './gateway-world.js'

const POLICIES = [
  {
    name: 'contacts',
    rules: [
      { name: 'no-secrets', effect: 'deny', actions: ['*:secrets'], reason: 'Secrets are for people' },
      { name: 'no-admin', effect: 'deny', actions: ['*:admin'] },
      { effect: 'allow', actions: ['read:*'] },
      {
        effect: 'allow',
        actions: ['write:email'],
        conditions: { 'context.amount': { lte: 100 }, resource: { matches: '*@example.com' } },
      },
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

/** What an existing client sends: the action, and what else there is, in headers. */
function check(action: string | undefined, headers: Record<string, string> = {}, path = '/proxy/check'): Promise<Response> {
  return world.fetch(path, {
    headers: { ...bearer(agent.token), ...(action !== undefined && { 'x-meshguard-action': action }), ...headers },
  })
}

const newest = async () => (await (await world.admin('GET', '/admin/audit?limit=1')).json()).entries[0]

describe('GET /proxy/check', () => {
  test('answers an allow with its body and headers', async () => {
    const answer = await check('read:contacts', {
      'x-meshguard-resource': 'contacts/42',
      'x-meshguard-trace-id': 'trace-12345678',
    })
    expect(answer.status).toBe(200)
    expect(await answer.json()).toEqual({
      allowed: true,
      decision: 'allow',
      code: 'allowed',
      action: 'read:contacts',
      resource: 'contacts/42',
      policy: 'contacts',
      rule: 'allow read:*',
      traceId: 'trace-12345678',
    })
    expect(Object.fromEntries(answer.headers)).toMatchObject({
      'content-type': 'application/json; charset=utf-8',
      'cache-control': 'no-store',
      'x-meshguard-decision': 'allow',
      'x-meshguard-agent-id': 'agent-1',
      'x-meshguard-policy': 'contacts',
      'x-meshguard-trace-id': 'trace-12345678',
    })
    expect(answer.headers.get('x-meshguard-audit')).toBeNull()
  })

  test('answers a denial with the policy, the rule and the code', async () => {
    const answer = await check('read:admin', { 'x-meshguard-resource': 'admin/1', 'x-meshguard-trace-id': 'trace-12345678' })
    expect(answer.status).toBe(403)
    expect(await answer.json()).toEqual({
      error: 'Forbidden',
      message: expect.stringContaining('Denied by rule'),
      action: 'read:admin',
      code: 'denied',
      policy: 'contacts',
      rule: 'no-admin',
      resource: 'admin/1',
      traceId: 'trace-12345678',
    })
    expect(Object.fromEntries(answer.headers)).toMatchObject({
      'cache-control': 'no-store',
      'x-meshguard-decision': 'deny',
      'x-meshguard-agent-id': 'agent-1',
      'x-meshguard-policy': 'contacts',
    })
  })

  test("tells a denied agent the author's own words", async () => {
    expect(await (await check('read:secrets')).json()).toMatchObject({ message: 'Secrets are for people', rule: 'no-secrets' })
  })

  test('answers 401 and names the error only where a token was sent', async () => {
    const none = await world.fetch('/proxy/check', { headers: { 'x-meshguard-action': 'read:x' } })
    expect([none.status, none.headers.get('www-authenticate')]).toEqual([401, 'Bearer realm="meshguard"'])
    expect(await none.json()).toEqual({
      error: 'unauthorized',
      message: 'Invalid or expired token',
      traceId: none.headers.get('x-meshguard-trace-id'),
    })
    const bad = await check('read:x', bearer('not.a.token'))
    expect([bad.status, bad.headers.get('www-authenticate')]).toEqual([401, 'Bearer realm="meshguard", error="invalid_token"'])
    expect(bad.headers.get('x-meshguard-decision')).toBeNull()
    expect((await check('read:x', { authorization: `Basic ${agent.token}` })).status).toBe(401)
  })

  test('answers 401 to a bad token whatever else is wrong', async () => {
    for (const headers of [{}, { 'x-meshguard-context': '{' }]) {
      expect((await check(undefined, { ...bearer('bad'), ...headers })).status).toBe(401)
    }
  })

  test('answers 429 with the limit, and counts only what was allowed', async () => {
    expect((await check('send:sms')).status).toBe(200)
    expect((await check('send:sms')).status).toBe(200)
    const third = await check('send:sms')
    expect(third.status).toBe(429)
    expect(await third.json()).toMatchObject({
      error: 'rate_limited',
      code: 'rate_limited',
      message: 'Rate limit exceeded',
      limit: '2 requests per hour',
      retry_after: expect.any(Number),
    })
    expect(third.headers.get('retry-after')).toMatch(/^\d+$/)
    expect(third.headers.get('ratelimit-policy')).toBe('"default";q=2;w=3600')
    expect(third.headers.get('x-meshguard-decision')).toBe('deny')
  })

  test('answers 400 without an action, and names the header', async () => {
    const answer = await check(undefined)
    expect(answer.status).toBe(400)
    expect(await answer.json()).toMatchObject({
      error: 'bad_request',
      message: 'X-MeshGuard-Action is required',
      issues: [{ path: 'X-MeshGuard-Action', message: 'is required' }],
    })
  })

  test.each(['read', 'read:', ':x', 'read:*', '*', 'read: x', `read:${'x'.repeat(256)}`])(
    'answers 400 to the action %j',
    async (action) => {
      const answer = await check(action)
      expect([answer.status, (await answer.json()).error]).toEqual([400, 'bad_request'])
    },
  )

  const deep = (levels: number): string => (levels === 0 ? '1' : `{"a":${deep(levels - 1)}}`)

  test.each([
    ['no JSON', '{'],
    ['no object', '[1]'],
    ['null', 'null'],
    ['nested more than 8 deep', deep(9)],
    ['longer than 4 KiB', JSON.stringify({ a: 'x'.repeat(4100) })],
    ['with a key __proto__', '{"a":{"__proto__":{"amount":1}}}'],
    ['with a key constructor', '{"constructor":1}'],
  ])('answers 400 to a context that is %s', async (_, context) => {
    const answer = await check('read:contacts', { 'x-meshguard-context': context })
    const body = await answer.json()
    expect([answer.status, body.error]).toEqual([400, 'bad_request'])
    expect(body.message).toContain('X-MeshGuard-Context')
  })

  test('reads context and resource, in UTF-8 as in Latin-1', async () => {
    expect((await check('read:contacts', { 'x-meshguard-context': deep(8) })).status).toBe(200)
    const allowed = { 'x-meshguard-resource': 'a@example.com', 'x-meshguard-context': '{"amount":100}' }
    expect((await check('write:email', allowed)).status).toBe(200)
    expect((await check('write:email', { ...allowed, 'x-meshguard-context': '{"amount":101}' })).status).toBe(403)
    expect((await check('write:email', { ...allowed, 'x-meshguard-context': '{"amount":"1"}' })).status).toBe(403)
    expect((await check('write:email', { ...allowed, 'x-meshguard-resource': 'a@example.org' })).status).toBe(403)
    for (const encoding of ['utf8', 'latin1'] as const) {
      const answer = await check('read:contacts', {
        'x-meshguard-resource': Buffer.from('contacts/é', encoding).toString('latin1'),
      })
      expect((await answer.json()).resource).toBe('contacts/é')
    }
  })

  test('is recorded as what the agent claims', async () => {
    await check('read:contacts', { 'x-meshguard-resource': 'contacts/7', 'x-meshguard-trace-id': 'trace-claimed-1' })
    expect(await newest()).toMatchObject({
      traceId: 'trace-claimed-1',
      agentId: 'agent-1',
      agentName: 'agent-1',
      trustTier: 'verified',
      action: 'read:contacts',
      resource: 'contacts/7',
      decision: 'allow',
      code: 'allowed',
      policy: 'contacts',
      claimed: true,
      request: { method: 'GET', route: '/proxy/check', ip: '127.0.0.1' },
    })
  })

  test('records a denial without an agent where the token is not good', async () => {
    await check('read:contacts', { ...bearer('bad'), 'x-meshguard-trace-id': 'trace-nobody-1' })
    const entry = await newest()
    expect(entry).toMatchObject({ traceId: 'trace-nobody-1', decision: 'deny', code: 'unauthenticated' })
    expect(entry.agentId).toBeUndefined()
  })

  test('satisfies no condition on the request: it is not the one that the policy speaks of', async () => {
    expect((await check('call:route')).status).toBe(403)
  })

  test('answers HEAD as GET, without the body', async () => {
    const answer = await world.fetch('/proxy/check', {
      method: 'HEAD',
      headers: { ...bearer(agent.token), 'x-meshguard-action': 'read:x' },
    })
    expect([answer.status, answer.headers.get('x-meshguard-decision'), await answer.text()]).toEqual([200, 'allow', ''])
  })

  test('answers problem details where Accept prefers them', async () => {
    const answer = await check('read:admin', { accept: 'application/problem+json' })
    expect(answer.headers.get('content-type')).toBe('application/problem+json')
    expect(await answer.json()).toMatchObject({ type: 'about:blank', title: 'Forbidden', status: 403, error: 'Forbidden' })
  })

  test('answers 503 and allows nothing where the record cannot be written', async () => {
    const broken = await startGateway({ policies: POLICIES })
    try {
      const { token } = await broken.createAgent()
      const asked = { headers: { ...bearer(token), 'x-meshguard-action': 'read:x' } }
      expect((await broken.fetch('/proxy/check', asked)).status).toBe(200)
      await broken.services.store.close()
      const answer = await broken.fetch('/proxy/check', asked)
      expect([answer.status, answer.headers.get('x-meshguard-decision')]).toEqual([503, null])
      expect(await answer.json()).toMatchObject({ error: 'unavailable' })
      expect(answer.headers.get('retry-after')).toMatch(/^\d+$/)
    } finally {
      await broken.close().catch((error: Error) => expect(error.message).toMatch(/database|closed|not open/i))
    }
  })
})

describe('In audit mode', () => {
  test('a denial is let through, and said to be one', async () => {
    const audited = await startGateway({ policies: POLICIES, mode: 'audit' })
    try {
      const { token } = await audited.createAgent()
      const answer = await audited.fetch('/proxy/check', { headers: { ...bearer(token), 'x-meshguard-action': 'read:admin' } })
      expect(answer.status).toBe(200)
      expect([answer.headers.get('x-meshguard-decision'), answer.headers.get('x-meshguard-audit')]).toEqual(['allow', 'deny'])
      expect(await answer.json()).toMatchObject({
        ...{ allowed: true, decision: 'allow', code: 'denied' },
        ...{ policy: 'contacts', rule: 'no-admin' },
      })
      expect((await audited.fetch('/proxy/check', { headers: { 'x-meshguard-action': 'read:x' } })).status).toBe(401)
      expect((await audited.fetch('/proxy/check', { headers: { ...bearer(token), 'x-meshguard-action': 'x' } })).status).toBe(
        400,
      )
    } finally {
      await audited.close()
    }
  })
})
