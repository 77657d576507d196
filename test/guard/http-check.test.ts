import { type Agent, type AuditEvent, createGuard, type Guard } from '@meshguard/core'
import { createHttpGuard, type Outcome, type ProtectOptions, type Refusal, readOwnCheck } from '@meshguard/core/http'
import { createTestGuard, mintTestAgent, recordingSource } from '@meshguard/core/testing'
import { afterEach, describe, expect, it, vi } from 'vitest'

const { agent, token } = mintTestAgent()

interface Sent {
  readonly headers?: Readonly<Record<string, string>>
}

const reader = {
  method: () => 'GET',
  header: ({ headers = {} }: Sent, name: string) => ({ authorization: `Bearer ${token}`, ...headers })[name],
  params: () => ({}),
}
const fails = (): never => {
  throw new Error('secret')
}

function httpOf(options: ProtectOptions<Sent, []> = {}, guard: Guard = createTestGuard({ allow: ['read:*'] }), read = reader) {
  const http = createHttpGuard<Sent, []>(guard, options, read)
  return { http, guard, route: http.route({ method: 'GET', pattern: '/x' }) }
}

function refusal(outcome: Outcome): Refusal {
  if (outcome.pass) throw new Error('It passed')
  return outcome
}

afterEach(() => vi.restoreAllMocks())

describe('a check', () => {
  it.each<[string, ProtectOptions<Sent, []>, object]>([
    ['the address', { ip: fails }, {}],
    ['the framework’s notion of the address', {}, { ip: fails }],
    ['the parameters', {}, { params: fails }],
    ['the signal', { credentials: async () => agent }, { signal: fails }],
    ['the credentials', { credentials: fails }, {}],
    ['the context', { context: fails }, {}],
  ])('that cannot read %s is unavailable, and recorded', async (_what, options, broken) => {
    const guard = createTestGuard({ allow: ['read:*'] })
    const { http, route } = httpOf(options, guard, { ...reader, ...broken })
    const outcome = refusal(await http.check(route, {}))
    expect(outcome).toMatchObject({ status: 503, decision: { allowed: false, code: 'unavailable' } })
    expect(outcome.body).not.toContain('secret')
    expect(guard.decisions).toMatchObject([{ allowed: false, code: 'unavailable' }])
    const half = await http.identify(route, {})
    expect(refusal(await http.decide(half))).toMatchObject({ status: 503 })
  })

  it.each([[42], [{}], [Promise.resolve(42)], [['127.0.0.1']]])('takes no address that is not text: %j', async (odd) => {
    const source = recordingSource()
    const { http, route } = httpOf({ ip: () => odd as never, credentials: () => agent }, createGuard({ source }))
    expect(refusal(await http.check(route, {}))).toMatchObject({ status: 503 })
    expect(source.requests).toEqual([])
  })

  it.each([['127.0.0.1'], [Promise.resolve('127.0.0.1')], [null]])('takes the address %j', async (ip) => {
    const source = recordingSource()
    const { http, route } = httpOf({ ip: () => ip as never, credentials: () => agent }, createGuard({ source }))
    expect(await http.check(route, {})).toMatchObject({ pass: true })
    expect(source.requests[0]?.request?.ip).toBe(ip === null ? undefined : '127.0.0.1')
  })

  it('waits for a resource that comes later, and refuses one that is no text', async () => {
    const source = recordingSource()
    const { http } = httpOf({ credentials: () => agent }, createGuard({ source }))
    const routeOf = (resource: unknown) =>
      http.route({ method: 'GET', pattern: '/x', own: { kind: 'check', resource: resource as () => string } })
    expect(
      await http.check(
        routeOf(async () => 'x/1'),
        {},
      ),
    ).toMatchObject({ pass: true })
    expect(source.requests).toMatchObject([{ resource: 'x/1' }])
    for (const odd of [async () => fails(), async () => 42, () => undefined]) {
      expect(refusal(await http.check(routeOf(odd), {}))).toMatchObject({ status: 503 })
    }
    expect(source.requests).toHaveLength(1)
  })

  it('of a guard whose decide is broken does not throw, and passes nothing', async () => {
    const sound = createTestGuard({ allow: ['read:*'] })
    for (const decide of [fails, async () => fails()]) {
      const { http, route } = httpOf({}, { ...sound, decide })
      expect(refusal(await http.check(route, {}))).toMatchObject({ status: 503 })
    }
  })

  it('of a guard that cannot be found is unavailable, and says so once', async () => {
    const error = vi.spyOn(console, 'error').mockImplementation(() => {})
    for (const find of [fails, () => undefined as never, () => ({}) as never]) {
      const http = createHttpGuard<Sent, []>(find, {}, reader)
      const route = http.route({ method: 'GET', pattern: '/x' })
      expect(refusal(await http.check(route, {}))).toMatchObject({ status: 503 })
      expect(refusal(await http.decide(await http.identify(route, {})))).toMatchObject({ status: 503 })
      expect(refusal(http.unmapped({}, '/x'))).toMatchObject({ status: 403 })
      expect(error.mock.calls.filter(([line]) => String(line).includes('no guard'))).toHaveLength(1)
      error.mockClear()
    }
  })
})

describe('the two halves of a check', () => {
  it('have one time-out, in which what lies between them does not count', async () => {
    const guard = createGuard({ source: recordingSource(), timeoutMs: 300 })
    const { http, route } = httpOf({ credentials: async () => agent, context: async () => ({ a: 1 }) }, guard)
    const half = await http.identify(route, {})
    await new Promise((resolve) => setTimeout(resolve, 400))
    expect(await http.decide(half)).toMatchObject({ pass: true })
  })

  it('have one time-out together', async () => {
    const late = <T>(value: T) => new Promise<T>((resolve) => setTimeout(resolve, 140, value))
    const guard = createGuard({ source: recordingSource(), timeoutMs: 200 })
    const { http, route } = httpOf({ credentials: () => late<Agent>(agent), context: () => late({}) }, guard)
    expect(refusal(await http.decide(await http.identify(route, {})))).toMatchObject({ status: 503 })
  })
})

describe('the trace ID', () => {
  const parent = '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01'
  const uuid = /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}$/

  it.each<[string, Record<string, string>, string | RegExp]>([
    [
      'its own header first',
      { 'x-meshguard-trace-id': 'trace-0001', 'x-trace-id': 'trace-0002', traceparent: parent },
      'trace-0001',
    ],
    ['the common one next', { 'x-trace-id': 'trace-0002', traceparent: parent }, 'trace-0002'],
    ['the common one if its own is malformed', { 'x-meshguard-trace-id': 'a b', 'x-trace-id': 'trace-0002' }, 'trace-0002'],
    ['the common one if its own is empty', { 'x-meshguard-trace-id': '', 'x-trace-id': 'trace-0002' }, 'trace-0002'],
    ['traceparent last', { 'x-trace-id': 'x'.repeat(129), traceparent: parent }, '4bf92f3577b34da6a3ce929d0e0e4736'],
    ['no traceparent of zeros', { traceparent: `00-${'0'.repeat(32)}-00f067aa0ba902b7-01` }, uuid],
    ['no traceparent of version ff', { traceparent: `ff${parent.slice(2)}` }, uuid],
    ['no line end', { 'x-meshguard-trace-id': 'trace-0001\r\nset-cookie: a=b' }, uuid],
    ['nothing', {}, uuid],
  ])('is taken from %s', async (_what, headers, expected) => {
    const { http, route } = httpOf()
    const outcome = await http.check(route, { headers })
    expect(outcome.decision?.traceId).toMatch(expected)
    if (typeof expected === 'string') expect(outcome.decision?.traceId).toBe(expected)
  })
})

describe('the last net', () => {
  it('reports a path that can neither act on a terminal nor fill it', () => {
    const error = vi.spyOn(console, 'error').mockImplementation(() => {})
    const { http } = httpOf()
    http.unmapped({}, `/\u009b31m\u2028\u202e${'x'.repeat(100_000)}`)
    const [line = ''] = error.mock.calls[0] as [string]
    expect(line.length).toBeLessThan(1500)
    expect(line).not.toMatch(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/u)
    expect(line).toContain('\\u009b31m\\u2028\\u202e')
  })

  it('records its denial', () => {
    vi.spyOn(console, 'error').mockImplementation(() => {})
    const events: AuditEvent[] = []
    const guard = createGuard({ source: recordingSource(), audit: (event) => events.push(event) })
    httpOf({}, guard).http.unmapped({}, '/x')
    expect(events).toMatchObject([{ code: 'unmapped', allowed: false }])
  })
})

describe('a refusal', () => {
  it.each([
    [undefined, 'json'],
    ['*/*', 'json'],
    ['application/json', 'json'],
    ['application/problem+json', 'problem'],
    ['Application/Problem+JSON', 'problem'],
    ['application/problem+json, */*', 'problem'],
    ['application/problem+json;q=0.9, */*;q=0.8', 'problem'],
    ['application/problem+json;q=0.1, */*', 'json'],
    ['application/problem+json;q=0.1, application/*', 'json'],
    ['application/problem+json;q=0.5, application/json;q=0.4, */*', 'problem'],
    ['application/problem+json;q=0', 'json'],
    ['application/problem+json;q=x', 'json'],
    [`${'a/b,'.repeat(100_000)}application/problem+json`, 'json'],
  ])('to who accepts %s is of the type that is preferred (RFC 9110, 12.5.1)', async (accept, kind) => {
    const { http, route } = httpOf({}, createTestGuard())
    const { headers, body } = refusal(await http.check(route, { headers: accept === undefined ? {} : { accept } }))
    expect(headers['content-type']).toContain(kind === 'problem' ? 'application/problem+json' : 'application/json')
    expect('title' in JSON.parse(body)).toBe(kind === 'problem')
  })
})

it('a route in bypass mode is said on the console once, when it is declared', () => {
  const warn = vi.spyOn(console, 'warn').mockImplementation(() => {})
  readOwnCheck('read:dev', { mode: 'bypass' })
  readOwnCheck('read:new', { mode: 'audit' })
  expect(warn.mock.calls).toEqual([[expect.stringContaining('"read:dev" is in bypass mode')]])
})

it('an outcome names the agent that the source made of the token, refused or let through', async () => {
  const found = { id: 'agent_found', trustTier: 'trusted', tags: ['a'] }
  for (const answer of [{ allowed: true, code: 'allowed' } as const, { allowed: false, code: 'denied' } as const]) {
    const source = { name: 'own', authenticates: true, decide: async () => ({ ...answer, agent: found }) }
    const { http, route } = httpOf({}, createGuard({ source }))
    expect((await http.check(route, {})).agent).toBe(found)
  }
})
