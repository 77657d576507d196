import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { startGateway, type World } from './gateway-world.js'

type Body = Record<string, unknown>

let world: World

beforeAll(async () => {
  world = await startGateway()
})
afterAll(() => world.close())

async function json(response: Response, status = 200): Promise<Body> {
  const body = (await response.json()) as Body
  expect(response.status, JSON.stringify(body)).toBe(status)
  return body
}

const query = async (search: string) => (await json(await world.admin('GET', `/admin/audit${search}`)))['entries'] as Body[]

function check(token: string, action: string, headers: Record<string, string> = {}): Promise<Response> {
  return world.fetch('/proxy/check', {
    headers: { authorization: `Bearer ${token}`, 'x-meshguard-action': action, ...headers },
  })
}

const issuesOf = async (path: string) => (await json(await world.admin('GET', path), 400))['issues'] as { path: string }[]

describe('the audit log', () => {
  it('answers entries newest first, page by page, filtered by everything the protocol names', async () => {
    const { id, token } = await world.createAgent({ name: 'filtered' })
    for (const action of ['read:a', 'read:b', 'write:a', 'read:admin']) await check(token, action)
    const actions = async (search: string) => (await query(`?agentId=${id}${search}`)).map(({ action }) => action)
    expect(await actions('')).toEqual(['read:admin', 'write:a', 'read:b', 'read:a'])
    expect(await actions('&decision=deny')).toEqual(['read:admin', 'write:a'])
    expect(await actions('&action=read:*')).toEqual(['read:admin', 'read:b', 'read:a'])
    expect(await actions('&action=write:a')).toEqual(['write:a'])
    expect(await actions('&policy=test&limit=2')).toEqual(['read:admin', 'read:b'])
    expect(await actions('&to=2020-01-01')).toEqual([])
    expect(await actions('&from=2020-01-01T00:00:00%2B02:00&limit=1')).toEqual(['read:admin'])
    const first = await json(await world.admin('GET', `/admin/audit?agentId=${id}&limit=3`))
    const rest = await query(`?agentId=${id}&limit=3&cursor=${encodeURIComponent(first['nextCursor'] as string)}`)
    expect(rest.map(({ action }) => action)).toEqual(['read:a'])
    expect((await query(`?agentId=${id}&limit=1`))[0]).toMatchObject({
      id: expect.any(String),
      timestamp: expect.stringMatching(/Z$/),
      agentName: 'filtered',
      trustTier: 'verified',
      decision: 'deny',
      code: 'denied',
      policy: 'test',
      rule: 'deny *:admin',
      mode: 'enforce',
    })
  })

  it.each([
    ['?decison=deny', 'decison'],
    ['?decision=denied', 'decision'],
    ['?action=read', 'action'],
    ['?from=yesterday', 'from'],
    ['?limit=1001', 'limit'],
    ['?traceId=x', 'traceId'],
    ['?cursor=x', 'cursor'],
    ['?agentId=..%2F', 'agentId'],
    ['/stats?period=soon', 'period'],
    ['/export?format=xml', 'format'],
    ['/stream?from=2020-01-01', 'from'],
    ['/traces/x', ''],
  ])('refuses %s, naming %s', async (search, path) => {
    expect((await issuesOf(`/admin/audit${search}`)).map((issue) => issue.path)).toEqual([path])
  })

  it('answers the entries of a trace in the order in which they were made', async () => {
    const { token } = await world.createAgent()
    const traceId = 'trace:of.three-checks'
    for (const action of ['read:1', 'read:2', 'read:3']) await check(token, action, { 'x-meshguard-trace-id': traceId })
    const { entries } = await json(await world.admin('GET', `/admin/audit/traces/${encodeURIComponent(traceId)}`))
    expect((entries as Body[]).map(({ action }) => action)).toEqual(['read:1', 'read:2', 'read:3'])
    expect(await json(await world.admin('GET', '/admin/audit/traces/nobody-knows'))).toEqual({ entries: [] })
    const path = `/admin/audit/traces/${encodeURIComponent(traceId)}?limit=2`
    const first = await json(await world.admin('GET', path))
    const cursor = encodeURIComponent(first['nextCursor'] as string)
    const rest = await json(await world.admin('GET', `${path}&cursor=${cursor}`))
    expect([first, rest].map((page) => (page['entries'] as Body[]).map(({ action }) => action))).toEqual([
      ['read:1', 'read:2'],
      ['read:3'],
    ])
    expect(rest['nextCursor']).toBeUndefined()
  })

  it('counts decisions, and not what operators do', async () => {
    const stats = () => world.admin('GET', '/admin/audit/stats?period=1h').then((answer) => json(answer))
    const before = (await stats()) as { allowed: number; denied: number; total: number }
    const { token } = await world.createAgent()
    for (let i = 0; i < 5; i++) await check(token, 'delete:everything')
    await check(token, 'read:a')
    const { id } = await json(await world.admin('POST', '/admin/agents', { name: 'uncounted' }), 201)
    await world.admin('DELETE', `/admin/agents/${id}`)
    const after = await stats()
    expect(after).toMatchObject({
      period: '1h',
      allowed: before.allowed + 1,
      denied: before.denied + 5,
      total: before.total + 6,
    })
    expect((after['topDenied'] as Body[])[0]).toEqual({ action: 'delete:everything', count: 5 })
    expect(await json(await world.admin('GET', '/admin/audit/stats'))).toMatchObject({ period: '24h' })
  })

  it('verifies, the changes of operators included', async () => {
    const verified = await json(await world.admin('GET', '/admin/audit/verify'))
    expect(verified).toEqual({ valid: true, entries: expect.any(Number) })
    expect(verified['entries']).toBeGreaterThan(10)
  })
})

describe('POST /v1/audit', () => {
  const entry = (more: object = {}) => ({
    id: crypto.randomUUID(),
    timestamp: '2026-01-31T12:00:00.000Z',
    traceId: crypto.randomUUID(),
    action: 'read:shipped',
    decision: 'allow',
    code: 'allowed',
    mode: 'enforce',
    source: 'policies',
    ...more,
  })

  let token: string
  beforeAll(async () => {
    token = await world.createService('audit:write')
  })

  const ship = (body: unknown, bearer = token) =>
    world.fetch('/v1/audit', {
      method: 'POST',
      headers: { authorization: `Bearer ${bearer}`, 'content-type': 'application/json' },
      body: typeof body === 'string' ? body : JSON.stringify(body),
    })

  it('keeps entries once, says how many were new, and who wrote them, and marks agents that nobody knows', async () => {
    const { id: agentId } = await world.createAgent()
    const entries = [entry({ agentId, writer: 'forged', own: { kept: true } }), entry({ agentId: 'agent_elsewhere' })]
    expect(await json(await ship({ entries }), 202)).toEqual({ accepted: 2 })
    expect(await json(await ship({ entries: [...entries, entry()] }), 202)).toEqual({ accepted: 1 })
    const kept = await query('?action=read:shipped')
    expect(kept).toHaveLength(3)
    const [known, unknown] = entries.map(({ id }) => kept.find((one) => one['id'] === id))
    expect(known).toMatchObject({
      agentId,
      own: { kept: true },
      timestamp: entries[0]?.timestamp,
      receivedAt: expect.any(String),
    })
    expect(known?.['writer']).not.toBe('forged')
    expect(known).not.toHaveProperty('unknownAgent')
    expect(unknown).toMatchObject({ agentId: 'agent_elsewhere', unknownAgent: true })
    expect(await json(await world.admin('GET', '/admin/audit/verify'))).toMatchObject({ valid: true })
  })

  it('keeps nothing of a batch that is wrong anywhere, and says where', async () => {
    const before = await query('?action=read:shipped&limit=1000')
    const bad: [object, string][] = [
      [{ id: 'x' }, 'entries.1.id'],
      [{ timestamp: 'now' }, 'entries.1.timestamp'],
      [{ traceId: 'a b' }, 'entries.1.traceId'],
      [{ decision: 'alow' }, 'entries.1.decision'],
      [{ code: 'administered' }, 'entries.1.code'],
      [{ action: undefined }, 'entries.1.action'],
      [{ operator: { name: 'admin token' } }, 'entries.1.operator'],
      [{ timestamp: new Date(Date.now() + 600_000).toISOString() }, 'entries.1.timestamp'],
      [{ timestamp: '9999-12-31T23:59:59Z' }, 'entries.1.timestamp'],
    ]
    for (const [more, path] of bad) {
      const { issues } = await json(await ship({ entries: [entry(), entry(more)] }), 400)
      expect((issues as { path: string }[]).map((issue) => issue.path)).toEqual([path])
    }
    await json(await ship({ entries: [entry()], entrys: [] }), 400)
    await json(await ship('null'), 400)
    await json(await ship('{"entries":'), 400)
    expect(await query('?action=read:shipped&limit=1000')).toEqual(before)
  })

  it('takes entries of a service whose clock is a little ahead', async () => {
    const timestamp = new Date(Date.now() + 240_000).toISOString()
    expect(await json(await ship({ entries: [entry({ timestamp, action: 'read:early' })] }), 202)).toEqual({ accepted: 1 })
  })

  it('takes 1000 entries, and 413s more of them or more than 1 MiB', async () => {
    const many = (count: number, more: object = {}) => ({
      entries: Array.from({ length: count }, () => entry({ action: 'read:many', ...more })),
    })
    expect(await json(await ship(many(1000)), 202)).toEqual({ accepted: 1000 })
    await json(await ship(many(1001)), 413)
    await json(await ship(many(600, { reason: 'r'.repeat(2000) })), 413)
    await json(await ship({ entries: [] }), 202)
  })

  it('is for services with the scope audit:write alone', async () => {
    const body = { entries: [entry()] }
    await json(await ship(body, await world.createService('audit:read', 'decide', 'bundle', 'admin')), 403)
    await json(await ship(body, (await world.createAgent()).token), 401)
    await json(await ship(body, world.adminToken), 401)
    await json(await world.admin('POST', '/v1/audit', body), 401)
  })
})
