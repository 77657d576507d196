import { rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { PolicyDeniedError, UnavailableError, ValidationError } from '@meshguard/core'
import { pino } from 'pino'
import { afterEach, describe, expect, test, vi } from 'vitest'
import { RequestError } from '../../packages/gateway/src/http/errors.js'
import { startGateway, type World, type WorldOptions } from './gateway-world.js'

let worlds: World[] = []
afterEach(async () => {
  for (const world of worlds) await world.close()
  worlds = []
})
const start = async (options?: WorldOptions): Promise<World> => {
  const world = await startGateway(options)
  worlds.push(world)
  return world
}
const bearer = (token: string) => ({ authorization: `Bearer ${token}` })

describe('Every answer', () => {
  test('carries a trace ID, is not stored and not sniffed', async () => {
    const world = await start()
    for (const path of ['/', '/health', '/nothing', '/metrics', '/openapi.json']) {
      const { headers } = await world.fetch(path)
      expect(headers.get('x-meshguard-trace-id'), path).toBeTruthy()
      expect(headers.get('x-content-type-options'), path).toBe('nosniff')
    }
    for (const path of ['/health', '/nothing', '/metrics']) {
      expect((await world.fetch(path)).headers.get('cache-control'), path).toBe('no-store')
    }
  })

  test('says that it is of the gateway, whatever it is', async () => {
    const world = await start()
    const { token } = await world.createAgent()
    const service = await world.createService('decide')
    const check = (action: string) => ({ headers: { ...bearer(token), 'x-meshguard-action': action } })
    const checks = { method: 'POST', body: '{"checks":[{"action":"a:b"}]}', headers: { 'content-type': 'application/json' } }
    const answers = await Promise.all([
      world.fetch('/proxy/check', check('read:x')),
      world.fetch('/proxy/check', check('delete:x')),
      world.fetch('/proxy/check', check('*')),
      world.fetch('/proxy/check'),
      world.fetch('/proxy/x', { headers: bearer(token) }),
      world.fetch('/v1/checks', { ...checks, headers: { ...checks.headers, ...bearer(service) } }),
      world.fetch('/access/v1/evaluation', checks),
      world.admin('GET', '/admin/agents'),
      world.admin('POST', '/admin/agents', {}),
      ...['/', '/health', '/metrics', '/openapi.json', '/.well-known/jwks.json', '/nothing'].map((path) => world.fetch(path)),
    ])
    expect(answers.map(({ status }) => status)).toEqual([
      200, 403, 400, 401, 404, 200, 401, 200, 400, 200, 200, 200, 200, 200, 404,
    ])
    expect(new Set(answers.map(({ headers }) => headers.get('x-meshguard-origin')))).toEqual(new Set(['gateway']))
  })

  test('to what is not there is 404, and 405 with the methods that are', async () => {
    const world = await start()
    const nothing = await world.fetch('/nothing')
    expect(nothing.status).toBe(404)
    const traceId = nothing.headers.get('x-meshguard-trace-id')
    expect(await nothing.json()).toEqual({ error: 'not_found', message: 'There is nothing at this path', traceId })
    for (const method of ['POST', 'DELETE', 'OPTIONS', 'PROPFIND']) {
      const answer = await world.fetch('/health', { method })
      expect(answer.status).toBe(405)
      expect(answer.headers.get('allow')).toBe('GET, HEAD')
      expect(await answer.json()).toMatchObject({ error: 'method_not_allowed' })
    }
  })

  test('to HEAD is that to GET without its body', async () => {
    const world = await start()
    const answer = await world.fetch('/health', { method: 'HEAD' })
    expect([answer.status, await answer.text()]).toEqual([200, ''])
  })

  test.each([
    ['application/problem+json', 'application/problem+json'],
    ['application/json', 'application/json; charset=utf-8'],
    ['*/*', 'application/json; charset=utf-8'],
    ['application/problem+json;q=0.1, application/json', 'application/json; charset=utf-8'],
  ])('that refuses is, for Accept: %s, %s', async (accept, type) => {
    const world = await start()
    const answer = await world.fetch('/nothing', { headers: { accept } })
    expect(answer.headers.get('content-type')).toBe(type)
    const problem = { type: 'about:blank', title: 'Not Found', status: 404, detail: 'There is nothing at this path' }
    const body = await answer.json()
    expect(body).toMatchObject({ error: 'not_found', traceId: answer.headers.get('x-meshguard-trace-id') })
    if (type.includes('problem')) expect(body).toMatchObject(problem)
    else expect(body).not.toHaveProperty('title')
  })
})

describe('An error that a handler throws is answered', () => {
  const decision = {
    allowed: false,
    decision: 'deny',
    action: 'read:x',
    code: 'denied',
    policy: 'p',
    rule: 'r',
    traceId: 'elsewhere',
    timestamp: 0,
    enforced: true,
  } as const
  test.each([
    [new RequestError(409, 'conflict', 'No'), 409, { error: 'conflict', message: 'No' }],
    [new UnavailableError('the disk is at /secret'), 503, { error: 'unavailable', message: 'No decision could be made' }],
    [
      new ValidationError([{ path: ['a', 0, 'b'], message: 'is wrong' }]),
      400,
      { error: 'bad_request', message: 'is wrong', issues: [{ path: 'a.0.b', message: 'is wrong' }] },
    ],
    [new PolicyDeniedError(decision), 403, { error: 'Forbidden', action: 'read:x', code: 'denied', policy: 'p', rule: 'r' }],
    [new Error('the stack is at /secret'), 500, { error: 'internal_error', message: 'The request could not be served' }],
  ])('%s', async (error, status, body) => {
    const lines: string[] = []
    const world = await start({ logger: pino({ level: 'warn' }, { write: (line: string) => void lines.push(line) }) })
    vi.spyOn(world.services.policies, 'problem').mockImplementation(() => {
      throw error
    })
    const answer = await world.fetch('/health')
    expect(answer.status).toBe(status)
    const traceId = answer.headers.get('x-meshguard-trace-id')
    const text = await answer.text()
    expect(JSON.parse(text)).toMatchObject({ ...body, traceId })
    expect(text).not.toContain('secret')
    expect(lines.filter((line) => line.includes(traceId as string))).toHaveLength(status >= 500 ? 1 : 0)
  })
})

describe('Health', () => {
  test('is degraded while the folder of policies has a problem', async () => {
    const world = await start()
    const { policiesDir } = world.gateway.config
    await writeFile(join(policiesDir as string, 'bad.yaml'), 'name: [')
    await vi.waitFor(async () => expect(await (await world.fetch('/health')).json()).toHaveProperty('status', 'degraded'), 5000)
    const answer = await world.fetch('/health')
    expect(answer.status).toBe(200)
    expect(await answer.json()).toMatchObject({ checks: { database: 'ok', policies: 'failing' } })
    await rm(join(policiesDir as string, 'bad.yaml'))
    await vi.waitFor(async () => expect(await (await world.fetch('/health')).json()).toHaveProperty('status', 'healthy'), 5000)
  })

  test('is 503 while the database does not answer, or not in time', async () => {
    const world = await start()
    const ping = vi.spyOn(world.services.store, 'ping')
    ping.mockRejectedValueOnce(new UnavailableError('no'))
    const failing = await world.fetch('/health')
    expect(failing.status).toBe(503)
    expect(await failing.json()).toMatchObject({ status: 'degraded', checks: { database: 'failing' } })
    ping.mockReturnValueOnce(new Promise(() => {}))
    expect((await world.fetch('/health')).status).toBe(503)
    expect((await world.fetch('/health')).status).toBe(200)
  })
})

describe('The dashboard', () => {
  test('is for who accepts HTML, without scripts, and cannot be framed', async () => {
    const world = await start()
    const answer = await world.fetch('/', { headers: { accept: 'text/html,application/xhtml+xml,*/*;q=0.8' } })
    expect(answer.headers.get('content-type')).toBe('text/html; charset=utf-8')
    const policy = answer.headers.get('content-security-policy') as string
    expect(policy).toContain("default-src 'none'")
    expect(policy).toContain("frame-ancestors 'none'")
    expect(policy).not.toContain('unsafe')
    expect(answer.headers.get('x-frame-options')).toBe('DENY')
    const html = await answer.text()
    expect(html).toContain('healthy')
    expect(html).not.toMatch(/<script|onload|style=/)
    const [, style = ''] = /<style>([^<]*)<\/style>/.exec(html) ?? []
    const digest = await crypto.subtle.digest('SHA-256', new TextEncoder().encode(style))
    expect(policy).toContain(Buffer.from(digest).toString('base64'))
  })
})

describe('The key set', () => {
  test('is public, and holds no private member', async () => {
    const world = await start()
    const answer = await world.fetch('/.well-known/jwks.json')
    const { keys } = (await answer.json()) as { keys: object[] }
    expect(keys).toMatchObject([{ typ: 'JWT' }, { typ: 'meshguard-bundle+jws' }])
    for (const key of keys) expect(Object.keys(key).sort()).toEqual(['alg', 'crv', 'kid', 'kty', 'typ', 'use', 'x'])
    expect(answer.headers.get('cache-control')).toBe('public, max-age=300')
    await world.gateway.rotateSigningKey()
    expect((await (await world.fetch('/.well-known/jwks.json')).json()) as object).toHaveProperty('keys.length', 3)
  })

  test('is empty where a secret signs', async () => {
    const world = await start({ jwtSecret: 'a secret of at least thirty-two bytes' })
    expect(await (await world.fetch('/.well-known/jwks.json')).json()).toEqual({ keys: [] })
  })
})

describe('Failed authentications', () => {
  const check = (world: World, token: string) =>
    world.fetch('/proxy/check', { headers: { ...bearer(token), 'x-meshguard-action': 'read:contacts' } })
  const statusesOf = async (world: World, token: string, times: number) => {
    const statuses: number[] = []
    for (let i = 0; i < times; i++) statuses.push((await check(world, token)).status)
    return statuses
  }

  test('of one token beyond RATE_LIMIT_RPM are 429, say for how long, and carry no decision', async () => {
    const world = await start({ rateLimitRpm: 3 })
    expect(await statusesOf(world, 'garbage', 4)).toEqual([401, 401, 401, 429])
    const answer = await check(world, 'garbage')
    const traceId = answer.headers.get('x-meshguard-trace-id')
    const retryAfter = Number(answer.headers.get('retry-after'))
    expect(retryAfter).toBeGreaterThan(0)
    expect(retryAfter).toBeLessThanOrEqual(60)
    expect(answer.headers.get('x-meshguard-decision')).toBeNull()
    expect(answer.headers.get('www-authenticate')).toBeNull()
    expect(await answer.json()).toEqual({
      error: 'rate_limited',
      code: 'too_many_requests',
      message: 'Too many failed authentications',
      retry_after: retryAfter,
      traceId,
    })
  })

  test('of one token leave the others of its address their 401', async () => {
    const world = await start({ rateLimitRpm: 3 })
    await statusesOf(world, 'garbage', 10)
    expect(await statusesOf(world, 'other garbage', 1)).toEqual([401])
  })

  test('of many tokens from one address are 429', async () => {
    const world = await start({ rateLimitRpm: 3 })
    const statuses: number[] = []
    for (let i = 0; i < 6; i++) statuses.push(...(await statusesOf(world, `guess-${i}`, 1)))
    expect(statuses).toEqual([401, 401, 401, 429, 429, 429])
  })

  test('never keep a good credential out', async () => {
    const world = await start({ rateLimitRpm: 1 })
    const { token } = await world.createAgent()
    for (let i = 0; i < 5; i++) await statusesOf(world, `guess-${i}`, 3)
    expect(await statusesOf(world, token, 5)).toEqual([200, 200, 200, 200, 200])
    expect((await world.admin('GET', '/admin/agents')).status).toBe(200)
  })

  test('of operators count too', async () => {
    const world = await start({ rateLimitRpm: 2 })
    const guess = () => world.fetch('/admin/agents', { headers: { 'x-admin-token': 'x'.repeat(40) } })
    const statuses = [await guess(), await guess(), await guess()].map(({ status }) => status)
    expect(statuses).toEqual([401, 401, 429])
  })
})

describe('CORS', () => {
  const preflight = {
    method: 'OPTIONS',
    headers: {
      origin: 'https://app.example',
      'access-control-request-method': 'DELETE',
      'access-control-request-headers': 'authorization',
    },
  }

  test('is off unless it is configured', async () => {
    const world = await start()
    const answer = await world.fetch('/admin/agents', preflight)
    expect(answer.headers.get('access-control-allow-origin')).toBeNull()
  })

  test('is for the origins that are configured, and never with credentials', async () => {
    const world = await start({ corsOrigin: 'https://app.example, https://other.example' })
    const allowed = await world.fetch('/admin/agents', preflight)
    expect(allowed.status).toBe(204)
    expect(allowed.headers.get('access-control-allow-origin')).toBe('https://app.example')
    expect(allowed.headers.get('access-control-allow-credentials')).toBeNull()
    const evil = await world.fetch('/admin/agents', {
      ...preflight,
      headers: { ...preflight.headers, origin: 'https://evil.example' },
    })
    expect(evil.headers.get('access-control-allow-origin')).toBeNull()
    const answer = await world.fetch('/health', { headers: { origin: 'https://app.example' } })
    expect(answer.headers.get('access-control-allow-origin')).toBe('https://app.example')
    expect(answer.headers.get('access-control-expose-headers')).toContain('X-MeshGuard-Trace-ID')
  })
})
