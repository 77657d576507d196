import { type AuditEvent, type BundleSource, createGuard, fromBundle, fromGateway, UnavailableError } from '@meshguard/core'
import { createGuardian, type Guardian, type GuardianOptions } from '@meshguard/gateway/guardian'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { startGateway, type World, type WorldAgent } from './gateway-world.js'

const POLICIES = [
  {
    name: 'readers',
    rules: [
      { effect: 'deny', actions: ['read:secrets'], reason: 'Secrets are not for agents' },
      { effect: 'allow', actions: ['read:*'] },
      {
        effect: 'allow',
        actions: ['write:*'],
        conditions: { resource: { startsWith: 'contacts/' }, 'context.amount': { lte: 10 } },
      },
    ],
  },
  { name: 'slow', rules: [{ effect: 'allow', actions: ['send:email'], rateLimit: { requests: 1, per: '1h' } }] },
]

let world: World
let service: string
let agent: WorldAgent
let other: WorldAgent
const open: Guardian[] = []

beforeAll(async () => {
  world = await startGateway({ policies: POLICIES })
  service = await world.createService('bundle', 'audit:write')
  agent = await world.createAgent({ id: 'agent', trustTier: 'trusted' })
  other = await world.createAgent({ id: 'other' })
})
afterEach(() => Promise.all(open.splice(0).map((one) => one.close())))
afterAll(() => world.close())

interface Started {
  readonly url: string
  readonly source: BundleSource
  readonly events: AuditEvent[]
  post(path: string, body: unknown, token?: string, headers?: Record<string, string>): Promise<Response>
}

async function start(options: Partial<GuardianOptions> = {}): Promise<Started> {
  const jwks = `${world.url}/.well-known/jwks.json`
  const quiet = { onReload: () => {}, onError: () => {} }
  const source = options.source ?? fromBundle({ url: world.url, token: service, jwks, ...quiet })
  if (options.source === undefined) await source.refresh()
  const events: AuditEvent[] = []
  const guardian = createGuardian({ audit: { record: (event) => void events.push(event) }, ...options, source })
  open.push(guardian)
  const { url } = await guardian.listen(0, '127.0.0.1')
  return {
    url,
    source,
    events,
    post: (path, body, token, headers = {}) =>
      fetch(url + path, {
        method: 'POST',
        headers: {
          'content-type': 'application/json',
          ...(token !== undefined && { authorization: `Bearer ${token}` }),
          ...headers,
        },
        body: JSON.stringify(body),
      }),
  }
}

const check = (url: string, action: string | undefined, token?: string, headers: Record<string, string> = {}) =>
  fetch(`${url}/proxy/check`, {
    headers: {
      ...(action !== undefined && { 'x-meshguard-action': action }),
      ...(token !== undefined && { authorization: `Bearer ${token}` }),
      ...headers,
    },
  })

describe('POST /enforce', () => {
  it('answers the decision, who made it, by which bundle and how long it took', async () => {
    const { post, source, events } = await start()
    const allowed = await post('/enforce', { action: 'read:contacts' }, agent.token)
    expect(allowed.status).toBe(200)
    const version = source.bundle?.version
    expect(await allowed.json()).toEqual({
      decision: 'allow',
      code: 'allowed',
      policy: 'readers',
      rule: 'allow read:*',
      traceId: allowed.headers.get('x-meshguard-trace-id'),
      latencyMs: expect.any(Number),
      bundleVersion: version,
      mode: 'enforce',
    })
    const denied = await post('/enforce', { action: 'read:secrets' }, agent.token)
    expect([denied.status, await denied.json()]).toEqual([
      200,
      expect.objectContaining({
        decision: 'deny',
        code: 'denied',
        reason: 'Secrets are not for agents',
        bundleVersion: version,
      }),
    ])
    const unknown = await (await post('/enforce', { action: 'fly:moon' }, agent.token)).json()
    expect(unknown).toMatchObject({ decision: 'deny', code: 'no_match', policy: null, rule: null })
    expect(events).toMatchObject([
      { decision: 'allow', agentId: 'agent', source: 'bundle', claimed: true, agent: { trustTier: 'trusted' } },
      { decision: 'deny', rule: 'deny read:secrets' },
      { code: 'no_match', claimed: true },
    ])
  })

  it('reads resource and context, and counts rate limits here', async () => {
    const { post } = await start()
    const write = async (resource: string, amount: unknown) =>
      (await (await post('/enforce', { action: 'write:x', resource, context: { amount } }, agent.token)).json()).decision
    expect([await write('contacts/1', 5), await write('contacts/1', 11), await write('orders/1', 5)]).toEqual([
      'allow',
      'deny',
      'deny',
    ])
    const send = async () => (await post('/enforce', { action: 'send:email' }, other.token)).json()
    expect(await send()).toMatchObject({ decision: 'allow' })
    expect(await send()).toMatchObject({ decision: 'deny', code: 'rate_limited', retryAfter: expect.any(Number) })
  })

  it('is refused with its status, and never an allow, without a good token, an action or a body that is one', async () => {
    const { post, events } = await start()
    for (const token of [undefined, 'x', service, `${agent.token}x`]) {
      const answer = await post('/enforce', { action: 'read:contacts', agentId: 'agent' }, token)
      expect([token, answer.status, (await answer.json()).error]).toEqual([token, 401, 'unauthorized'])
    }
    expect(events.map((event) => 'code' in event && event.code)).toEqual(Array(4).fill('unauthenticated'))
    expect((await post('/enforce', { action: 'contacts' }, agent.token)).status).toBe(400)
    for (const body of [
      {},
      [],
      null,
      { action: 1 },
      { action: 'a:b', agent_id: 'x' },
      { action: 'a:b', context: { __proto__x: 1, constructor: 1 } },
    ]) {
      expect([body, (await post('/enforce', body, agent.token)).status]).toEqual([body, 400])
    }
    expect((await post('/enforce', { action: 'a:b' }, agent.token, { 'content-type': 'text/plain' })).status).toBe(415)
    expect((await post('/enforce', { action: 'a:b', context: { a: 'x'.repeat(70_000) } }, agent.token)).status).toBe(413)
    const { url } = await start()
    expect((await fetch(`${url}/enforce`)).status).toBe(405)
    expect((await fetch(`${url}/admin/agents`)).status).toBe(404)
  })

  it('takes agentId for a claim that the token has to prove', async () => {
    const { post, events } = await start()
    const ask = async (agentId: string, token: string) => (await post('/enforce', { action: 'read:x', agentId }, token)).status
    expect(await ask('agent', agent.token)).toBe(200)
    expect(await ask('other', agent.token)).toBe(401)
    expect(await ask('agent', other.token)).toBe(401)
    expect(await ask('other', other.token)).toBe(200)
    expect(
      events.filter((event) => 'allowed' in event && event.allowed).map((event) => 'agentId' in event && event.agentId),
    ).toEqual(['agent', 'other'])
  })
})

it('holds agentId against the token also when that could not be verified at first', async () => {
  const good = fromBundle({ url: world.url, token: service, jwks: `${world.url}/.well-known/jwks.json` })
  await good.refresh()
  const explain = async () => {
    throw new UnavailableError('There is no bundle yet')
  }
  const decideMany = (...asked: Parameters<NonNullable<BundleSource['decideMany']>>) => good.decideMany?.(...asked) ?? []
  const source: BundleSource = { ...good, decide: good.decide, decideMany, explain }
  const { post } = await start({ source })
  expect((await post('/enforce', { action: 'read:x', agentId: 'agent' }, agent.token)).status).toBe(200)
  expect((await post('/enforce', { action: 'read:x', agentId: 'other' }, agent.token)).status).toBe(401)
})

describe('the agent beside a guardian', () => {
  it('needs no token of its own; one that a request brings counts instead, also if it is bad', async () => {
    let own: string | undefined = agent.token
    const { post, url, events } = await start({ ownToken: () => own })
    expect(await (await post('/enforce', { action: 'read:x' })).json()).toMatchObject({ decision: 'allow' })
    expect((await post('/enforce', { action: 'read:x', agentId: 'agent' })).status).toBe(200)
    expect((await post('/enforce', { action: 'read:x', agentId: 'other' })).status).toBe(401)
    expect((await check(url, 'read:x', other.token)).headers.get('x-meshguard-agent-id')).toBe('other')
    expect((await check(url, 'read:x', 'bad')).status).toBe(401)
    expect((await check(url, 'read:x', undefined, { authorization: 'Basic x' })).status).toBe(401)
    expect(events[0]).toMatchObject({ agentId: 'agent' })
    expect(events.every((event) => 'claimed' in event && event.claimed === true)).toBe(true)
    own = undefined
    expect((await check(url, 'read:x')).status).toBe(401)
  })

  it('is not whoever comes under another name of the machine, as a page in a browser would', async () => {
    const { url } = await start({ ownToken: () => agent.token })
    const { request } = await import('node:http')
    const status = (host: string) =>
      new Promise((resolve, reject) => {
        const headers = { host, 'x-meshguard-action': 'read:x' }
        request(`${url}/proxy/check`, { headers }, (answer) => resolve(answer.resume().statusCode))
          .on('error', reject)
          .end()
      })
    for (const host of ['localhost:4000', '127.0.0.1', '[::1]:4000', 'LOCALHOST'])
      expect([host, await status(host)]).toEqual([host, 200])
    for (const host of ['evil.example:4000', 'localhost.evil.example', '192.0.2.1', '127.0.0.1.evil.example']) {
      expect([host, await status(host)]).toEqual([host, 401])
    }
  })
})

describe('POST /enforce/batch', () => {
  it('answers in order, on one bundle, and whether all are allowed', async () => {
    const { post, source, events } = await start()
    const checks = [
      { action: 'read:a' },
      { action: 'read:secrets' },
      { action: 'nonsense' },
      { action: 'read:b', agentId: 'other' },
    ]
    const mixed = await (await post('/enforce/batch', { checks }, agent.token)).json()
    expect(mixed.results.map(({ decision, code }: { decision: string; code: string }) => `${decision} ${code}`)).toEqual([
      'allow allowed',
      'deny denied',
      'deny invalid_action',
      'deny unauthenticated',
    ])
    expect(mixed).toMatchObject({ allAllowed: false, bundleVersion: source.bundle?.version, mode: 'enforce' })
    expect(events).toHaveLength(4)
    const late = await post('/enforce/batch', { checks: [{ action: 'nonsense' }, { action: 'read:a' }] }, agent.token)
    expect([late.status, (await late.json()).results.map(({ code }: { code: string }) => code)]).toEqual([
      200,
      ['invalid_action', 'allowed'],
    ])
    const fine = await post('/enforce/batch', { checks: [{ action: 'read:a' }, { action: 'read:b' }] }, agent.token)
    expect(await fine.json()).toMatchObject({ allAllowed: true })
  })

  it('is refused as a whole where nothing could be decided, and for none or too many', async () => {
    const { post } = await start()
    const checks = [{ action: 'read:a' }, { action: 'read:b' }]
    expect((await post('/enforce/batch', { checks }, 'bad')).status).toBe(401)
    expect((await post('/enforce/batch', { checks })).status).toBe(401)
    for (const many of [[], Array(65).fill(checks[0])])
      expect((await post('/enforce/batch', { checks: many }, agent.token)).status).toBe(400)
  })
})

describe('GET /proxy/check', () => {
  it('is what fromGateway and the SDK ask, as of a gateway, and decides as the gateway does', async () => {
    const { url } = await start()
    const [here, there] = [url, world.url].map((base) => createGuard({ source: fromGateway({ url: base }) }))
    const questions = ['read:contacts', 'read:secrets', 'write:x', 'fly:moon', 'admin', 'read:*']
    for (const action of questions) {
      for (const token of [agent.token, other.token, 'bad', undefined]) {
        const [one, two] = await Promise.all(
          [here, there].map((guard) => (guard as typeof guard & {}).check(action, { token })),
        )
        const seen = (decision: typeof one) => [
          decision?.allowed,
          decision?.code,
          decision?.policy,
          decision?.rule,
          decision?.reason,
        ]
        expect([action, ...seen(one)]).toEqual([action, ...seen(two)])
      }
    }
    await Promise.all([here, there].map((guard) => guard?.close()))
  })

  it('answers 400 without an action or for another spelling of the path, 400 and 401 for control headers sent twice', async () => {
    const { url } = await start()
    expect((await check(url, undefined, agent.token)).status).toBe(400)
    expect((await fetch(`${url}/proxy/check?x`, { headers: { 'x-meshguard-action': 'read:x' } })).status).toBe(400)
    const { request } = await import('node:http')
    const status = (headers: string[]) =>
      new Promise((resolve, reject) => {
        const { port } = new URL(url)
        request({ port, path: '/proxy/check', headers: ['host', 'localhost', ...headers] }, (answer) =>
          resolve(answer.resume().statusCode),
        )
          .on('error', reject)
          .end()
      })
    expect(await status(['x-meshguard-action', 'read:x', 'X-MeshGuard_Action', 'read:y'])).toBe(400)
    expect(await status(['x-meshguard-action', 'read:x', 'authorization', 'Bearer a', 'authorization', 'Bearer b'])).toBe(401)
  })
})

describe('modes and bundles', () => {
  it('audit mode lets agents go on and says what the policies say', async () => {
    const { post, url, events } = await start({ mode: 'audit' })
    expect(await (await post('/enforce', { action: 'read:secrets' }, agent.token)).json()).toMatchObject({
      decision: 'allow',
      audit: 'deny',
      code: 'denied',
      mode: 'audit',
    })
    const checked = await check(url, 'read:secrets', agent.token)
    expect([checked.status, checked.headers.get('x-meshguard-audit')]).toEqual([200, 'deny'])
    expect((await post('/enforce', { action: 'read:x' }, 'bad')).status).toBe(401)
    expect(events[0]).toMatchObject({ allowed: true, decision: 'deny', enforced: false })
  })

  it('decides by the next bundle once an agent is revoked or changed, or a policy is', async () => {
    const { post, source } = await start()
    const one = await world.createAgent()
    const ask = async () => (await post('/enforce', { action: 'drive:car' }, one.token)).json()
    expect(await ask()).toMatchObject({ code: 'no_match' })
    const rules = [{ effect: 'allow', actions: ['drive:car'] }]
    await world.admin('PUT', '/admin/policies/drivers', { name: 'drivers', appliesTo: { trustTiers: ['privileged'] }, rules })
    await source.refresh()
    expect(await ask()).toMatchObject({ decision: 'deny' })
    await world.admin('PATCH', `/admin/agents/${one.id}`, { trustTier: 'privileged' })
    await source.refresh()
    expect(await ask()).toMatchObject({ decision: 'allow' })
    await world.admin('DELETE', `/admin/agents/${one.id}`)
    await source.refresh()
    expect((await post('/enforce', { action: 'drive:car' }, one.token)).status).toBe(401)
    await world.admin('DELETE', '/admin/policies/drivers')
  })

  it('without a good bundle every question is answered 503, and /health says so', async () => {
    const quiet = { onReload: () => {}, onError: () => {} }
    const load = async () => {
      throw new Error('There is none')
    }
    const source = fromBundle({ load, jwks: world.services.keys.published(), ...quiet })
    const { post, url } = await start({ source })
    const statuses = [
      await post('/enforce', { action: 'read:x' }, agent.token),
      await post('/enforce', { action: 'read:x', agentId: 'agent' }, agent.token),
      await post('/enforce/batch', { checks: [{ action: 'read:x' }] }, agent.token),
      await check(url, 'read:x', agent.token),
      await fetch(`${url}/health`),
    ].map(({ status }) => status)
    expect(statuses).toEqual([503, 503, 503, 503, 503])
    const good = await start()
    const health = await fetch(`${good.url}/health`)
    expect([health.status, await health.json()]).toEqual([
      200,
      expect.objectContaining({
        status: 'healthy',
        mode: 'enforce',
        bundle: expect.objectContaining({ version: good.source.bundle?.version }),
      }),
    ])
    expect(await (await fetch(good.url)).json()).toMatchObject({ name: 'MeshGuard Guardian' })
  })
})
