import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { withGateway } from './gateway-world.js'
import { startUpstream, type Upstream } from './upstream.js'

const POLICIES = [
  {
    name: 'records',
    rules: [
      { effect: 'deny', actions: ['read:contacts/export'] },
      { effect: 'allow', actions: ['read:contacts', 'write:records'] },
    ],
  },
]

let upstream: Upstream
beforeAll(async () => {
  upstream = await startUpstream()
})
afterAll(() => upstream.close())
beforeEach(() => {
  upstream.received.length = 0
  upstream.answer(undefined)
})

const withProxy = (...[options, run]: Parameters<typeof withGateway>) => withGateway({ policies: POLICIES, ...options }, run)

describe('The configuration of a proxy', () => {
  test('without a target answers 404 that says so', async () => {
    await withProxy({}, async (own, headers) => {
      const answer = await own.fetch('/proxy/contacts', { headers })
      expect([answer.status, answer.headers.get('x-meshguard-origin')]).toEqual([404, 'gateway'])
      expect((await answer.json()).message).toContain('PROXY_TARGET')
      expect((await own.fetch('/proxy/check', { headers: { ...headers, 'x-meshguard-action': 'read:contacts' } })).status).toBe(
        200,
      )
    })
  })

  test('with routes forwards what they name alone', async () => {
    const routes = {
      'GET /api/people/:id': 'read:contacts',
      'POST /api/people': 'write:records',
      'GET /api/people/export': 'read:contacts/export',
    }
    await withProxy({ proxy: { target: upstream.origin, routes } }, async (own, headers) => {
      const person = await own.fetch('/proxy/api/people/a%20b', { headers })
      expect([person.status, (await person.json()).url]).toEqual([200, '/api/people/a%20b'])
      expect(upstream.received[0]?.headers).toMatchObject({
        'x-meshguard-action': 'read:contacts',
        'x-meshguard-resource': 'people/a%20b',
      })
      expect((await own.fetch('/proxy/api/people', { method: 'POST', headers, body: 'x' })).status).toBe(200)
      expect((await own.fetch('/proxy/api/people/export', { headers })).status).toBe(403)
      const other = await own.fetch('/proxy/contacts', { headers })
      expect([other.status, (await other.json()).code]).toEqual([403, 'unmapped'])
      expect(upstream.received).toHaveLength(2)
    })
  })

  test("sends the upstream's own credential, and the agent's only where that is asked for", async () => {
    const proxy = { target: upstream.origin, headers: { authorization: 'Bearer upstream', 'x-tenant': 't' } }
    await withProxy({ proxy }, async (own, headers) => {
      await own.fetch('/proxy/contacts', { headers: { ...headers, 'x-tenant': 'mine' } })
      expect(upstream.received[0]?.headers).toMatchObject({ authorization: 'Bearer upstream', 'x-tenant': 't' })
    })
    upstream.received.length = 0
    await withProxy({ proxy: { target: upstream.origin, forwardAuthorization: true } }, async (own, headers) => {
      await own.fetch('/proxy/contacts', { headers })
      expect(upstream.received[0]?.headers['authorization']).toBe(headers['authorization'])
    })
  })

  test('forwards the headers that PROXY_FORWARD_HEADERS lists, and the others no more', async () => {
    const proxy = { target: upstream.origin, forwardHeaders: ['x-tenant'] }
    await withProxy({ proxy }, async (own, headers) => {
      const answer = await own.fetch('/proxy/contacts', {
        headers: { ...headers, 'x-tenant': 't', 'x-other': 'o', accept: 'a/b' },
      })
      expect(answer.status).toBe(200)
      const received = upstream.received[0]?.headers
      expect(received).toMatchObject({ 'x-tenant': 't', accept: 'a/b', 'x-meshguard-agent-id': expect.any(String) })
      expect(received).not.toHaveProperty('x-other')
    })
  })

  test('with CORS_ORIGIN lets that origin read what the upstream says, and no other', async () => {
    upstream.answer((_, outgoing) => outgoing.setHeader('access-control-allow-origin', '*').end('x'))
    await withProxy({ corsOrigin: 'https://app.example', proxy: { target: upstream.origin } }, async (own, headers) => {
      const allowed = async (origin: string) =>
        (await own.fetch('/proxy/contacts', { headers: { ...headers, origin } })).headers.get('access-control-allow-origin')
      expect(await allowed('https://app.example')).toBe('https://app.example')
      expect(await allowed('https://evil.example')).toBeNull()
    })
    await withProxy({ proxy: { target: upstream.origin } }, async (own, headers) => {
      const answer = await own.fetch('/proxy/contacts', { headers: { ...headers, origin: 'https://evil.example' } })
      expect([answer.status, answer.headers.get('access-control-allow-origin')]).toEqual([200, null])
    })
  })

  test('in audit mode forwards a denial, and says so', async () => {
    await withProxy({ mode: 'audit', proxy: { target: upstream.origin } }, async (own, headers) => {
      const answer = await own.fetch('/proxy/contacts/export', { headers })
      expect([answer.status, answer.headers.get('x-meshguard-decision'), answer.headers.get('x-meshguard-audit')]).toEqual([
        200,
        'allow',
        'deny',
      ])
      expect((await own.fetch('/proxy/contacts', { method: 'OPTIONS', headers })).status).toBe(200)
      expect((await own.fetch('/proxy//contacts', { headers })).status).toBe(400)
      expect((await own.fetch('/proxy/contacts')).status).toBe(401)
    })
  })

  test('in bypass mode forwards without a decision, but nothing malformed', async () => {
    await withProxy({ mode: 'bypass', proxy: { target: upstream.origin } }, async (own) => {
      expect((await own.fetch('/proxy/contacts/export')).status).toBe(200)
      expect(upstream.received[0]?.headers['x-meshguard-agent-id']).toBeUndefined()
      expect((await own.fetch('/proxy//contacts')).status).toBe(400)
      expect((await own.fetch('/proxy/contacts', { headers: { authorization: 'Bearer bad' } })).status).toBe(401)
    })
  })
})
