import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { startGateway, type World } from './gateway-world.js'

let world: World

beforeAll(async () => {
  world = await startGateway()
})
afterAll(() => world.close())

const get = (path: string, headers: Record<string, string>) => world.fetch(path, { headers })
const bearer = (token: string) => ({ authorization: `Bearer ${token}` })

/** Every route of the administration that reads. */
const READING = ['/agents', '/policies', '/tokens', '/delegations', '/audit', '/audit/stats', '/audit/verify', '/audit/export']

describe('the administration', () => {
  it.each(READING)('answers %s to the admin token, under both prefixes, and to nobody without a credential', async (path) => {
    for (const prefix of ['/admin', '/api/v1/admin']) {
      const answer = await get(prefix + path, { 'x-admin-token': world.adminToken })
      expect(answer.status).toBe(200)
      expect(answer.headers.get('cache-control')).toBe('no-store')
      expect(answer.headers.get('x-meshguard-trace-id')).toMatch(/^[\w.:-]{8,128}$/)
      await answer.body?.cancel()
      const refused = await get(prefix + path, {})
      expect(refused.status).toBe(401)
      expect(refused.headers.get('www-authenticate')).toBe('Bearer realm="meshguard"')
      expect(await refused.json()).toMatchObject({ error: 'unauthorized', message: 'Invalid or expired token' })
    }
  })

  it('answers the same under both prefixes', async () => {
    const headers = { 'x-admin-token': world.adminToken }
    const made = await world.admin('POST', '/api/v1/admin/agents', { name: 'two ways' })
    const { id } = (await made.json()) as { id: string }
    const [one, other] = [await get(`/admin/agents/${id}`, headers), await get(`/api/v1/admin/agents/${id}`, headers)]
    expect(await one.json()).toEqual(await other.json())
  })

  it('takes and ignores X-MeshGuard-API-Key', async () => {
    const key = { 'x-meshguard-api-key': 'anything' }
    expect((await get('/admin/agents', { ...key, 'x-admin-token': world.adminToken })).status).toBe(200)
    expect((await get('/admin/agents', key)).status).toBe(401)
  })

  it('takes a service token with the scope admin, in either header', async () => {
    const token = await world.createService('admin')
    expect((await get('/admin/agents', bearer(token))).status).toBe(200)
    expect((await get('/admin/agents', { 'x-admin-token': token })).status).toBe(200)
  })

  it('shows the audit log to the scope audit:read, and nothing else', async () => {
    const reader = bearer(await world.createService('audit:read'))
    for (const path of READING) {
      const answer = await get(`/admin${path}`, reader)
      expect(answer.status, path).toBe(path.startsWith('/audit') ? 200 : 403)
      if (answer.status === 403) {
        expect(answer.headers.get('www-authenticate')).toContain('insufficient_scope')
        expect(await answer.json()).toMatchObject({ error: 'Forbidden', message: expect.stringContaining('"admin"') })
      } else await answer.body?.cancel()
    }
  })

  it('refuses scopes that have nothing to do with it, with 403', async () => {
    const headers = bearer(await world.createService('decide', 'bundle', 'audit:write'))
    for (const path of READING) expect((await get(`/admin${path}`, headers)).status, path).toBe(403)
  })

  it('refuses whatever is no operator’s credential, with 401', async () => {
    const { token } = await world.createAgent()
    const credentials: Record<string, string>[] = [
      bearer(token),
      { 'x-admin-token': token },
      { 'x-admin-token': `${world.adminToken}x` },
      { 'x-admin-token': world.adminToken.slice(0, -1) },
      { 'x-admin-token': '' },
      { 'x-admin-token': 'undefined' },
      bearer('undefined'),
      bearer('msvc_unknown'),
      bearer('msat_unknown'),
      { authorization: `Basic ${btoa(`admin:${world.adminToken}`)}` },
    ]
    for (const headers of credentials) expect((await get('/admin/agents', headers)).status, JSON.stringify(headers)).toBe(401)
  })

  it('judges X-Admin-Token alone where there is an Authorization besides, so that the record names who it was', async () => {
    const service = await world.createService('admin')
    const { token } = await world.createAgent()
    expect((await get('/admin/agents', { 'x-admin-token': world.adminToken, ...bearer(token) })).status).toBe(200)
    expect((await get('/admin/agents', { 'x-admin-token': 'junk', ...bearer(service) })).status).toBe(401)
  })

  it('records which service token a change was made with', async () => {
    const created = await world.admin('POST', '/admin/tokens', { name: 'terraform', scopes: ['admin'] })
    const { id, token } = (await created.json()) as { id: string; token: string }
    await world.fetch('/admin/agents', {
      method: 'POST',
      headers: { ...bearer(token), 'content-type': 'application/json' },
      body: JSON.stringify({ name: 'by terraform' }),
    })
    const log = await world.admin('GET', '/admin/audit?action=admin:agents/create&limit=1')
    const { entries } = (await log.json()) as { entries: { operator: object }[] }
    expect(entries[0]?.operator).toEqual({ name: 'terraform', tokenId: id })
  })

  it('says 404 for what there is not and 405 for another method, to operators alone', async () => {
    expect((await world.admin('GET', '/admin/nothing')).status).toBe(404)
    expect((await get('/admin/nothing', {})).status).toBe(401)
    const refused = await world.admin('PUT', '/admin/agents', {})
    expect([refused.status, refused.headers.get('allow')]).toEqual([405, 'GET, POST, HEAD'])
  })

  it('says the same in the form of RFC 9457 to who prefers it', async () => {
    const answer = await get('/admin/agents/agent_none', {
      'x-admin-token': world.adminToken,
      accept: 'application/problem+json',
    })
    expect(answer.headers.get('content-type')).toBe('application/problem+json')
    expect(await answer.json()).toMatchObject({ type: 'about:blank', title: 'Not Found', status: 404, error: 'not_found' })
  })

  it('makes no change that it cannot record', async () => {
    const { id } = await world.createAgent()
    const other = await world.createAgent()
    const before = await (await world.admin('GET', `/admin/agents/${id}`)).json()
    await world.services.audit.close()
    for (const [method, path, body] of [
      ['POST', '/admin/agents', { name: 'unrecorded' }],
      ['PATCH', `/admin/agents/${id}`, { name: 'unrecorded' }],
      ['DELETE', `/admin/agents/${id}`],
      ['POST', `/admin/agents/${id}/token`, { revokePrevious: true }],
      ['PUT', '/admin/policies/unrecorded', { name: 'unrecorded', rules: [{ effect: 'allow', actions: ['*'] }] }],
      ['POST', '/admin/tokens', { name: 'unrecorded', scopes: ['admin'] }],
      ['POST', '/admin/delegations', { from: id, to: other.id, actions: ['*'], expiresIn: '1h' }],
    ] as const) {
      expect((await world.admin(method, path, body)).status, `${method} ${path}`).toBe(503)
    }
    expect(await (await world.admin('GET', `/admin/agents/${id}`)).json()).toEqual(before)
    const names = async (path: string, list: string) =>
      ((await (await world.admin('GET', path)).json()) as Record<string, { name: string }[]>)[list]?.map(({ name }) => name)
    expect(await names('/admin/agents?limit=1000', 'agents')).not.toContain('unrecorded')
    expect(await names('/admin/policies', 'policies')).not.toContain('unrecorded')
    expect(await names('/admin/tokens', 'tokens')).not.toContain('unrecorded')
  })
})
