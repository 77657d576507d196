import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { POLICY, startGateway, type World } from './gateway-world.js'

type Body = Record<string, unknown>

let world: World

beforeAll(async () => {
  world = await startGateway()
})
afterAll(() => world.close())

const WRITERS = { name: 'writers', rules: [{ effect: 'allow', actions: ['write:notes'] }] }

async function json(response: Response, status = 200): Promise<Body> {
  const body = (await response.json()) as Body
  expect(response.status, JSON.stringify(body)).toBe(status)
  return body
}

function send(method: string, path: string, body?: string, headers: Record<string, string> = {}): Promise<Response> {
  const all = { 'x-admin-token': world.adminToken, ...(body === undefined ? {} : { 'content-type': 'application/json' }) }
  return world.fetch(path, { method, headers: { ...all, ...headers }, ...(body === undefined ? {} : { body }) })
}

const put = (document: { name: string }, headers: Record<string, string> = {}) =>
  send('PUT', `/admin/policies/${document.name}`, JSON.stringify(document), headers)

const yaml = { 'content-type': 'application/yaml' }

describe('policies', () => {
  it('are put, in force with the next request, shown as they were sent, and taken out again', async () => {
    const { token } = await world.createAgent()
    const check = async () =>
      (
        await world.fetch('/proxy/check', {
          headers: { authorization: `Bearer ${token}`, 'x-meshguard-action': 'write:notes' },
        })
      ).status
    expect(await check()).toBe(403)
    const made = await put(WRITERS)
    expect(made.headers.get('etag')).toBe('"1"')
    expect(await json(made, 201)).toEqual({ ...WRITERS, origin: 'api', revision: 1, updatedAt: expect.any(String) })
    expect(await check()).toBe(200)
    const shown = await send('GET', '/admin/policies/writers')
    expect(shown.headers.get('etag')).toBe('"1"')
    expect(await json(shown)).toMatchObject(WRITERS)
    const gone = await send('DELETE', '/admin/policies/writers')
    expect([gone.status, await gone.text()]).toEqual([204, ''])
    expect(await check()).toBe(403)
    await json(await send('GET', '/admin/policies/writers'), 404)
    await json(await send('DELETE', '/admin/policies/writers'), 404)
  })

  it('are listed with where they came from; those of files are read-only', async () => {
    await json(await put({ ...WRITERS, name: 'listed' }), 201)
    const { policies } = (await json(await send('GET', '/admin/policies'))) as { policies: Body[] }
    expect(policies.map(({ name, origin }) => [name, origin])).toEqual([
      ['listed', 'api'],
      ['test', 'file'],
    ])
    expect(policies[1]).toMatchObject({ name: 'test', rules: [{ effect: 'deny', actions: POLICY.rules[0]?.actions }, {}] })
    const headers: Record<string, string>[] = [{}, { 'if-match': '"1"' }]
    for (const one of headers) {
      expect(await json(await put(POLICY, one), 409)).toMatchObject({ message: expect.stringContaining('POLICIES_DIR') })
      await json(await send('DELETE', '/admin/policies/test', undefined, one), 409)
    }
  })

  it('are taken as YAML', async () => {
    const text = 'name: in-yaml\nrules:\n  - effect: allow # for now\n    actions: ["read:notes"]\n'
    const body = await json(await send('PUT', '/admin/policies/in-yaml', text, yaml), 201)
    expect(body).toMatchObject({ name: 'in-yaml', rules: [{ effect: 'allow', actions: ['read:notes'] }], origin: 'api' })
  })

  it('record who put and deleted them, with before and after', async () => {
    const document = { ...WRITERS, name: 'recorded' }
    const changed = { ...document, description: 'changed' }
    await put(document)
    await put(changed)
    await send('DELETE', '/admin/policies/recorded')
    const { entries } = (await json(await send('GET', '/admin/audit?action=admin:policies/*'))) as { entries: Body[] }
    const own = entries.filter((entry) => entry['resource'] === 'policies/recorded')
    expect(own.map(({ action, metadata }) => [action, metadata])).toEqual([
      ['admin:policies/delete', { before: changed }],
      ['admin:policies/put', { before: document, after: changed }],
      ['admin:policies/put', { after: document }],
    ])
  })
})

describe('a lost update', () => {
  it('is refused: of two operators who edit one policy one gets 412, and reads again', async () => {
    const document = { ...WRITERS, name: 'shared' }
    await json(await put(document), 201)
    const etags = await Promise.all([1, 2].map(async () => (await send('GET', '/admin/policies/shared')).headers.get('etag')))
    const answers = await Promise.all(
      etags.map((etag, i) =>
        put({ ...document, description: `operator ${i}` } as typeof document, { 'if-match': etag as string }),
      ),
    )
    expect(answers.map(({ status }) => status).sort()).toEqual([200, 412])
    const winner = answers.findIndex(({ status }) => status === 200)
    const now = await send('GET', '/admin/policies/shared')
    expect(await json(now)).toMatchObject({ description: `operator ${winner}`, revision: 2 })
    const again = { ...document, description: 'both' } as typeof document
    expect((await put(again, { 'if-match': now.headers.get('etag') as string })).status).toBe(200)
  })

  it.each<[Record<string, string>, number]>([
    [{ 'if-match': '"1"' }, 200],
    [{ 'if-match': '*' }, 200],
    [{ 'if-match': '"7", "1"' }, 200],
    [{ 'if-match': '"7"' }, 412],
    [{ 'if-match': 'W/"1"' }, 412],
    [{ 'if-match': '1' }, 400],
    [{ 'if-match': '' }, 400],
    [{ 'if-none-match': '*' }, 412],
    [{ 'if-none-match': '"1"' }, 400],
    [{ 'if-none-match': '*', 'if-match': '*' }, 400],
  ])('by %j answers %i', async (headers, status) => {
    const document = { ...WRITERS, name: `at-${Math.random().toString(36).slice(2)}` }
    await put(document)
    const answer = await put({ ...document, description: 'changed' } as typeof document, headers)
    expect(answer.status).toBe(status)
    const { description } = await json(await send('GET', `/admin/policies/${document.name}`))
    expect(description).toBe(status === 200 ? 'changed' : undefined)
  })

  it('is refused for a deletion too, and for what there is not', async () => {
    const document = { ...WRITERS, name: 'kept' }
    expect((await put(document, { 'if-match': '*' })).status).toBe(412)
    expect((await put(document, { 'if-none-match': '*' })).status).toBe(201)
    expect((await send('DELETE', '/admin/policies/kept', undefined, { 'if-match': '"9"' })).status).toBe(412)
    expect((await send('DELETE', '/admin/policies/kept', undefined, { 'if-match': '"1"' })).status).toBe(204)
  })
})

describe('a bad policy', () => {
  it('is refused with line, column and the nearest right name, in YAML and in JSON, and nothing is kept', async () => {
    const inYaml = 'name: bad\nrules:\n  - effect: allow\n    actons: ["read:*"]\n'
    const inJson = '{\n "name": "bad",\n "rules": [{"effect": "allow",\n  "actons": ["read:*"]}]\n}'
    for (const [text, type, line, column] of [
      [inYaml, 'application/yaml', 4, 5],
      [inJson, 'application/json', 4, 3],
    ] as const) {
      const answer = await send('PUT', '/admin/policies/bad', text, { 'content-type': type })
      const { issues } = await json(answer, 400)
      const message = expect.stringContaining('Did you mean "actions"?')
      expect(issues).toContainEqual({ path: 'rules.0.actons', message, line, column })
    }
    await json(await send('GET', '/admin/policies/bad'), 404)
  })

  it('is refused when the path has another name, when there are two, and when the text is none', async () => {
    const other = await json(await send('PUT', '/admin/policies/other', JSON.stringify(WRITERS)), 400)
    expect(other['issues']).toEqual([{ path: 'name', message: expect.stringContaining('"writers"') }])
    const two =
      'name: a\nrules: [{ effect: allow, actions: ["read:*"] }]\n---\nname: b\nrules: [{ effect: allow, actions: ["read:*"] }]\n'
    await json(await send('PUT', '/admin/policies/a', two, yaml), 400)
    await json(await send('PUT', '/admin/policies/a', '{"name":', {}), 400)
    await json(await send('PUT', '/admin/policies/a', 'name: a', {}), 400)
    await json(await send('PUT', '/admin/policies/a', '', yaml), 400)
    await json(await send('PUT', '/admin/policies/a', 'null', {}), 400)
  })

  it('is 415 as another media type, 413 beyond 1 MiB of JSON or 256 KiB of YAML, 400 when it is nested too deeply', async () => {
    const text = JSON.stringify(WRITERS)
    await json(await send('PUT', '/admin/policies/writers', text, { 'content-type': 'text/plain' }), 415)
    await json(await send('PUT', '/admin/policies/writers', text, { 'content-type': 'application/yaml; charset=latin1' }), 415)
    const long = (length: number) => JSON.stringify({ ...WRITERS, name: 'long', description: 'x'.repeat(length) })
    await json(await send('PUT', '/admin/policies/long', long(1024 * 1024)), 413)
    await json(await send('PUT', '/admin/policies/long', long(256 * 1024), yaml), 413)
    await json(await send('PUT', '/admin/policies/long', long(1000 * 1024)), 201)
    const deep = `{"name":"deep","rules":${'['.repeat(20)}${']'.repeat(20)}}`
    await json(await send('PUT', '/admin/policies/deep', deep), 400)
  })
})

describe('validation', () => {
  it('says what is wrong without refusing, and changes nothing', async () => {
    const validate = (text: string, type: Record<string, string> = {}) => send('POST', '/admin/policies/validate', text, type)
    expect(await json(await validate(JSON.stringify({ ...WRITERS, name: 'v' })))).toEqual({ valid: true, issues: [] })
    const bad = await json(await validate('name: v\nrules:\n  - effect: alow\n    actions: [read]\n', yaml))
    expect(bad).toEqual({
      valid: false,
      issues: [
        { path: 'rules.0.effect', message: expect.stringContaining('Did you mean "allow"?'), line: 3, column: 13 },
        { path: 'rules.0.actions.0', message: expect.stringContaining('"read" is not a pattern'), line: 4, column: 15 },
      ],
    })
    expect(await json(await validate('{'))).toMatchObject({ valid: false, issues: [{ path: '' }] })
    await json(await validate('x', { 'content-type': 'text/plain' }), 415)
    await json(await send('GET', '/admin/policies/v'), 404)
  })
})

describe('a test of the policies', () => {
  const test = async (body: object, status = 200) =>
    json(await send('POST', '/admin/policies/test', JSON.stringify(body)), status)

  it('answers for a registered agent and for one that is described, with every step', async () => {
    const { id } = await world.createAgent({ trustTier: 'trusted' })
    const allowed = await test({ agent: id, action: 'read:contacts', resource: 'contacts/1', context: { a: 1 } })
    expect(allowed).toMatchObject({ allowed: true, code: 'allowed', policy: 'test', agentId: id, resource: 'contacts/1' })
    const denied = await test({ agent: { trustTier: 'basic', tags: ['x'] }, action: 'delete:admin' })
    expect(denied).toMatchObject({ allowed: false, code: 'denied', policy: 'test', rule: 'deny *:admin' })
    const step = (denied['steps'] as Body[]).find(({ policy }) => policy === 'test')
    expect(step).toMatchObject({ applies: true, rules: [{ rule: 'deny *:admin', matched: true }, { matched: false }] })
  })

  it('looks at one policy alone where it is named', async () => {
    await put({ ...WRITERS, name: 'alone' })
    const asked = { agent: {}, action: 'write:notes' }
    expect(await test({ ...asked, policy: 'alone' })).toMatchObject({ allowed: true, policy: 'alone' })
    expect(await test({ ...asked, policy: 'test' })).toMatchObject({ allowed: false, code: 'no_match' })
    await test({ ...asked, policy: 'none' }, 404)
  })

  it('counts nothing and records nothing', async () => {
    const name = 'limited'
    const rules = [{ effect: 'allow', actions: ['write:limited'], rateLimit: { requests: 1, per: '1h' } }]
    await json(await put({ name, rules } as never), 201)
    const { id, token } = await world.createAgent()
    for (let i = 0; i < 3; i++) expect(await test({ agent: id, action: 'write:limited' })).toMatchObject({ allowed: true })
    const { entries } = await json(await send('GET', `/admin/audit?agentId=${id}`))
    expect(entries).toEqual([])
    const headers = { authorization: `Bearer ${token}`, 'x-meshguard-action': 'write:limited' }
    expect((await world.fetch('/proxy/check', { headers })).status).toBe(200)
    expect((await world.fetch('/proxy/check', { headers })).status).toBe(429)
  })

  it('refuses what is no question', async () => {
    const of = async (body: object, status = 400) => ((await test(body, status))['issues'] ?? []) as { path: string }[]
    expect(await of({ agent: {}, action: 'read:*' })).toMatchObject([{ path: 'action' }])
    expect(await of({ agent: { trustTier: 'trustd', tgs: [] }, action: 'read:a' })).toEqual([
      { path: 'agent.trustTier', message: expect.stringContaining('Did you mean "trusted"?') },
      { path: 'agent.tgs', message: expect.stringContaining('Did you mean "tags"?') },
    ])
    expect(await of({ agent: 7, action: 'read:a' })).toMatchObject([
      { path: 'agent', message: expect.stringContaining('id of an agent') },
    ])
    expect(await of({ action: 'read:a', agnt: {} })).toEqual([
      { path: 'agent', message: expect.any(String) },
      { path: 'agnt', message: 'Unknown key "agnt". Did you mean "agent"?' },
    ])
    await of({ agent: 'agent_none', action: 'read:a' }, 404)
    const { id } = await world.createAgent()
    await world.admin('DELETE', `/admin/agents/${id}`)
    await of({ agent: id, action: 'read:a' }, 409)
  })
})
