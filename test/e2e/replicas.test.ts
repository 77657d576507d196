/** Gateways as processes, on one PostgreSQL. */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type OwnServer, startPostgres } from '../postgres/server.js'
import { build } from './build.js'
import { stop } from './process.js'
import { ADMIN_TOKEN, type Served, serve } from './serve.js'

const MINUTES_10 = 600_000
/** Requests that are spread over the gateways: `MESHGUARD_RUNS=10000` for many. */
const REQUESTS = Math.min(10_000, Number(process.env['MESHGUARD_RUNS'] ?? 2000))
/** What is changed at one gateway is in force at all of them after this. */
const SECOND = { timeout: 1000, interval: 20 }
/** A database that is back is used after this. */
const FIVE_SECONDS = { timeout: 5000, interval: 50 }

let folder: string
let server: OwnServer
let databaseUrl: string
/** The gateways, which go on from test to test. */
let targets: [Served, Served, Served]

beforeAll(async () => {
  await build()
  folder = await mkdtemp(join(tmpdir(), 'meshguard-replicas-'))
  server = await startPostgres()
  databaseUrl = await server.createDatabase()
  targets = await Promise.all([replica('a'), replica('b'), replica('c')])
}, MINUTES_10)
afterAll(async () => {
  await Promise.all(targets.map(({ running }) => stop(running)))
  await server.close()
  await rm(folder, { recursive: true, force: true })
})

function replica(name: string): Promise<Served> {
  const env = { DATABASE_URL: databaseUrl, SIGNING_KEY_FILE: join(folder, 'keys.json'), GATEWAY_ID: name }
  return serve(join(folder, name), env)
}

async function call({ url }: Served, method: string, path: string, body?: unknown, headers: Record<string, string> = {}) {
  const all = { 'x-admin-token': ADMIN_TOKEN, 'content-type': 'application/json', ...headers }
  const sent = body === undefined ? {} : { body: JSON.stringify(body) }
  const answer = await fetch(`${url}/admin${path}`, { method, headers: all, ...sent })
  const text = await answer.text()
  return { status: answer.status, etag: answer.headers.get('etag') ?? '', body: text === '' ? undefined : JSON.parse(text) }
}

const newAgent = ({ admin }: Served) => admin<{ id: string; token: string }>('/agents', { name: 'reader' })

/** How often each trace ID that begins so is in the log, as one gateway answers it. */
async function recorded({ admin }: Served, prefix: string): Promise<Map<string, number>> {
  const traces = new Map<string, number>()
  let cursor = ''
  do {
    const page = await admin<{ entries: { traceId: string }[]; nextCursor?: string }>(`/audit?limit=1000${cursor}`)
    for (const { traceId } of page.entries) {
      if (traceId.startsWith(prefix)) traces.set(traceId, (traces.get(traceId) ?? 0) + 1)
    }
    cursor = page.nextCursor === undefined ? '' : `&cursor=${encodeURIComponent(page.nextCursor)}`
  } while (cursor !== '')
  return traces
}

/** Asks until it is told to stop; every fourth check is one that must be denied. Answers the trace IDs of what was answered. */
function load(targets: readonly Served[], token: string, prefix: string) {
  const answered: string[] = []
  const wrong: string[] = []
  let isOver = false
  const workers = Array.from({ length: 12 }, async (_, worker) => {
    for (let nr = 0; !isOver; nr++) {
      const traceId = `${prefix}-${worker}-${nr}`
      const isDenied = nr % 4 === 0
      const target = targets[(worker + nr) % targets.length] as Served
      const status = await target.check(token, isDenied ? 'write:x' : 'read:x', traceId).catch(() => undefined)
      if (status === undefined) await new Promise((resolve) => setTimeout(resolve, 5))
      else if (status === (isDenied ? 403 : 200)) answered.push(traceId)
      else if (status !== 503) wrong.push(`${traceId}: ${status}`)
    }
  })
  const end = async () => {
    isOver = true
    await Promise.all(workers)
  }
  return { answered, wrong, end }
}

describe('what is changed at one of three gateways', () => {
  it('is in force at all of them within a second: an agent that was revoked, a policy, a token, a delegation', async () => {
    const [a, b, c] = targets
    const [agent, other] = [await newAgent(a), await newAgent(b)]
    const everywhere = (token: string, action: string) => Promise.all([a, b, c].map((one) => one.check(token, action)))
    expect(await everywhere(agent.token, 'read:x')).toEqual([200, 200, 200])
    expect(await everywhere(other.token, 'write:x')).toEqual([403, 403, 403])

    expect((await call(b, 'DELETE', `/agents/${agent.id}`)).status).toBe(200)
    await expect.poll(() => everywhere(agent.token, 'read:x'), SECOND).toEqual([401, 401, 401])

    const writers = { name: 'writers', rules: [{ effect: 'allow', actions: ['write:*'] }] }
    expect((await call(c, 'PUT', '/policies/writers', writers)).status).toBe(201)
    await expect.poll(() => everywhere(other.token, 'write:x'), SECOND).toEqual([200, 200, 200])
    expect((await call(a, 'DELETE', '/policies/writers')).status).toBe(204)
    await expect.poll(() => everywhere(other.token, 'write:x'), SECOND).toEqual([403, 403, 403])

    const service = await a.admin<{ id: string; token: string }>('/tokens', { name: 'reader', scopes: ['audit:read'] })
    const reads = async ({ url }: Served) =>
      (await fetch(`${url}/admin/audit`, { headers: { authorization: `Bearer ${service.token}` } })).status
    expect(await Promise.all([a, b, c].map(reads))).toEqual([200, 200, 200])
    await call(b, 'DELETE', `/tokens/${service.id}`)
    expect(await Promise.all([a, b, c].map(reads))).toEqual([401, 401, 401])

    const third = await newAgent(c)
    const hop = { from: other.id, to: third.id, actions: ['read:*'], expiresIn: '1h' }
    const delegation = await c.admin<{ id: string; token: string }>('/delegations', hop)
    expect(await everywhere(delegation.token, 'read:x')).toEqual([200, 200, 200])
    await call(a, 'DELETE', `/delegations/${delegation.id}`)
    expect(await everywhere(delegation.token, 'read:x')).toEqual([401, 401, 401])
  }, 60_000)

  it('is answered at once by the others: of two operators who edit one policy one gets 412', async () => {
    const [a, b, c] = targets
    const policy = (n: number) => ({ name: 'shared', description: `edit ${n}`, rules: [{ effect: 'allow', actions: ['x:y'] }] })
    await call(a, 'PUT', '/policies/shared', policy(0))
    for (let n = 1; n <= 6; n++) {
      const { etag } = await call(c, 'GET', '/policies/shared')
      const edits = [a, b].map((one, i) => call(one, 'PUT', '/policies/shared', policy(2 * n + i), { 'if-match': etag }))
      const statuses = (await Promise.all(edits)).map(({ status }) => status)
      expect(statuses.sort()).toEqual([200, 412])
    }
  }, 60_000)

  it('is seen by whoever follows the log of another one', async () => {
    const [a, b] = targets
    const { token } = await newAgent(a)
    const following = new AbortController()
    const headers = { 'x-admin-token': ADMIN_TOKEN }
    const stream = await fetch(`${b.url}/admin/audit/stream`, { headers, signal: following.signal })
    let text = ''
    const reading = (async () => {
      for await (const bytes of stream.body ?? []) text += new TextDecoder().decode(bytes)
    })().catch(() => undefined)
    await a.check(token, 'read:x', 'followed-at-another-gateway')
    await expect.poll(() => text, { timeout: 10_000 }).toContain('followed-at-another-gateway')
    following.abort()
    await reading
  }, 60_000)
})

describe('requests that are spread over three gateways', () => {
  it(
    `give one complete audit that verifies at each of them, after ${REQUESTS} of them`,
    async () => {
      const { token } = await newAgent(targets[0])
      let next = 0
      const workers = Array.from({ length: 24 }, async () => {
        for (let nr = next++; nr < REQUESTS; nr = next++) {
          const isDenied = nr % 10 === 0
          const status = await (targets[nr % 3] as Served).check(token, isDenied ? 'write:x' : 'read:x', `spread-${nr}`)
          expect(status).toBe(isDenied ? 403 : 200)
        }
      })
      await Promise.all(workers)
      const traces = await recorded(targets[1], 'spread-')
      expect([traces.size, [...traces.values()].filter((count) => count !== 1)]).toEqual([REQUESTS, []])
      const found = await Promise.all(targets.map(({ admin }) => admin<{ valid: boolean; entries: number }>('/audit/verify')))
      expect(found.filter(({ valid, entries }) => !valid || entries < REQUESTS)).toEqual([])
    },
    MINUTES_10,
  )
})

describe('what three gateways count and keep together', () => {
  it('is one rate limit: of 40 requests at all of them as many are allowed as the policy says', async () => {
    const { token } = await newAgent(targets[0])
    const limited = {
      name: 'limited',
      rules: [{ effect: 'allow', actions: ['send:sms'], rateLimit: { requests: 10, per: '1h' } }],
    }
    await call(targets[0], 'PUT', '/policies/limited', limited)
    const knows = async ({ admin }: Served) =>
      (await admin<{ policies: { name: string }[] }>('/policies')).policies.some(({ name }) => name === 'limited')
    expect(await Promise.all(targets.map(knows))).toEqual([true, true, true])
    const asked = Array.from({ length: 40 }, (_, nr) => (targets[nr % 3] as Served).check(token, 'send:sms'))
    const statuses = await Promise.all(asked)
    expect([200, 429].map((status) => statuses.filter((one) => one === status).length)).toEqual([10, 30])
  }, 60_000)

  it('is every shipped entry once, to however many of them it is shipped at the same time', async () => {
    const { token } = await targets[0].admin<{ token: string }>('/tokens', { name: 'shipper', scopes: ['audit:write'] })
    const entries = Array.from({ length: 60 }, (_, nr) => ({
      id: `shipped-${nr}`,
      timestamp: new Date().toISOString(),
      traceId: `shipped-trace-${nr}`,
      action: 'read:x',
      decision: 'allow',
      code: 'allowed',
      mode: 'enforce',
      source: 'policies',
    }))
    const headers = { authorization: `Bearer ${token}`, 'content-type': 'application/json' }
    const ship = async ({ url }: Served) => {
      for (;;) {
        const answer = await fetch(`${url}/v1/audit`, { method: 'POST', headers, body: JSON.stringify({ entries }) })
        if (answer.status !== 503) return answer.status
        await answer.arrayBuffer()
      }
    }
    expect(await Promise.all([...targets, ...targets].map(ship))).toEqual(Array(6).fill(202))
    const traces = await recorded(targets[2], 'shipped-trace-')
    expect([traces.size, [...traces.values()].filter((count) => count !== 1)]).toEqual([60, []])
    expect(await targets[1].admin('/audit/verify')).toMatchObject({ valid: true })
  }, 60_000)
})

describe('one of three gateways that is killed under load', () => {
  it('has lost nothing that it answered, the others go on, and its chain is taken on by the next start', async () => {
    const { token } = await newAgent(targets[0])
    const { answered, wrong, end } = load(targets, token, 'killed')
    await expect.poll(() => answered.length, { timeout: 20_000 }).toBeGreaterThan(200)
    targets[1].running.child.kill('SIGKILL')
    await targets[1].running.ended
    const before = answered.length
    await expect.poll(() => answered.length, { timeout: 20_000 }).toBeGreaterThan(before + 100)
    await end()
    expect(wrong).toEqual([])
    const traces = await recorded(targets[0], 'killed-')
    expect(answered.filter((traceId) => traces.get(traceId) !== 1)).toEqual([])
    expect(await targets[2].admin('/audit/verify')).toMatchObject({ valid: true })
    const again = await replica('b')
    targets[1] = again
    expect(await again.check(token, 'read:x')).toBe(200)
    expect(await again.admin('/audit/verify')).toMatchObject({ valid: true })
  }, 60_000)

  it('does not start under the name of one that runs', async () => {
    await expect(replica('b')).rejects.toThrow(/GATEWAY_ID: another gateway writes "gateway-b"/)
  }, 60_000)
})

describe('a database that is restarted under load', () => {
  it.each(['SIGINT', 'SIGQUIT'] as const)(
    'on %s has no wrong answer given, everything that was answered in the log, and is used again within 5 s',
    async (signal) => {
      const { id, token } = await newAgent(targets[0])
      const { answered, wrong, end } = load(targets, token, signal)
      await expect.poll(() => answered.length, { timeout: 20_000 }).toBeGreaterThan(100)
      await server.stop(signal)
      expect(await targets[0].check(token, 'read:x')).toBe(503)
      expect((await fetch(`${targets[1].url}/health`)).status).toBe(503)
      await server.start()
      const serves = () => Promise.all(targets.map((one) => one.check(token, 'read:x')))
      await expect.poll(serves, FIVE_SECONDS).toEqual([200, 200, 200])
      const before = answered.length
      await expect.poll(() => answered.length, { timeout: 20_000 }).toBeGreaterThan(before + 50)
      await end()
      expect(wrong).toEqual([])
      const traces = await recorded(targets[2], signal)
      expect(answered.filter((traceId) => traces.get(traceId) !== 1)).toEqual([])
      expect(await targets[1].admin('/audit/verify')).toMatchObject({ valid: true })
      await call(targets[0], 'DELETE', `/agents/${id}`)
      await expect.poll(serves, SECOND).toEqual([401, 401, 401])
    },
    60_000,
  )
})
