/**
 * What the hosted product's clients send, header for header, and how they read the answers: the Python client on httpx, the
 * JavaScript client on fetch, the Go client on net/http. Written over plain sockets, so that nothing is added or left out.
 */
import { connect } from 'node:net'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { startGateway, type World } from '../gateway/gateway-world.js'
import { startUpstream, type Upstream } from '../gateway/upstream.js'

const POLICY = {
  name: 'agents',
  rules: [
    { effect: 'deny', actions: ['delete:database'], reason: 'Databases are for people' },
    { effect: 'deny', actions: ['delete:logs'] },
    { effect: 'allow', actions: ['export:reports'], rateLimit: { requests: 1, per: '1m' } },
    { effect: 'allow', actions: ['read:*', 'write:contacts', 'delete:contacts', 'write:email'] },
  ],
}
const PYTHON_TRACE = '0b9c9c6e-97b7-4d0c-8a0e-5e6f3c1d2a44'
const GO_TRACE = '1732545600123456789'

let upstream: Upstream
let world: World
let token: string

beforeAll(async () => {
  upstream = await startUpstream()
  world = await startGateway({ policies: [POLICY], proxy: { target: upstream.origin } })
  token = (await world.createAgent({ name: 'scout' })).token
})
afterAll(async () => {
  await world?.close()
  await upstream?.close()
})

interface Answer {
  readonly status: number
  readonly headers: Readonly<Record<string, string>>
  readonly text: string
  // biome-ignore lint/suspicious/noExplicitAny: what a dynamic language sees of it
  readonly json: any
}

type Lines = readonly (readonly [string, string])[]

/** Sends a request with exactly these headers, in this order. */
async function send(line: string, headers: Lines, body = ''): Promise<Answer> {
  const socket = connect(world.port, '127.0.0.1')
  socket.write([`${line} HTTP/1.1`, ...headers.map(([name, value]) => `${name}: ${value}`), '', body].join('\r\n'))
  let whole = ''
  for await (const chunk of socket.setEncoding('utf8')) whole += chunk
  const end = whole.indexOf('\r\n\r\n')
  const [status = '', ...lines] = whole.slice(0, end).split('\r\n')
  const read = Object.fromEntries(
    lines.map((one) => [one.slice(0, one.indexOf(':')).toLowerCase(), one.slice(one.indexOf(':') + 2)]),
  )
  const text = read['transfer-encoding'] === 'chunked' ? unchunk(whole.slice(end + 4)) : whole.slice(end + 4)
  const isJson = read['content-type']?.includes('json') === true && text !== ''
  return { status: Number(status.split(' ')[1]), headers: read, text, json: isJson ? JSON.parse(text) : undefined }
}

function unchunk(text: string): string {
  const [size = '0'] = text.split('\r\n', 1)
  const length = Number.parseInt(size, 16)
  const begin = size.length + 2
  return length === 0 ? '' : text.slice(begin, begin + length) + unchunk(text.slice(begin + length + 2))
}

const host = (): Lines => [['Host', `127.0.0.1:${world.port}`]]

/** What httpx puts before the headers of its caller. */
const httpx = (): Lines => [
  ...host(),
  ['Accept', '*/*'],
  ['Accept-Encoding', 'gzip, deflate'],
  ['Connection', 'close'],
  ['User-Agent', 'python-httpx/0.28.1'],
]
const pythonAgent = (...more: Lines): Lines => [
  ...httpx(),
  ['X-MeshGuard-Trace-ID', PYTHON_TRACE],
  ['Authorization', `Bearer ${token}`],
  ...more,
]
const pythonAdmin = (...more: Lines): Lines => [
  ...httpx(),
  ['X-Admin-Token', world.adminToken],
  ['X-MeshGuard-Trace-ID', PYTHON_TRACE],
  ...more,
]
const jsonBody = (body: string): Lines => [
  ['Content-Length', String(Buffer.byteLength(body))],
  ['Content-Type', 'application/json'],
]

/** What Node's fetch puts around the headers of its caller. */
const nodeFetch = (...more: Lines): Lines => [
  ...host(),
  ['connection', 'close'],
  ...more,
  ['accept', '*/*'],
  ['accept-language', '*'],
  ['sec-fetch-mode', 'cors'],
  ['user-agent', 'node'],
  ['accept-encoding', 'gzip, deflate'],
]

describe('the Python client', () => {
  it('check: an allowed action is a 200 that names the policy', async () => {
    const { status, json, headers } = await send('GET /proxy/check', pythonAgent(['X-MeshGuard-Action', 'read:contacts']))
    expect(status).toBe(200)
    expect(json).toMatchObject({
      allowed: true,
      decision: 'allow',
      action: 'read:contacts',
      policy: 'agents',
      rule: 'allow read:*',
    })
    expect(json.traceId).toBe(PYTHON_TRACE)
    expect(headers).toMatchObject({ 'x-meshguard-trace-id': PYTHON_TRACE, 'cache-control': 'no-store' })
  })

  it('check: a denied one is a 403 from which policy, rule and message are read', async () => {
    const lines = pythonAgent(['X-MeshGuard-Action', 'delete:database'], ['X-MeshGuard-Resource', 'db/main'])
    const { status, json } = await send('GET /proxy/check', lines)
    expect(status).toBe(403)
    // PolicyDecision(policy=data.get("policy"), rule=data.get("rule"), reason=data.get("message"))
    expect({ policy: json.policy, rule: json.rule, reason: json.message, action: json.action }).toEqual({
      policy: 'agents',
      rule: 'deny delete:database',
      reason: 'Databases are for people',
      action: 'delete:database',
    })
    expect(json).toMatchObject({ error: 'Forbidden', traceId: PYTHON_TRACE, resource: 'db/main' })
  })

  it('check: the message is readable where the author wrote no reason, and where no rule is there', async () => {
    const message = async (action: string) => {
      return (await send('GET /proxy/check', pythonAgent(['X-MeshGuard-Action', action]))).json.message
    }
    expect(await message('delete:logs')).toBe('Denied by rule: deny delete:logs')
    expect(await message('launch:rockets')).toMatch(/^[A-Z].+/)
  })

  it('401, 429 and 400 have the status that it looks at', async () => {
    const bad = httpx().concat([
      ['X-MeshGuard-Trace-ID', PYTHON_TRACE],
      ['Authorization', 'Bearer not.a.token'],
      ['X-MeshGuard-Action', 'read:contacts'],
    ])
    const refused = await send('GET /proxy/check', bad)
    expect([refused.status, refused.json.error, refused.json.message]).toEqual([
      401,
      'unauthorized',
      'Invalid or expired token',
    ])
    expect(refused.headers['www-authenticate']).toBe('Bearer realm="meshguard", error="invalid_token"')
    const report = () => send('GET /proxy/check', pythonAgent(['X-MeshGuard-Action', 'export:reports']))
    expect((await report()).status).toBe(200)
    const limited = await report()
    expect([limited.status, limited.json.error, limited.json.message]).toEqual([429, 'rate_limited', 'Rate limit exceeded'])
    expect(limited.json).toMatchObject({ code: 'rate_limited', retry_after: expect.any(Number), limit: '1 request per minute' })
    expect(Number(limited.headers['retry-after'])).toBe(limited.json.retry_after)
    expect((await send('GET /proxy/check', pythonAgent())).status).toBe(400)
  })

  it('request: GET, POST, PUT and DELETE go through /proxy/ with the declared action', async () => {
    const action = (value: string): Lines => [['X-MeshGuard-Action', value]]
    const body = '{"name":"Ada"}'
    for (const [line, more, sent] of [
      ['GET /proxy/api/contacts?limit=5', action('read:contacts'), ''],
      ['POST /proxy/api/contacts', [...jsonBody(body), ...action('write:email')], body],
      ['PUT /proxy/api/contacts/7', [...jsonBody(body), ...action('write:email')], body],
      ['DELETE /proxy/api/contacts/7', action('delete:contacts'), ''],
    ] as const) {
      const { status, json, headers } = await send(line, pythonAgent(...(more as Lines)), sent)
      expect([line, status, json]).toEqual([
        line,
        200,
        { method: line.split(' ')[0], url: line.split('/proxy')[1], body: sent },
      ])
      expect(headers).toMatchObject({ 'x-meshguard-origin': 'upstream', 'x-meshguard-trace-id': PYTHON_TRACE })
    }
    const forwarded = upstream.received.at(-1)?.headers ?? {}
    expect(forwarded).not.toHaveProperty('authorization')
    expect(forwarded).toMatchObject({ 'x-meshguard-agent-id': expect.any(String), 'x-meshguard-trace-id': PYTHON_TRACE })
  })

  it('request: a denial is a 403 with action, policy, rule and message', async () => {
    const { status, json } = await send('GET /proxy/api/contacts', pythonAgent(['X-MeshGuard-Action', 'delete:database']))
    expect(status).toBe(403)
    expect(json).toMatchObject({ action: 'delete:database', policy: 'agents', message: 'Databases are for people' })
  })

  it('health and is_healthy read the status', async () => {
    const { status, json } = await send('GET /health', httpx())
    expect([status, json.status]).toEqual([200, 'healthy'])
    expect(json).toMatchObject({ timestamp: expect.any(String), version: expect.any(String), mode: 'enforce' })
  })

  it('create_agent, list_agents and revoke_agent', async () => {
    const body = '{"name":"helper","trustTier":"trusted","tags":["sales"]}'
    const created = await send('POST /admin/agents', pythonAdmin(...jsonBody(body)), body)
    expect(created.status).toBe(201)
    expect(created.json).toMatchObject({
      id: expect.stringMatching(/^agent_/),
      name: 'helper',
      trustTier: 'trusted',
      tags: ['sales'],
    })
    expect(created.json.token).toMatch(/^[\w-]+\.[\w-]+\.[\w-]+$/)
    const listed = await send('GET /admin/agents', pythonAdmin())
    // Agent(id=a["id"], name=a["name"], trust_tier=a["trustTier"], tags=a.get("tags", []))
    expect(listed.json.agents).toContainEqual(
      expect.objectContaining({ id: created.json.id, name: 'helper', trustTier: 'trusted', tags: ['sales'] }),
    )
    const revoked = await send(`DELETE /admin/agents/${created.json.id}`, pythonAdmin())
    expect(revoked.status).toBeLessThan(300)
    const use = await send('GET /proxy/check', [
      ...httpx(),
      ['Authorization', `Bearer ${created.json.token}`],
      ['X-MeshGuard-Action', 'read:a'],
    ])
    expect(use.status).toBe(401)
  })

  it('list_policies and get_audit_log', async () => {
    const { json } = await send('GET /admin/policies', pythonAdmin())
    expect(json.policies).toMatchObject([{ name: 'agents', rules: expect.any(Array) }])
    await send('GET /proxy/check', pythonAgent(['X-MeshGuard-Action', 'delete:database']))
    const audit = await send('GET /admin/audit?limit=2&decision=deny', pythonAdmin())
    expect(audit.json.entries).toHaveLength(2)
    expect(audit.json.entries[0]).toMatchObject({
      timestamp: expect.stringMatching(/^\d{4}-\d\d-\d\dT/),
      traceId: PYTHON_TRACE,
      agentName: 'scout',
      action: 'delete:database',
      decision: 'deny',
      policy: 'agents',
    })
  })

  it('a wrong admin token is 401', async () => {
    const lines = [...httpx(), ['X-Admin-Token', 'wrong'], ['X-MeshGuard-Trace-ID', PYTHON_TRACE]] as Lines
    expect((await send('GET /admin/agents', lines)).status).toBe(401)
  })
})

describe('the JavaScript client', () => {
  const agent = (...more: Lines): Lines =>
    nodeFetch(['X-MeshGuard-Trace-ID', PYTHON_TRACE], ['Authorization', `Bearer ${token}`], ...more)

  it('check and request', async () => {
    expect((await send('GET /proxy/check', agent(['X-MeshGuard-Action', 'read:contacts']))).json).toMatchObject({
      policy: 'agents',
    })
    const denied = await send('GET /proxy/check', agent(['X-MeshGuard-Action', 'delete:database']))
    expect(denied.json).toMatchObject({ policy: 'agents', rule: 'deny delete:database', message: 'Databases are for people' })
    const body = '{"name":"Ada"}'
    const lines = agent(
      ['X-MeshGuard-Action', 'write:contacts'],
      ['content-type', 'text/plain;charset=UTF-8'],
      ['content-length', String(body.length)],
    )
    expect((await send('POST /proxy/api/contacts', lines, body)).json).toEqual({ method: 'POST', url: '/api/contacts', body })
  })

  it('createAgent and getAuditLog', async () => {
    const body = '{"name":"js","trustTier":"verified","tags":[]}'
    const admin = (...more: Lines) =>
      nodeFetch(['X-Admin-Token', world.adminToken], ['X-MeshGuard-Trace-ID', PYTHON_TRACE], ...more)
    const created = await send('POST /admin/agents', admin(...jsonBody(body)), body)
    expect([created.status, created.json.name, typeof created.json.token]).toEqual([201, 'js', 'string'])
    expect((await send('GET /admin/audit?limit=1', admin())).json.entries).toHaveLength(1)
    expect((await send('GET /api/v1/admin/agents', admin())).status).toBe(200)
  })
})

describe('the Go client', () => {
  const agent = (...more: Lines): Lines => [
    ...host(),
    ['User-Agent', 'meshguard-go/0.1.0'],
    ['Authorization', `Bearer ${token}`],
    ...more,
    ['X-Meshguard-Trace-Id', GO_TRACE],
    ['Accept-Encoding', 'gzip'],
    ['Connection', 'close'],
  ]

  it('check says who it is and what it means in headers of its own, which change nothing', async () => {
    const lines = agent(
      ['X-Meshguard-Action', 'delete:database'],
      ['X-Meshguard-Agent-Id', 'somebody-else'],
      ['X-Meshguard-Meta', '{"a":1}'],
    )
    const { status, json, headers } = await send('GET /proxy/check', lines)
    expect([status, json.message, headers['x-meshguard-trace-id']]).toEqual([403, 'Databases are for people', GO_TRACE])
    expect(headers['x-meshguard-agent-id']).not.toBe('somebody-else')
  })

  it('request declares no action', async () => {
    const { status, json } = await send('GET /proxy/api/contacts', agent())
    expect([status, json.url]).toEqual([200, '/api/contacts'])
    expect((await send('DELETE /proxy/database', agent())).json).toMatchObject({ action: 'delete:database' })
  })
})

describe('other headers that clients of the hosted product send', () => {
  it('an API key is accepted and ignored', async () => {
    const lines = pythonAdmin(['X-MeshGuard-API-Key', 'mg_live_key'])
    expect((await send('GET /admin/agents', lines)).status).toBe(200)
    const alone = [...httpx(), ['X-MeshGuard-API-Key', 'mg_live_key']] as Lines
    expect((await send('GET /admin/agents', alone)).status).toBe(401)
  })
})
