/** What the hosted product's page on its SDK promises, section by section, against a gateway on a real socket; the administration is in sdk-administration. */
import {
  AuthenticationError,
  ConnectionError,
  MeshGuardClient,
  MeshGuardError,
  PolicyDeniedError,
  RateLimitError,
} from '@meshguard/client'
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest'
import { rejection } from '../client/scripted.js'
import { startGateway, type World } from '../gateway/gateway-world.js'
import { startUpstream, type Upstream } from '../gateway/upstream.js'

const POLICY = {
  name: 'agents',
  rules: [
    { effect: 'deny', actions: ['delete:database'], reason: 'Databases are for people' },
    { effect: 'allow', actions: ['write:email'], conditions: { 'context.to': { endsWith: '@example.com' } } },
    { effect: 'allow', actions: ['read:*', 'write:contacts', 'delete:contacts'] },
    { effect: 'allow', actions: ['export:reports'], rateLimit: { requests: 2, per: '1h' } },
  ],
}

let upstream: Upstream
let world: World
let admin: MeshGuardClient
let client: MeshGuardClient

beforeAll(async () => {
  upstream = await startUpstream()
  world = await startGateway({ policies: [POLICY], proxy: { target: upstream.origin } })
  admin = new MeshGuardClient({ gatewayUrl: world.url, adminToken: world.adminToken })
  client = new MeshGuardClient({ gatewayUrl: world.url, agentToken: (await admin.createAgent({ name: 'scout' })).token })
})
afterEach(() => vi.unstubAllEnvs())
afterAll(async () => {
  await client?.close()
  await admin?.close()
  await world?.close()
  await upstream?.close()
})

describe('configuration', () => {
  it('takes everything from the environment', async () => {
    const { token } = await admin.createAgent({ name: 'from-the-environment' })
    vi.stubEnv('MESHGUARD_GATEWAY_URL', world.url)
    vi.stubEnv('MESHGUARD_AGENT_TOKEN', token)
    vi.stubEnv('MESHGUARD_ADMIN_TOKEN', world.adminToken)
    vi.stubEnv('MESHGUARD_TIMEOUT_MS', '5000')
    const fromEnvironment = new MeshGuardClient()
    expect((await fromEnvironment.check('read:contacts')).allowed).toBe(true)
    expect((await fromEnvironment.listAgents()).map(({ name }) => name)).toContain('from-the-environment')
  })

  it('takes everything from options, a trace ID for all calls included', async () => {
    const { token } = await admin.createAgent({ name: 'explicit' })
    const explicit = new MeshGuardClient({
      gatewayUrl: `${world.url}/`,
      agentToken: token,
      adminToken: world.adminToken,
      timeoutMs: 30_000,
      traceId: 'trace-of-a-client',
    })
    expect((await explicit.check('read:contacts')).traceId).toBe('trace-of-a-client')
    await explicit.check('read:contacts')
    expect(await explicit.getTrace('trace-of-a-client')).toHaveLength(2)
  })
})

describe('check', () => {
  it('answers a decision that allows', async () => {
    expect(await client.check('read:contacts', { resource: 'contacts/42' })).toMatchObject({
      allowed: true,
      action: 'read:contacts',
      resource: 'contacts/42',
      decision: 'allow',
      code: 'allowed',
      policy: 'agents',
      rule: 'allow read:*',
      agentId: expect.stringMatching(/^agent_/),
      traceId: expect.stringMatching(/^[\w-]{36}$/),
    })
  })

  it('answers a decision that denies, with its reason, and throws nothing', async () => {
    expect(await client.check('delete:database')).toMatchObject({
      allowed: false,
      decision: 'deny',
      policy: 'agents',
      rule: 'deny delete:database',
      reason: 'Databases are for people',
    })
    expect(await client.check('launch:rockets')).toMatchObject({ allowed: false, code: 'no_match', reason: expect.any(String) })
  })

  it('is decided by its context', async () => {
    expect(await client.check('write:email', { context: { to: 'ada@example.com' } })).toMatchObject({ allowed: true })
    expect(await client.check('write:email', { context: { to: 'eve@elsewhere.example' } })).toMatchObject({ allowed: false })
    expect(await client.check('write:email', { context: { to: 'Zoë@example.com', note: '👋' } })).toMatchObject({
      allowed: true,
    })
  })
})

describe('enforce and govern', () => {
  it('enforce goes on, or throws PolicyDeniedError', async () => {
    expect((await client.enforce('read:contacts')).policy).toBe('agents')
    const error = await rejection(client.enforce('delete:database', { traceId: 'trace-of-enforce' }))
    expect(error).toBeInstanceOf(PolicyDeniedError)
    expect(error).toMatchObject({
      action: 'delete:database',
      policy: 'agents',
      rule: 'deny delete:database',
      reason: 'Databases are for people',
      traceId: 'trace-of-enforce',
    })
  })

  it('govern runs a function only if it is allowed', async () => {
    expect(await client.govern('read:contacts', async ({ traceId }) => traceId.length)).toBe(36)
    const ran = vi.fn()
    expect(await rejection(client.govern('delete:database', ran))).toBeInstanceOf(PolicyDeniedError)
    expect(ran).not.toHaveBeenCalled()
  })

  it('govern governs a block', async () => {
    const said: string[] = []
    {
      await using scope = await client.govern('write:email', { context: { to: 'ada@example.com' } })
      said.push(scope.decision.decision)
    }
    expect(said).toEqual(['allow'])
  })

  it('checkMany answers in order', async () => {
    const decisions = await client.checkMany([{ action: 'read:a' }, { action: 'delete:database' }, { action: 'read:b' }])
    expect(decisions.map(({ action, allowed }) => [action, allowed])).toEqual([
      ['read:a', true],
      ['delete:database', false],
      ['read:b', true],
    ])
  })
})

describe('requests through the proxy', () => {
  it.each([
    ['GET', () => client.get('/contacts?limit=3', { action: 'read:contacts' }), '/contacts?limit=3', ''],
    [
      'POST',
      () => client.post('/contacts', { action: 'write:contacts', json: { name: 'Ada' } }),
      '/contacts',
      '{"name":"Ada"}',
    ],
    [
      'PUT',
      () => client.put('/contacts/7', { action: 'write:contacts', json: { name: 'Bea' } }),
      '/contacts/7',
      '{"name":"Bea"}',
    ],
    ['PATCH', () => client.patch('/contacts/7', { body: 'x' }), '/contacts/7', 'x'],
    ['DELETE', () => client.delete('/contacts/7', { action: 'delete:contacts' }), '/contacts/7', ''],
    ['PUT', () => client.request('PUT', 'contacts/8', { action: 'write:contacts', body: 'y' }), '/contacts/8', 'y'],
  ] as const)('%s reaches the API behind the gateway', async (method, call, url, body) => {
    const response = await call()
    expect(response.status).toBe(200)
    expect(response.headers.get('x-meshguard-origin')).toBe('upstream')
    expect(await response.json()).toEqual({ method, url, body })
  })

  it('a body is streamed both ways', async () => {
    upstream.answer(async (req, res) => {
      res.writeHead(200)
      for await (const chunk of req) res.write(chunk)
      res.end()
    })
    const part = new TextEncoder().encode('0123456789'.repeat(1000))
    const body = new ReadableStream({
      start(controller) {
        for (let i = 0; i < 100; i++) controller.enqueue(part)
        controller.close()
      },
    })
    const response = await client.post('/contacts', { body })
    expect((await response.arrayBuffer()).byteLength).toBe(1_000_000)
    upstream.answer(undefined)
  })

  it('a denial is an error, and the API is never asked', async () => {
    const before = upstream.received.length
    const error = await rejection(client.post('/database', { action: 'write:database' }))
    expect(error).toBeInstanceOf(PolicyDeniedError)
    expect(error).toMatchObject({ action: 'write:database', policy: undefined })
    expect(await rejection(client.get('/contacts', { action: 'delete:database' }))).toMatchObject({
      action: 'delete:database',
      reason: 'Databases are for people',
    })
    expect(upstream.received).toHaveLength(before)
  })

  it('what the API itself refuses is its answer', async () => {
    for (const status of [401, 403, 429, 500]) {
      upstream.answer((_, res) => res.writeHead(status, { 'x-meshguard-origin': 'gateway' }).end('of the API'))
      const response = await client.get('/contacts')
      expect([response.status, await response.text()]).toEqual([status, 'of the API'])
    }
    upstream.answer((req) => req.socket.destroy())
    expect(await rejection(client.get('/contacts'))).toBeInstanceOf(ConnectionError)
    upstream.answer(undefined)
  })

  it('a gateway without an API behind it says so', async () => {
    const alone = await startGateway({ policies: [POLICY] })
    try {
      const { token } = await alone.createAgent()
      const lone = new MeshGuardClient({ gatewayUrl: alone.url, agentToken: token })
      expect(await rejection(lone.get('/contacts'))).toMatchObject({
        status: 404,
        message: expect.stringContaining('PROXY_TARGET'),
      })
    } finally {
      await alone.close()
    }
  })
})

describe('the errors', () => {
  it('AuthenticationError: no token, a bad one, a wrong admin token', async () => {
    const nobody = new MeshGuardClient({ gatewayUrl: world.url })
    const forged = new MeshGuardClient({ gatewayUrl: world.url, agentToken: 'not.a.token', adminToken: 'x'.repeat(40) })
    const calls = [
      () => nobody.check('read:a'),
      () => nobody.listAgents(),
      () => forged.check('read:a'),
      () => forged.listAgents(),
      () => forged.get('/a'),
    ]
    for (const call of calls) {
      const error = await rejection(call())
      expect(error).toBeInstanceOf(AuthenticationError)
      expect(error).toMatchObject({ code: 'unauthenticated', status: 401 })
    }
  })

  it('RateLimitError, and a decision where nothing is thrown', async () => {
    await client.enforce('export:reports')
    await client.enforce('export:reports')
    const error = await rejection(client.enforce('export:reports'))
    expect(error).toBeInstanceOf(RateLimitError)
    expect(error['retryAfter']).toBeGreaterThan(0)
    expect(await client.check('export:reports')).toMatchObject({
      code: 'rate_limited',
      limit: { requests: 2, windowMs: 3_600_000 },
    })
  })

  it('PolicyDeniedError and the others are all a MeshGuardError', async () => {
    expect(await rejection(client.enforce('delete:database'))).toBeInstanceOf(MeshGuardError)
    expect(await rejection(admin.getAgent('agent_unknown'))).toBeInstanceOf(MeshGuardError)
    expect(await rejection(client.check('nonsense'))).toBeInstanceOf(MeshGuardError)
  })
})

describe('health and the end', () => {
  it('health needs no token', async () => {
    const anyone = new MeshGuardClient({ gatewayUrl: world.url })
    expect(await anyone.health()).toMatchObject({ status: 'healthy', mode: 'enforce', version: expect.any(String) })
    expect(await anyone.isHealthy()).toBe(true)
    expect(await anyone.info()).toMatchObject({ name: 'MeshGuard Gateway', mode: 'enforce' })
  })

  it('a client closes itself at the end of its block', async () => {
    let left: MeshGuardClient
    {
      await using own = new MeshGuardClient({ gatewayUrl: world.url })
      expect(await own.isHealthy()).toBe(true)
      left = own
    }
    expect(await left.isHealthy()).toBe(false)
  })

  it('in audit mode a denial is only recorded', async () => {
    const watching = await startGateway({ policies: [POLICY], mode: 'audit' })
    try {
      const { token } = await watching.createAgent()
      const watched = new MeshGuardClient({ gatewayUrl: watching.url, agentToken: token })
      expect(await watched.enforce('delete:database')).toMatchObject({ allowed: true, decision: 'deny', enforced: false })
    } finally {
      await watching.close()
    }
  })
})
