import { decodeJwt, decodeProtectedHeader } from 'jose'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { ADMIN_TOKEN, startGateway, type World } from './gateway-world.js'

type Body = Record<string, unknown>

let world: World
let now = Date.now()

beforeAll(async () => {
  world = await startGateway({
    clock: () => now,
    policies: [{ name: 'all', rules: [{ effect: 'allow', actions: ['read:*', 'write:*'] }] }],
  })
})
afterAll(() => world.close())

async function json(response: Response, status = 200): Promise<Body> {
  const body = (await response.json()) as Body
  expect(response.status, JSON.stringify(body)).toBe(status)
  return body
}

const check = async (token: string, action = 'read:contacts') =>
  (await world.fetch('/proxy/check', { headers: { authorization: `Bearer ${token}`, 'x-meshguard-action': action } })).status

const issuesOf = async (response: Response) => (await json(response, 400))['issues'] as { path: string; message: string }[]

describe('service tokens', () => {
  const decide = (token: string) =>
    world.fetch('/v1/checks', {
      method: 'POST',
      headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
      body: JSON.stringify({ checks: [{ action: 'read:x' }] }),
    })

  it('are shown once, kept as a hash, listed without the token, and work until they are deleted', async () => {
    const asked = { name: 'orders', scopes: ['decide', 'audit:write', 'decide'] }
    const made = await json(await world.admin('POST', '/admin/tokens', asked), 201)
    expect(made).toEqual({
      id: expect.stringMatching(/^service_/),
      name: 'orders',
      scopes: ['decide', 'audit:write'],
      token: expect.stringMatching(/^msvc_[\w-]{43}$/),
      createdAt: expect.any(String),
    })
    const { token, ...shown } = made as Body & { token: string }
    const list = await json(await world.admin('GET', '/admin/tokens'))
    expect(list['tokens']).toContainEqual(shown)
    expect(JSON.stringify([list, await world.services.store.tokens.list()])).not.toContain(token)
    const log = await json(await world.admin('GET', '/admin/audit?action=admin:tokens/*'))
    expect(JSON.stringify(log)).not.toContain(token)
    expect((await decide(token)).status).toBe(200)
    expect((await world.admin('DELETE', `/admin/tokens/${made['id']}`)).status).toBe(204)
    expect((await decide(token)).status).toBe(401)
    await json(await world.admin('DELETE', `/admin/tokens/${made['id']}`), 404)
  })

  it('expire', async () => {
    const asked = { name: 'short', scopes: ['decide'], expiresIn: '15m' }
    const { token, createdAt, expiresAt } = await json(await world.admin('POST', '/admin/tokens', asked), 201)
    expect(Date.parse(expiresAt as string) - Date.parse(createdAt as string)).toBe(900_000)
    expect((await decide(token as string)).status).toBe(200)
    now += 900_000
    expect((await decide(token as string)).status).toBe(401)
  })

  it.each([
    [{ scopes: ['decide'] }, 'name'],
    [{ name: 'x' }, 'scopes'],
    [{ name: 'x', scopes: [] }, 'scopes'],
    [{ name: 'x', scopes: ['audit:raed'] }, 'scopes.0'],
    [{ name: 'x', scopes: ['decide'], expiresIn: '4000d' }, 'expiresIn'],
    [{ name: 'x', scopes: ['decide'], expires: '1d' }, 'expires'],
  ])('are refused for %j, naming %s', async (body, path) => {
    expect((await issuesOf(await world.admin('POST', '/admin/tokens', body))).map((issue) => issue.path)).toEqual([path])
  })
})

describe('delegations', () => {
  const delegate = (from: string, to: string, more: object = {}) =>
    world.admin('POST', '/admin/delegations', { from, to, actions: ['read:*'], expiresIn: '1h', ...more })

  it('let one agent act for another, within their actions, as the token says', async () => {
    const [boss, helper] = [await world.createAgent(), await world.createAgent()]
    const made = await json(await delegate(boss.id, helper.id, { reason: 'holidays' }), 201)
    const { token, ...shown } = made as Body & { token: string }
    expect(shown).toEqual({
      id: expect.stringMatching(/^delegation_/),
      from: boss.id,
      to: helper.id,
      actions: ['read:*'],
      depth: 1,
      reason: 'holidays',
      createdAt: expect.any(String),
      expiresAt: expect.any(String),
    })
    expect(decodeJwt(token)).toMatchObject({
      sub: boss.id,
      act: { sub: helper.id },
      delegation: [{ id: shown['id'], actions: ['read:*'] }],
    })
    expect([await check(token), await check(token, 'write:contacts')]).toEqual([200, 403])
    expect((await json(await world.admin('GET', '/admin/delegations')))['delegations']).toContainEqual(shown)
    const { entries } = await json(await world.admin('GET', `/admin/audit?agentId=${helper.id}&limit=1`))
    expect((entries as Body[])[0]).toMatchObject({ agentId: helper.id, onBehalfOf: boss.id })
  })

  it('are extended by their holder, never beyond the time of what they extend', async () => {
    const [a, b, c] = [await world.createAgent(), await world.createAgent(), await world.createAgent()]
    const first = await json(await delegate(a.id, b.id, { expiresIn: '30m' }), 201)
    const second = await json(await delegate(b.id, c.id, { parent: first['id'], expiresIn: '2h' }), 201)
    expect(second).toMatchObject({ depth: 2, parent: first['id'], expiresAt: first['expiresAt'] })
    expect(decodeJwt(second['token'] as string)).toMatchObject({ sub: a.id, act: { sub: c.id, act: { sub: b.id } } })
    expect(await check(second['token'] as string)).toBe(200)
  })

  it('end with their revocation, at once, and so does every one that extends them', async () => {
    const [a, b, c] = [await world.createAgent(), await world.createAgent(), await world.createAgent()]
    const first = await json(await delegate(a.id, b.id), 201)
    const second = await json(await delegate(b.id, c.id, { parent: first['id'] }), 201)
    const tokens = [first, second].map(({ token }) => token as string)
    expect(await Promise.all(tokens.map((token) => check(token)))).toEqual([200, 200])
    const ended = await json(await world.admin('DELETE', `/admin/delegations/${first['id']}`))
    expect(ended).toMatchObject({ id: first['id'], revokedAt: expect.any(String) })
    expect(await Promise.all(tokens.map((token) => check(token)))).toEqual([401, 401])
    await json(await world.admin('DELETE', `/admin/delegations/${first['id']}`), 409)
    await json(await world.admin('DELETE', '/admin/delegations/none'), 404)
    await json(await delegate(b.id, c.id, { parent: first['id'] }), 409)
  })

  it('end when any agent of the chain is revoked', async () => {
    const [a, b, c] = [await world.createAgent(), await world.createAgent(), await world.createAgent()]
    const first = await json(await delegate(a.id, b.id), 201)
    const { token } = await json(await delegate(b.id, c.id, { parent: first['id'] }), 201)
    expect(await check(token as string)).toBe(200)
    await world.admin('DELETE', `/admin/agents/${a.id}`)
    expect(await check(token as string)).toBe(401)
    await json(await delegate(b.id, c.id, { parent: first['id'] }), 409)
    await json(await delegate(a.id, b.id), 409)
    await json(await delegate(b.id, a.id), 409)
  })

  it('cannot be extended once they have expired', async () => {
    const [a, b, c] = [await world.createAgent(), await world.createAgent(), await world.createAgent()]
    const first = await json(await delegate(a.id, b.id, { expiresIn: '1m' }), 201)
    now += 60_000
    await json(await delegate(b.id, c.id, { parent: first['id'] }), 409)
  })

  it('are refused where an agent would be in the chain twice, or where the chain is another agent’s, or too long', async () => {
    const agents = []
    for (let i = 0; i < 7; i++) agents.push((await world.createAgent()).id)
    const [a, b, c] = agents as [string, string, string]
    expect(await issuesOf(await delegate(a, a))).toMatchObject([{ path: 'to' }])
    let parent = (await json(await delegate(a, b), 201))['id']
    expect(await issuesOf(await delegate(b, a, { parent }))).toMatchObject([{ path: 'to' }])
    expect(await issuesOf(await delegate(c, a, { parent }))).toMatchObject([{ path: 'parent' }])
    for (let i = 1; i < 5; i++) {
      parent = (await json(await delegate(agents[i] as string, agents[i + 1] as string, { parent }), 201))['id']
    }
    expect(await issuesOf(await delegate(agents[5] as string, agents[6] as string, { parent }))).toEqual([
      { path: 'parent', message: expect.stringContaining('at most 5') },
    ])
  })

  it('are refused for what nobody knows, and for what is malformed', async () => {
    const { id } = await world.createAgent()
    await json(await delegate(id, 'agent_none'), 404)
    await json(await delegate('agent_none', id), 404)
    await json(await delegate(id, (await world.createAgent()).id, { parent: 'none' }), 404)
    for (const [more, path] of [
      [{ actions: [] }, 'actions'],
      [{ actions: ['read'] }, 'actions.0'],
      [{ expiresIn: '25h' }, 'expiresIn'],
      [{ expiresIn: undefined }, 'expiresIn'],
      [{ acitons: ['read:*'] }, 'acitons'],
      [{ to: '../x' }, 'to'],
    ] as const) {
      const issues = await issuesOf(await delegate(id, (await world.createAgent()).id, more))
      expect(issues.map((issue) => issue.path)).toEqual([path])
    }
  })
})

describe('rotation of the key', () => {
  it('signs with a new key, and takes tokens of the old one all the same', async () => {
    const before = await world.createAgent()
    const { keys } = await json(await world.admin('POST', '/admin/keys/rotate'))
    const after = await world.createAgent()
    const kids = [before, after].map(({ token }) => decodeProtectedHeader(token).kid)
    expect(new Set(kids).size).toBe(2)
    expect(keys).toEqual(expect.arrayContaining(kids))
    expect([await check(before.token), await check(after.token)]).toEqual([200, 200])
    const { entries } = await json(await world.admin('GET', '/admin/audit?action=admin:keys/rotate'))
    expect(entries).toHaveLength(1)
  })

  it('is 409 where JWT_SECRET signs', async () => {
    const other = await startGateway({ jwtSecret: 's'.repeat(32), adminToken: ADMIN_TOKEN })
    try {
      expect((await other.admin('POST', '/admin/keys/rotate')).status).toBe(409)
    } finally {
      await other.close()
    }
  })
})
