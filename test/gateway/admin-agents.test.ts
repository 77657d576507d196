import { decodeJwt } from 'jose'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { startGateway, type World } from './gateway-world.js'

/** A JSON object of an answer. */
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

async function create(agent: object): Promise<{ id: string; token: string }> {
  return (await json(await world.admin('POST', '/admin/agents', agent), 201)) as { id: string; token: string }
}

const check = (token: string) =>
  world.fetch('/proxy/check', { headers: { authorization: `Bearer ${token}`, 'x-meshguard-action': 'read:contacts' } })

const entriesOf = async (resource: string) => {
  const { entries } = await json(await world.admin('GET', '/admin/audit?action=admin:*&limit=1000'))
  return (entries as Body[]).filter((entry) => entry['resource'] === resource)
}

describe('agents', () => {
  it('are created with the defaults of the protocol, and their token works at once', async () => {
    const body = await create({ name: 'scout' })
    expect(body).toEqual({
      id: expect.stringMatching(/^agent_[0-9a-f]{24}$/),
      name: 'scout',
      trustTier: 'verified',
      tags: [],
      token: expect.any(String),
      createdAt: expect.stringMatching(/^\d{4}-\d\d-\d\dT[\d:.]+Z$/),
    })
    expect((await check(body.token)).status).toBe(200)
  })

  it.each([
    ['basic', 'verified'],
    ['untrusted', 'unverified'],
    ['anonymous', 'unverified'],
    ['sandboxed', 'unverified'],
    ['privileged', 'privileged'],
  ])('take the tier "%s" for %s', async (spelling, tier) => {
    const { id } = await create({ name: 'spelled', trustTier: spelling })
    expect(await json(await world.admin('GET', `/admin/agents/${id}`))).toMatchObject({ trustTier: tier, status: 'active' })
  })

  it('are listed oldest first, filtered, page by page', async () => {
    const made = []
    for (let i = 0; i < 5; i++) made.push((await create({ name: `paged ${i}`, tags: ['paged'], trustTier: 'trusted' })).id)
    const seen: string[] = []
    for (let cursor = ''; ; ) {
      const page = await json(
        await world.admin('GET', `/admin/agents?tag=paged&trustTier=trusted&status=active&limit=2${cursor}`),
      )
      seen.push(...(page['agents'] as { id: string }[]).map(({ id }) => id))
      if (page['nextCursor'] === undefined) break
      cursor = `&cursor=${encodeURIComponent(page['nextCursor'] as string)}`
    }
    expect(seen).toEqual(made)
    expect(await json(await world.admin('GET', '/admin/agents?tag=paged&trustTier=basic'))).toEqual({ agents: [] })
  })

  it('are changed, take effect with the next request, and the change is recorded with before and after', async () => {
    const { id, token } = await create({ name: 'before', tags: ['a', 'a'], metadata: { team: 'red' } })
    const change = { name: 'after', trustTier: 'unverified', tags: ['b'], metadata: { team: 'blue' } }
    const body = await json(await world.admin('PATCH', `/admin/agents/${id}`, change))
    expect(body).toMatchObject({ id, ...change, status: 'active' })
    expect(body).not.toHaveProperty('generation')
    expect((await check(token)).headers.get('x-meshguard-agent-id')).toBe(id)
    const [entry] = await entriesOf(`agents/${id}`)
    expect(entry).toMatchObject({
      action: 'admin:agents/update',
      decision: 'allow',
      code: 'administered',
      source: 'admin',
      operator: { name: 'admin token' },
      request: { method: 'PATCH', path: `/admin/agents/${id}` },
      metadata: {
        before: { name: 'before', trustTier: 'verified', tags: ['a'], metadata: { team: 'red' } },
        after: change,
      },
    })
  })

  it('are left alone, and nothing is recorded, by a change of nothing', async () => {
    const { id } = await create({ name: 'still' })
    const before = await json(await world.admin('GET', `/admin/agents/${id}`))
    expect(await json(await world.admin('PATCH', `/admin/agents/${id}`, {}))).toEqual(before)
    expect((await entriesOf(`agents/${id}`)).map((entry) => entry['action'])).toEqual(['admin:agents/create'])
  })

  it('are revoked at once and for good: the next request is 401, every change 409', async () => {
    const { id, token } = await create({ name: 'gone' })
    expect((await check(token)).status).toBe(200)
    expect(await json(await world.admin('DELETE', `/admin/agents/${id}`))).toMatchObject({
      id,
      status: 'revoked',
      revokedAt: expect.any(String),
    })
    const refused = await check(token)
    expect(refused.status).toBe(401)
    expect(refused.headers.get('www-authenticate')).toContain('error="invalid_token"')
    for (const [method, path, body] of [
      ['DELETE', ''],
      ['PATCH', '', { name: 'back' }],
      ['POST', '/token', {}],
    ] as const) {
      const answer = await json(await world.admin(method, `/admin/agents/${id}${path}`, body), 409)
      expect(answer).toMatchObject({ error: 'conflict', traceId: expect.any(String) })
    }
    const { agents } = await json(await world.admin('GET', '/admin/agents?status=revoked'))
    expect((agents as Body[]).map((agent) => agent['id'])).toContain(id)
  })

  it('are changed one after the other: of many changes at once every record begins where the one before ended', async () => {
    const { id } = await create({ name: 'name 0' })
    await Promise.all(
      Array.from({ length: 10 }, (_, i) =>
        world.admin('PATCH', `${i % 2 === 0 ? '' : '/api/v1'}/admin/agents/${id}`, { name: `name ${i + 1}` }),
      ),
    )
    const changes = (await entriesOf(`agents/${id}`))
      .map((entry) => entry['metadata'] as { before?: { name: string }; after: { name: string } })
      .reverse()
    const chained = changes.slice(1).every(({ before }, i) => before?.name === changes[i]?.after.name)
    expect(chained, JSON.stringify(changes)).toBe(true)
    expect(changes).toHaveLength(11)
  })
})

describe('tokens of agents', () => {
  it('are issued beside those there are, for as long as is asked', async () => {
    const { id, token } = await create({ name: 'twice' })
    const issued = await json(await world.admin('POST', `/admin/agents/${id}/token`, { expiresIn: '15m' }))
    expect(Object.keys(issued).sort()).toEqual(['expiresAt', 'token'])
    const { iat = 0, exp } = decodeJwt(issued['token'] as string)
    expect(exp).toBe(iat + 900)
    expect(Date.parse(issued['expiresAt'] as string)).toBe(Number(exp) * 1000)
    expect([(await check(token)).status, (await check(issued['token'] as string)).status]).toEqual([200, 200])
  })

  it('are issued for a request without a body, too', async () => {
    const { id } = await create({ name: 'bodiless' })
    const { iat = 0, exp } = decodeJwt((await json(await world.admin('POST', `/admin/agents/${id}/token`)))['token'] as string)
    expect(exp).toBe(iat + 86_400)
  })

  it('revoke every token before them with revokePrevious', async () => {
    const { id, token } = await create({ name: 'renewed' })
    expect((await check(token)).status).toBe(200)
    const issued = await json(await world.admin('POST', `/admin/agents/${id}/token`, { revokePrevious: true }))
    expect((await check(token)).status).toBe(401)
    expect((await check(issued['token'] as string)).status).toBe(200)
  })

  it('of many revokePrevious at once only one is left', async () => {
    const { id } = await create({ name: 'raced' })
    const answers = await Promise.all(
      Array.from({ length: 5 }, () => world.admin('POST', `/admin/agents/${id}/token`, { revokePrevious: true })),
    )
    const tokens = await Promise.all(answers.map(async (answer) => (await json(answer))['token'] as string))
    const statuses = await Promise.all(tokens.map(async (token) => (await check(token)).status))
    expect(statuses.sort()).toEqual([200, 401, 401, 401, 401])
  })

  it('never stand in the audit log', async () => {
    const { id, token } = await create({ name: 'quiet' })
    const issued = await json(await world.admin('POST', `/admin/agents/${id}/token`, {}))
    const log = JSON.stringify(await entriesOf(`agents/${id}`))
    for (const secret of [token, issued['token'] as string]) expect(log).not.toContain(secret.split('.')[2])
  })
})

describe('a bad request', () => {
  it.each<[string, unknown, string, RegExp]>([
    ['a tier that there is not', { name: 'x', trustTier: 'verifed' }, 'trustTier', /Did you mean "verified"/],
    ['a misspelt key', { name: 'x', trustTeir: 'verified' }, 'trustTeir', /Did you mean "trustTier"/],
    ['no name', {}, 'name', /missing/],
    ['an empty name', { name: '' }, 'name', /1 to 128/],
    ['a name with a line break', { name: 'a\nb' }, 'name', /control/],
    ['a tag that is no text', { name: 'x', tags: ['a', 7] }, 'tags.1', /expected text/],
    ['a tag that is too long', { name: 'x', tags: ['t'.repeat(65)] }, 'tags.0', /1 to 64/],
    ['too many tags', { name: 'x', tags: Array.from({ length: 65 }, (_, i) => `t${i}`) }, 'tags', /at most 64/],
    ['metadata that is a list', { name: 'x', metadata: [] }, 'metadata', /record|object/],
    ['metadata that is too large', { name: 'x', metadata: { m: 'm'.repeat(4096) } }, 'metadata', /4096 bytes/],
    ['a list', [], '', /object/],
    ['nothing', null, '', /object/],
  ])('is refused for %s, with its path, and leaves nothing', async (_, body, path, message) => {
    const before = await json(await world.admin('GET', '/admin/agents?limit=1000'))
    const answer = await json(await world.admin('POST', '/admin/agents', body), 400)
    expect(answer).toMatchObject({ error: 'bad_request', traceId: expect.any(String) })
    expect(answer['issues']).toContainEqual({ path, message: expect.stringMatching(message) })
    expect(await json(await world.admin('GET', '/admin/agents?limit=1000'))).toEqual(before)
  })

  it('names everything that is wrong at once', async () => {
    const { issues } = await json(await world.admin('POST', '/admin/agents', { trustTier: 'x', tags: 1, nam: 'x' }), 400)
    expect((issues as { path: string }[]).map(({ path }) => path).sort()).toEqual(['nam', 'name', 'tags', 'trustTier'])
  })

  it.each([
    ['?trustTeir=verified', 'trustTeir'],
    ['?trustTier=x', 'trustTier'],
    ['?limit=0', 'limit'],
    ['?limit=1001', 'limit'],
    ['?limit=ten', 'limit'],
    ['?limit=', 'limit'],
    ['?status=active&status=revoked', 'status'],
    ['?cursor=none', 'cursor'],
  ])('is refused for the query %s', async (query, path) => {
    const { issues } = await json(await world.admin('GET', `/admin/agents${query}`), 400)
    expect(issues).toContainEqual({ path, message: expect.any(String) })
  })

  it.each([
    [{ expiresIn: '25h' }, /at most 86400 s/],
    [{ expiresIn: 'soon' }, /like 15m/],
    [{ expiresIn: -1 }, /like 15m/],
    [{ expiresIn: {} }, /./],
  ])('for a token with %j is refused', async (body, message) => {
    const { id } = await create({ name: 'long' })
    const { issues } = await json(await world.admin('POST', `/admin/agents/${id}/token`, body), 400)
    expect(issues).toEqual([{ path: 'expiresIn', message: expect.stringMatching(message) }])
  })

  it('for an agent that nobody knows is 404', async () => {
    for (const [method, path, body] of [
      ['GET', ''],
      ['PATCH', '', { name: 'x' }],
      ['DELETE', ''],
      ['POST', '/token', {}],
    ] as const) {
      expect(await json(await world.admin(method, `/admin/agents/agent_none${path}`, body), 404)).toMatchObject({
        error: 'not_found',
      })
    }
  })

  it('is 415 for another media type, 413 for a large body, 400 for what is not JSON', async () => {
    const post = (body: string, type: string) =>
      world.fetch('/admin/agents', {
        method: 'POST',
        body,
        headers: { 'content-type': type, 'x-admin-token': world.adminToken },
      })
    await json(await post('{"name":"x"}', 'text/plain'), 415)
    await json(await post('name: x', 'application/yaml'), 415)
    await json(await post(`{"name":"${'x'.repeat(256 * 1024)}"}`, 'application/json'), 413)
    await json(await post('{"name":', 'application/json'), 400)
    await json(await post('{"name":"x","metadata":{"__proto__":{"trustTier":"privileged"}}}', 'application/json'), 400)
    const deep = `${'{"a":'.repeat(8)}1${'}'.repeat(8)}`
    await json(await post(`{"name":"x","metadata":${deep}}`, 'application/json'), 400)
  })
})
