import {
  AuthenticationError,
  ConnectionError,
  MeshGuardClient,
  MeshGuardError,
  PolicyDeniedError,
  RateLimitError,
  UnavailableError,
  ValidationError,
} from '@meshguard/client'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { allow, deny, type Reply, rejection, type Scripted, startScripted } from './scripted.js'

const agentToken = 'eyJhbGciOiJub25lIn0.agent.secret'
const clients: MeshGuardClient[] = []
let scripted: Scripted

const connect = (options: object = {}) => {
  const client = new MeshGuardClient({ gatewayUrl: scripted.url, agentToken, ...options })
  clients.push(client)
  return client
}

beforeAll(async () => {
  scripted = await startScripted()
})
afterEach(async () => {
  scripted.received.length = 0
  for (const client of clients.splice(0)) await client.close()
})
afterAll(() => scripted.close())

describe('a check', () => {
  it('sends token, action, resource, context and trace ID', async () => {
    scripted.answer(allow('read:contacts'))
    await connect().check('read:contacts', {
      resource: 'contacts/42',
      context: { note: 'Grüße 👋', amount: 3 },
      traceId: 'trace-of-a-check',
    })
    const [{ method, url, headers }] = scripted.received as [(typeof scripted.received)[0]]
    expect([method, url]).toEqual(['GET', '/proxy/check'])
    expect(headers).toMatchObject({
      authorization: `Bearer ${agentToken}`,
      'x-meshguard-action': 'read:contacts',
      'x-meshguard-resource': 'contacts/42',
      'x-meshguard-trace-id': 'trace-of-a-check',
    })
    expect(headers['x-meshguard-context']).toMatch(/^[\x20-\x7e]+$/)
    expect(JSON.parse(headers['x-meshguard-context'] as string)).toEqual({ note: 'Grüße 👋', amount: 3 })
    expect(headers).not.toHaveProperty('x-admin-token')
  })

  it('answers what the gateway decided', async () => {
    scripted.answer(allow('read:contacts', { policyVersion: 'v7' }), deny('delete:contacts', { message: 'Ask a person' }))
    const client = connect({ traceId: 'trace-of-the-client' })
    expect(await client.check('read:contacts', { resource: 'contacts/1' })).toEqual({
      allowed: true,
      decision: 'allow',
      code: 'allowed',
      action: 'read:contacts',
      resource: 'contacts/1',
      agentId: 'agent_scout',
      policy: 'readers',
      rule: 'allow read:*',
      reason: undefined,
      policyVersion: 'v7',
      traceId: 'trace-of-the-client',
      timestamp: expect.any(Number),
      enforced: true,
    })
    expect(await client.check('delete:contacts')).toMatchObject({
      allowed: false,
      decision: 'deny',
      code: 'denied',
      policy: 'people',
      rule: 'people',
      reason: 'Ask a person',
      traceId: 'trace-of-the-client',
    })
  })

  it('always has a reason for a denial, and does not repeat the name of a rule in it', async () => {
    scripted.answer(deny('delete:contacts'))
    expect(await connect().check('delete:contacts')).toMatchObject({ reason: 'Action delete:contacts is not allowed' })
  })

  it('gives each call a trace ID of its own unless the client has one', async () => {
    scripted.answer(allow('read:contacts'))
    const client = connect()
    const [one, two] = [await client.check('read:contacts'), await client.check('read:contacts')]
    expect(one.traceId).not.toBe(two.traceId)
    expect(scripted.received.map(({ headers }) => headers['x-meshguard-trace-id'])).toEqual([one.traceId, two.traceId])
  })

  it('tells a denial that was only recorded by decision and enforced', async () => {
    const { headers, json } = allow('read:contacts') as { headers: Record<string, string>; json: unknown }
    scripted.answer({ headers: { ...headers, 'x-meshguard-audit': 'deny' }, json })
    expect(await connect().check('read:contacts')).toMatchObject({ allowed: true, decision: 'deny', enforced: false })
  })

  it('answers a limit of the policies with a decision, and enforces it with RateLimitError', async () => {
    scripted.answer({
      status: 429,
      headers: { 'x-meshguard-decision': 'deny', 'retry-after': '17' },
      json: {
        error: 'rate_limited',
        code: 'rate_limited',
        retry_after: 17,
        limit: '2 requests per minute',
        policy: 'p',
        rule: 'r',
      },
    })
    expect(await connect().check('read:contacts')).toMatchObject({
      allowed: false,
      code: 'rate_limited',
      retryAfter: 17,
      limit: { requests: 2, windowMs: 60_000 },
    })
    expect(await rejection(connect().enforce('read:contacts'))).toMatchObject({ name: 'RateLimitError', retryAfter: 17 })
  })

  it('rejects for a limit of the gateway itself, which says nothing about the action', async () => {
    scripted.answer({
      status: 429,
      headers: { 'retry-after': '9' },
      json: { error: 'rate_limited', code: 'too_many_requests', message: 'Too many failed authentications' },
    })
    const error = await rejection(connect().check('read:contacts'))
    expect(error).toBeInstanceOf(RateLimitError)
    expect(error).toMatchObject({ retryAfter: 9, decision: { reason: 'Too many failed authentications' } })
  })

  it('sends nothing for what is not an action, a resource or a context that fits, or without a token', async () => {
    const client = connect()
    for (const [action, options] of [
      ['contacts', {}],
      ['read:*', {}],
      ['read:contacts\r\nx-admin-token: a', {}],
      ['read:contacts', { resource: 'a\nb' }],
      ['read:contacts', { resource: 'Grüße' }],
      ['read:contacts', { context: { text: 'x'.repeat(5000) } }],
    ] as const) {
      expect(await rejection(client.check(action, options))).toBeInstanceOf(ValidationError)
    }
    expect(await rejection(new MeshGuardClient({ gatewayUrl: scripted.url }).check('read:contacts'))).toMatchObject({
      name: 'AuthenticationError',
      message: expect.stringContaining('MESHGUARD_AGENT_TOKEN'),
    })
    expect(scripted.received).toEqual([])
  })

  const statuses: [string, Reply, new (...given: never) => MeshGuardError, Record<string, unknown>][] = [
    ['401', { status: 401, json: { error: 'unauthorized', message: 'Invalid or expired token' } }, AuthenticationError, {}],
    ['503 of the gateway', { status: 503, json: { error: 'unavailable', message: 'No' } }, UnavailableError, { message: 'No' }],
    ['503 of a load balancer', { status: 503, text: '<html>' }, ConnectionError, {}],
    ['502', { status: 502, text: '' }, ConnectionError, {}],
    ['504', { status: 504, json: {} }, ConnectionError, {}],
    ['500', { status: 500, json: { error: 'internal', message: 'x' } }, UnavailableError, {}],
    ['302', { status: 302, headers: { location: '/proxy/elsewhere' } }, UnavailableError, {}],
    ['200 of HTML', { text: '<html>' }, UnavailableError, {}],
    ['an empty 200', { text: '' }, UnavailableError, {}],
    ['200 without a decision', { json: { status: 'ok' } }, UnavailableError, {}],
    [
      '200 with allowed as text',
      { json: { allowed: 'true', decision: 'allow', action: 'read:contacts' } },
      UnavailableError,
      {},
    ],
    ['200 for another action', allow('read:others'), UnavailableError, {}],
    ['200 that says deny', { json: { allowed: true, decision: 'deny', action: 'read:contacts' } }, UnavailableError, {}],
    ['403 of HTML', { status: 403, text: '<html>' }, MeshGuardError, {}],
    ['404', { status: 404, json: { error: 'not_found', message: 'No such path' } }, MeshGuardError, { status: 404 }],
    [
      '400',
      { status: 400, json: { error: 'bad_request', message: 'm', issues: [{ path: 'context.a.0', message: 'wrong' }] } },
      ValidationError,
      { issues: [{ path: ['context', 'a', 0], message: 'wrong' }] },
    ],
  ]
  it.each(statuses)('rejects for %s', async (_, reply, type, like) => {
    scripted.answer(reply)
    const error = await rejection(connect().check('read:contacts', { traceId: 'trace-of-failure' }))
    expect(error).toBeInstanceOf(type)
    expect(error).toMatchObject(like)
    expect(scripted.received).toHaveLength(1)
    expect(`${error.message}${error.stack}${JSON.stringify(error)}${String(error.cause)}`).not.toContain('secret')
  })
})

describe('enforce and govern', () => {
  it('enforce throws PolicyDeniedError with everything that the decision says', async () => {
    scripted.answer(deny('delete:contacts', { message: 'Ask a person' }))
    const error = await rejection(connect().enforce('delete:contacts', { traceId: 'trace-of-denial' }))
    expect(error).toBeInstanceOf(PolicyDeniedError)
    expect(error).toMatchObject({
      action: 'delete:contacts',
      policy: 'people',
      rule: 'people',
      reason: 'Ask a person',
      status: 403,
    })
    expect(error).toMatchObject({ traceId: 'trace-of-denial', message: 'Ask a person' })
  })

  it('govern runs the function with the decision and answers what it answers, and runs nothing for a denial', async () => {
    scripted.answer(allow('read:contacts'), deny('read:contacts'))
    const client = connect()
    expect(await client.govern('read:contacts', ({ policy }) => `by ${policy}`)).toBe('by readers')
    let ran = false
    const work = () => {
      ran = true
    }
    expect(await rejection(client.govern('read:contacts', work))).toBeInstanceOf(PolicyDeniedError)
    expect(ran).toBe(false)
  })

  it('govern passes on what the function throws', async () => {
    scripted.answer(allow('read:contacts'))
    const thrown = new Error('of the function')
    const work = async () => {
      throw thrown
    }
    expect(await rejection(connect().govern('read:contacts', work))).toBe(thrown)
  })

  it('govern without a function governs a block, and the decision stays usable after it', async () => {
    scripted.answer(allow('read:contacts', { traceId: 'x' }))
    const scope = await connect().govern('read:contacts', { resource: 'contacts/1' })
    await scope[Symbol.asyncDispose]()
    expect(scope.decision).toMatchObject({ allowed: true, resource: 'contacts/1' })
  })

  it('checkMany answers in order, at most eight at a time', async () => {
    let [received, most] = [0, 0]
    const waiting: (() => void)[] = []
    scripted.answer((res, { headers }) => {
      const { headers: said, json } = allow(headers['x-meshguard-action'] as string) as { headers: object; json: unknown }
      most = Math.max(
        most,
        waiting.push(() => res.writeHead(200, { ...said }).end(JSON.stringify(json))),
      )
      received++
      if (waiting.length >= 8 || received === 30) for (const answer of waiting.splice(0)) answer()
    })
    const checks = Array.from({ length: 30 }, (_, i) => ({ action: `read:c${i}`, resource: `r/${i}` }))
    const decisions = await connect().checkMany(checks, { traceId: 'trace-of-many' })
    expect(decisions.map(({ action, resource }) => ({ action, resource }))).toEqual(checks)
    expect(most).toBe(8)
    expect(await connect().checkMany([])).toEqual([])
  })
})

describe('the transport', () => {
  const unavailable: Reply = {
    status: 503,
    headers: { 'x-meshguard-origin': 'gateway' },
    json: { error: 'unavailable', message: 'busy' },
  }

  it('tries a check again as often as it may, with the same trace ID', async () => {
    scripted.answer(unavailable, { status: 502, text: '' }, allow('read:contacts'))
    expect(await connect({ retries: 2 }).check('read:contacts')).toMatchObject({ allowed: true })
    expect(new Set(scripted.received.map(({ headers }) => headers['x-meshguard-trace-id'])).size).toBe(1)
    expect(scripted.received).toHaveLength(3)
    scripted.received.length = 0
    scripted.answer(unavailable)
    expect(await rejection(connect({ retries: 1 }).check('read:contacts'))).toBeInstanceOf(UnavailableError)
    expect(scripted.received).toHaveLength(2)
  })

  it('tries a broken connection again', async () => {
    scripted.answer((res) => res.destroy(), allow('read:contacts'))
    expect(await connect({ retries: 1 }).check('read:contacts')).toMatchObject({ allowed: true })
    scripted.answer((res) => res.destroy())
    const error = await rejection(connect().check('read:contacts'))
    expect(error).toBeInstanceOf(ConnectionError)
    expect(error.message).toBe(`The gateway at ${scripted.url} does not answer`)
  })

  it('does not try again what changes something, nor what is denied', async () => {
    const client = connect({ retries: 3, adminToken: 'admin-secret' })
    scripted.answer(unavailable)
    await rejection(client.post('/api/contacts', { json: {} }))
    await rejection(client.createAgent({ name: 'scout' }))
    await rejection(client.revokeAgent('agent_scout'))
    scripted.answer(deny('read:contacts'))
    await client.check('read:contacts')
    expect(scripted.received).toHaveLength(4)
  })

  it('follows no redirect, so that the token goes nowhere else', async () => {
    scripted.answer({ status: 307, headers: { location: `${scripted.url}/elsewhere` } })
    const client = connect({ adminToken: 'admin-secret' })
    await rejection(client.check('read:contacts'))
    await rejection(client.listAgents())
    expect((await client.get('/api')).status).toBe(307)
    expect(scripted.received.map(({ url }) => url)).not.toContain('/elsewhere')
  })

  it('gives up after timeoutMs, also while a body is read', async () => {
    scripted.answer(() => {})
    const error = await rejection(connect({ timeoutMs: 50 }).check('read:contacts'))
    expect(error).toBeInstanceOf(ConnectionError)
    expect(error.message).toContain('did not answer within 50 ms')
    scripted.answer((res) => res.writeHead(200).write('{"allowed":'))
    expect(await rejection(connect().check('read:contacts', { timeoutMs: 50 }))).toBeInstanceOf(ConnectionError)
  })

  it('ends with the reason of the signal', async () => {
    const abort = new AbortController()
    const reason = new Error('of the caller')
    scripted.answer(() => abort.abort(reason))
    expect(await rejection(connect({ retries: 5 }).check('read:contacts', { signal: abort.signal }))).toBe(reason)
    expect(await rejection(connect().check('read:contacts', { signal: abort.signal }))).toBe(reason)
    expect(scripted.received).toHaveLength(1)
  })

  it('close ends what waits and refuses what comes', async () => {
    const client = connect()
    scripted.answer(() => void client.close())
    const error = await rejection(client.check('read:contacts'))
    expect(error).toMatchObject({ name: 'UnavailableError', message: 'The client was closed' })
    expect(await rejection(client.health())).toMatchObject({ message: 'The client was closed' })
    expect(scripted.received).toHaveLength(1)
  })

  it('closes by itself at the end of a block', async () => {
    let left: MeshGuardClient
    {
      await using client = connect()
      left = client
    }
    expect(await rejection(left.health())).toMatchObject({ message: 'The client was closed' })
  })

  it('names a gateway that is not there', async () => {
    const gone = await startScripted()
    await gone.close()
    const client = connect({ gatewayUrl: gone.url })
    expect(await rejection(client.health())).toMatchObject({
      name: 'ConnectionError',
      message: `The gateway at ${gone.url} does not answer`,
    })
    expect(await client.isHealthy()).toBe(false)
  })

  it('knows health from something else that answers', async () => {
    const client = connect()
    scripted.answer({ json: { status: 'healthy', version: '1' } })
    expect(await client.isHealthy()).toBe(true)
    scripted.answer({ status: 503, json: { status: 'degraded' } })
    expect(await client.health()).toEqual({ status: 'degraded' })
    expect(await client.isHealthy()).toBe(false)
    scripted.answer({ status: 404, text: '<html>' })
    expect(await rejection(client.health())).toBeInstanceOf(UnavailableError)
    expect(await client.isHealthy()).toBe(false)
  })
})
