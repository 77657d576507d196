import { Validator } from '@seriousme/openapi-schema-validator'
import { Ajv2020 } from 'ajv/dist/2020.js'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { startGateway, type World } from './gateway-world.js'

interface Operation {
  readonly operationId: string
  readonly security: readonly Record<string, unknown>[]
  readonly requestBody?: { readonly required: boolean; readonly content: Record<string, unknown> }
  readonly responses: Record<string, { readonly content?: Record<string, { readonly schema: object }> }>
}
interface OpenApi {
  readonly openapi: string
  readonly paths: Record<string, Record<string, Operation>>
  readonly components: {
    readonly schemas: Record<string, object>
    readonly responses: Record<string, { readonly content: Record<string, { readonly example?: object }> }>
  }
}

const METHODS = ['get', 'post', 'put', 'patch', 'delete']

let world: World
let document: OpenApi

beforeAll(async () => {
  world = await startGateway()
  document = (await (await world.fetch('/openapi.json')).json()) as OpenApi
})
afterAll(() => world.close())

describe('/openapi.json', () => {
  it('is a document of OpenAPI 3.1', async () => {
    expect(document.openapi).toMatch(/^3\.1\./)
    expect(await new Validator().validate(structuredClone(document) as never)).toEqual({ valid: true })
  })

  it('describes every route there is, and no other', () => {
    const described = Object.entries(document.paths).flatMap(([path, item]) =>
      METHODS.filter((method) => item[method] !== undefined).map((method) => `${method} ${path}`),
    )
    expect([...new Set(described)].sort()).toEqual(mounted().sort())
  })

  it('has the administration under /api/v1 as well', () => {
    for (const [path, item] of Object.entries(document.paths)) {
      const servers = path.startsWith('/admin/') ? [{ url: '/' }, { url: '/api/v1' }] : undefined
      expect((item as { servers?: unknown }).servers, path).toEqual(servers)
    }
  })

  it('names each operation once', () => {
    const ids = operations().map(({ operationId }) => operationId)
    expect(new Set(ids).size).toBe(ids.length)
  })

  it('gives an example of every refusal, which fits its schema', () => {
    const ajv = validator()
    for (const [name, { content }] of Object.entries(document.components.responses)) {
      const example = content['application/json']?.example
      expect(example, name).toBeDefined()
      expect(ajv.validate({ $ref: 'openapi#/components/schemas/Refusal' }, example), name).toBe(true)
    }
  })

  it('is cached by its ETag', async () => {
    const first = await world.fetch('/openapi.json')
    const etag = first.headers.get('etag') as string
    expect(first.headers.get('cache-control')).toBe('public, max-age=300')
    const again = await world.fetch('/openapi.json', { headers: { 'if-none-match': etag } })
    expect([again.status, await again.text()]).toEqual([304, ''])
    expect((await world.fetch('/openapi.json', { headers: { 'if-none-match': '"other"' } })).status).toBe(200)
  })

  it('says which schemas requests have: what the gateway refuses for its form the document refuses, too', () => {
    const ajv = validator()
    const fits = (name: string, value: unknown) => ajv.validate({ $ref: `openapi#/components/schemas/${name}` }, value)
    expect(fits('NewAgent', { name: 'x', trustTier: 'basic' })).toBe(true)
    expect(fits('NewAgent', { name: 'x', trustTeir: 'basic' })).toBe(false)
    expect(fits('NewAgent', { trustTier: 'basic' })).toBe(false)
    expect(fits('Policy', { name: 'p', rules: [{ effect: 'allow', actions: ['read:*'] }] })).toBe(true)
    expect(fits('Policy', { name: 'P', rules: [] })).toBe(false)
    expect(fits('NewDelegation', { from: 'a', to: 'b', actions: ['read:*'], expiresIn: '1h' })).toBe(true)
  })
})

describe('what a running gateway answers', () => {
  it('fits the schema that its route declares for the status', async () => {
    const ajv = validator()
    const seen = new Set<string>()
    for (const { method, path, body, headers } of await exchanges()) {
      const response = await world.fetch(path, {
        method,
        headers: { 'x-admin-token': world.adminToken, 'content-type': 'application/json', ...headers },
        ...(body !== undefined && { body: JSON.stringify(body) }),
      })
      const template = templateOf(method.toLowerCase(), path)
      const pointer = `#/paths/${pointed(template)}/${method.toLowerCase()}/responses/${response.status}`
      const declared = document.paths[template]?.[method.toLowerCase()]?.responses[response.status]
      expect(declared, `${method} ${path} answers ${response.status}, which is not declared`).toBeDefined()
      seen.add(`${method.toLowerCase()} ${template} ${response.status}`)
      const type = response.headers.get('content-type')?.split(';')[0]
      if (type !== 'application/json') {
        await response.body?.cancel()
        continue
      }
      const schema =
        '$ref' in (declared as object)
          ? { $ref: 'openapi#/components/schemas/Refusal' }
          : { $ref: `openapi${pointer}/content/application~1json/schema` }
      const answer = await response.json()
      expect(ajv.validate(schema, answer), `${method} ${path}: ${ajv.errorsText()}\n${JSON.stringify(answer)}`).toBe(true)
    }
    const unseen = operations()
      .filter(({ key }) => /^\w+ \/(?:admin|access|v1|health|$)/.test(key))
      .flatMap(({ key, responses }) => Object.keys(responses).map((status) => `${key} ${status}`))
      .filter((key) => / 20\d$/.test(key) && !seen.has(key))
    expect(unseen, 'answers of success that nobody asked for').toEqual([])
  })
})

function operations(): (Operation & { key: string })[] {
  return Object.entries(document.paths).flatMap(([path, item]) =>
    METHODS.flatMap((method) => (item[method] === undefined ? [] : [{ ...item[method], key: `${method} ${path}` }])),
  )
}

/** The routes of the app, as the document spells them, without middleware. A route for all methods has one operation for each. */
function mounted(): string[] {
  const routes = world.gateway.app.routes
    .filter(({ method, path }) => method !== 'ALL' || path === '/proxy/*')
    .flatMap(({ method, path }) =>
      (method === 'ALL' ? METHODS : [method.toLowerCase()]).map((one) => `${one} ${spelled(path)}`),
    )
  return [...new Set(routes)]
}

function spelled(path: string): string {
  return path
    .replace(/^\/api\/v1\/admin/, '/admin')
    .replace(/(?<=.)\/$/, '')
    .replaceAll(/:(\w+)/g, '{$1}')
    .replace('/proxy/*', '/proxy/{path}')
}

function pointed(path: string): string {
  return encodeURIComponent(path.replaceAll('~', '~0').replaceAll('/', '~1'))
}

function validator(): Ajv2020 {
  const ajv = new Ajv2020({ strict: false, validateFormats: false })
  ajv.addSchema(document, 'openapi')
  return ajv
}

/** The path of the document that a request is for: a literal one before one with parameters. */
function templateOf(method: string, url: string): string {
  const path = (url.split('?')[0] as string).replace(/^\/api\/v1/, '')
  const candidates = Object.keys(document.paths).filter((template) => {
    const pattern = template.replaceAll(/[.]/g, '\\.').replaceAll(/\{\w+\}/g, '[^/]+')
    return document.paths[template]?.[method] !== undefined && new RegExp(`^${pattern}$`).test(path)
  })
  return candidates.sort((one, other) => one.split('{').length - other.split('{').length)[0] ?? path
}

interface Exchange {
  readonly method: string
  readonly path: string
  readonly body?: unknown
  readonly headers?: Record<string, string>
}

/** One request for each answer of success, and most of the refusals. Each is made when the one before was answered. */
async function exchanges(): Promise<Exchange[]> {
  const [a, b, c, d] = [
    await world.createAgent(),
    await world.createAgent(),
    await world.createAgent(),
    await world.createAgent(),
  ]
  const writer = { authorization: `Bearer ${await world.createService('audit:write')}` }
  const guard = { authorization: `Bearer ${await world.createService('bundle')}` }
  const decider = { authorization: `Bearer ${await world.createService('decide')}` }
  const own = (token: string, more: object = {}) => ({
    authorization: `Bearer ${token}`,
    'x-meshguard-action': 'read:a',
    ...more,
  })
  const admin = async (path: string, body: object) => (await (await world.admin('POST', path, body)).json()) as { id: string }
  const token = await admin('/admin/tokens', { name: 'x', scopes: ['decide'], expiresIn: '1d' })
  const delegation = await admin('/admin/delegations', { from: a.id, to: b.id, actions: ['*'], expiresIn: '1h', reason: 'r' })
  const policy = { name: 'written', rules: [{ effect: 'allow', actions: ['write:*'], conditions: { resource: 'a' } }] }
  const question = { subject: { type: 'agent', id: a.id }, action: { name: 'read:a' }, resource: { type: 'a', id: '1' } }
  const entry = {
    id: 'shipped-0001',
    timestamp: '2026-01-31T12:00:00.000Z',
    traceId: 'trace-of-shipped',
    action: 'read:a',
    decision: 'allow',
    code: 'allowed',
    mode: 'enforce',
    source: 'policies',
  }
  return [
    { method: 'GET', path: '/' },
    { method: 'GET', path: '/health' },
    { method: 'GET', path: '/.well-known/jwks.json' },
    { method: 'GET', path: '/metrics' },
    { method: 'GET', path: '/proxy/check', headers: own(a.token) },
    { method: 'GET', path: '/proxy/check', headers: own(a.token, { 'x-meshguard-action': 'delete:admin' }) },
    { method: 'GET', path: '/proxy/check', headers: own('none') },
    { method: 'GET', path: '/proxy/check', headers: { authorization: `Bearer ${a.token}` } },
    { method: 'GET', path: '/proxy/contacts', headers: own(a.token) },
    {
      method: 'POST',
      path: '/v1/checks',
      headers: decider,
      body: { checks: [{ agentId: a.id, action: 'read:a' }, { action: 'read:a' }] },
    },
    { method: 'POST', path: '/v1/checks', headers: decider, body: { checks: [] } },
    { method: 'POST', path: '/v1/checks', headers: writer, body: { checks: [{ action: 'read:a' }] } },
    { method: 'POST', path: '/v1/audit', headers: writer, body: { entries: [entry] } },
    { method: 'POST', path: '/v1/audit', headers: writer, body: { entries: [{}] } },
    { method: 'POST', path: '/v1/audit', headers: decider, body: { entries: [entry] } },
    { method: 'POST', path: '/admin/agents', body: { name: 'made', tags: ['t'], metadata: { m: 1 } } },
    { method: 'POST', path: '/admin/agents', body: { name: 7, more: true } },
    { method: 'POST', path: '/admin/agents', body: { name: 'x' }, headers: { 'content-type': 'text/plain' } },
    { method: 'POST', path: '/admin/agents', body: { name: 'x'.repeat(300_000) } },
    { method: 'GET', path: '/admin/agents?limit=1' },
    { method: 'GET', path: '/api/v1/admin/agents?limit=1000' },
    { method: 'GET', path: '/admin/agents?limt=1' },
    { method: 'GET', path: '/admin/agents', headers: { 'x-admin-token': 'wrong' } },
    { method: 'GET', path: `/admin/agents/${a.id}` },
    { method: 'GET', path: '/admin/agents/none' },
    { method: 'PATCH', path: `/admin/agents/${c.id}`, body: { name: 'changed', tags: ['x'] } },
    { method: 'POST', path: `/admin/agents/${c.id}/token`, body: { expiresIn: '1h', revokePrevious: true } },
    { method: 'DELETE', path: `/admin/agents/${d.id}` },
    { method: 'DELETE', path: `/admin/agents/${d.id}` },
    { method: 'PUT', path: '/admin/policies/written', body: policy },
    { method: 'PUT', path: '/admin/policies/written', body: policy, headers: { 'if-match': '"1"' } },
    { method: 'PUT', path: '/admin/policies/written', body: policy, headers: { 'if-match': '"1"' } },
    { method: 'PUT', path: '/admin/policies/test', body: { ...policy, name: 'test' } },
    { method: 'PUT', path: '/admin/policies/bad', body: { name: 'bad' } },
    { method: 'GET', path: '/admin/policies' },
    { method: 'GET', path: '/admin/policies/test' },
    { method: 'GET', path: '/admin/policies/written' },
    { method: 'GET', path: '/admin/policies/none' },
    { method: 'POST', path: '/admin/policies/validate', body: policy },
    { method: 'POST', path: '/admin/policies/validate', body: { name: 'bad' } },
    { method: 'POST', path: '/admin/policies/test', body: { agent: a.id, action: 'read:a', resource: 'a', context: { n: 1 } } },
    { method: 'POST', path: '/admin/policies/test', body: { agent: {}, action: 'x:y' } },
    { method: 'DELETE', path: '/admin/policies/written' },
    { method: 'GET', path: '/admin/tokens' },
    { method: 'POST', path: '/admin/tokens', body: { name: 'y', scopes: ['admin'] } },
    { method: 'POST', path: '/admin/tokens', body: { name: 'y', scopes: ['none'] } },
    { method: 'DELETE', path: `/admin/tokens/${token.id}` },
    { method: 'GET', path: '/admin/delegations' },
    {
      method: 'POST',
      path: '/admin/delegations',
      body: { from: b.id, to: c.id, actions: ['*'], expiresIn: '1h', parent: delegation.id },
    },
    { method: 'POST', path: '/admin/delegations', body: { from: b.id, to: 'none', actions: ['*'], expiresIn: '1h' } },
    { method: 'DELETE', path: `/admin/delegations/${delegation.id}` },
    { method: 'DELETE', path: `/admin/delegations/${delegation.id}` },
    { method: 'POST', path: '/admin/keys/rotate', body: { key: 'bundle' } },
    { method: 'POST', path: '/admin/keys/rotate' },
    { method: 'GET', path: '/v1/bundle', headers: guard },
    { method: 'GET', path: '/v1/bundle', headers: { ...guard, 'if-none-match': '*' } },
    { method: 'GET', path: '/v1/bundle', headers: decider },
    { method: 'GET', path: '/v1/bundle/stream', headers: guard },
    { method: 'GET', path: '/.well-known/authzen-configuration' },
    { method: 'POST', path: '/access/v1/evaluation', headers: own(a.token), body: question },
    { method: 'POST', path: '/access/v1/evaluation', headers: own(a.token), body: {} },
    { method: 'POST', path: '/access/v1/evaluation', headers: own('none'), body: question },
    { method: 'POST', path: '/access/v1/evaluations', headers: own(a.token), body: { ...question, evaluations: [{}, {}] } },
    { method: 'GET', path: '/admin/audit?limit=1000' },
    { method: 'GET', path: '/admin/audit?limit=1' },
    { method: 'GET', path: '/admin/audit/stats' },
    { method: 'GET', path: '/admin/audit/traces/trace-of-shipped' },
    { method: 'GET', path: '/admin/audit/export' },
    { method: 'GET', path: '/admin/audit/stream' },
    { method: 'GET', path: '/admin/audit/verify' },
  ]
}
