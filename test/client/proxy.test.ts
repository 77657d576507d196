import { once } from 'node:events'
import { ConnectionError, MeshGuardClient, MeshGuardError, PolicyDeniedError, ValidationError } from '@meshguard/client'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { deny, type Received, type Reply, rejection, type Scripted, startScripted } from './scripted.js'

let scripted: Scripted
let client: MeshGuardClient

beforeAll(async () => {
  scripted = await startScripted()
  client = new MeshGuardClient({ gatewayUrl: `${scripted.url}/base`, agentToken: 'agent-secret' })
})
afterEach(() => {
  scripted.received.length = 0
})
afterAll(async () => {
  await client.close()
  await scripted.close()
})

const last = () => scripted.received.at(-1) as Received
const from = (origin: string, reply: Exclude<Reply, (...given: never) => void>): Reply => ({
  ...reply,
  headers: { ...reply.headers, 'x-meshguard-origin': origin },
})

describe('a call through the proxy', () => {
  it.each(['get', 'put', 'post', 'patch', 'delete'] as const)('%s sends its method, path and query', async (method) => {
    scripted.answer(from('upstream', { json: { ok: true } }))
    const response = await client[method]('/api/contacts?limit=3&q=a%20b', { action: 'read:contacts', resource: 'contacts' })
    expect(await response.json()).toEqual({ ok: true })
    expect(last()).toMatchObject({ method: method.toUpperCase(), url: '/base/proxy/api/contacts?limit=3&q=a%20b' })
    expect(last().headers).toMatchObject({
      authorization: 'Bearer agent-secret',
      'x-meshguard-action': 'read:contacts',
      'x-meshguard-resource': 'contacts',
    })
  })

  it('declares nothing that it was not told', async () => {
    await client.request('options', 'api')
    expect(last()).toMatchObject({ method: 'OPTIONS', url: '/base/proxy/api' })
    expect(Object.keys(last().headers).filter((name) => name.startsWith('x-meshguard'))).toEqual(['x-meshguard-trace-id'])
  })

  it('sends JSON, text, forms and streams', async () => {
    await client.post('/api', { json: { name: 'Ada' } })
    expect(last()).toMatchObject({ body: '{"name":"Ada"}', headers: { 'content-type': 'application/json' } })
    await client.post('/api', { json: [1], headers: { 'content-type': 'application/vnd.api+json' } })
    expect(last()).toMatchObject({ body: '[1]', headers: { 'content-type': 'application/vnd.api+json' } })
    await client.put('/api', { body: 'plain' })
    expect(last().body).toBe('plain')
    await client.put('/api', { body: new URLSearchParams({ a: 'b' }) })
    expect(last()).toMatchObject({ body: 'a=b', headers: { 'content-type': /^application\/x-www-form-urlencoded/ } as never })
    const stream = new Blob(['some ', 'bytes']).stream()
    await client.post('/api', { body: stream })
    expect(last()).toMatchObject({ body: 'some bytes', headers: { 'transfer-encoding': 'chunked' } })
    expect(await rejection(client.post('/api', { json: 1, body: '1' }))).toBeInstanceOf(TypeError)
  })

  it('sends headers of the caller, and its own credentials whatever they say', async () => {
    await client.get('/api', { headers: { accept: 'text/csv', Authorization: 'Bearer another', 'X-MeshGuard-Trace-ID': 'x' } })
    expect(last().headers).toMatchObject({ accept: 'text/csv', authorization: 'Bearer agent-secret' })
    expect(last().headers['x-meshguard-trace-id']).not.toBe('x')
  })

  it.each([
    '../admin/agents',
    '/a/../../x',
    'a/./b',
    '%2e%2e/admin',
    'a/%2E./b',
    'a\\..\\b',
    'a#b',
    'a\tb',
    'a\nb',
    'check',
    '/check?x=1',
  ])('sends nothing for the path %j', async (path) => {
    expect(await rejection(client.get(path))).toBeInstanceOf(ValidationError)
    expect(scripted.received).toEqual([])
  })

  it('cannot leave the host: slashes at the beginning are one', async () => {
    await client.get('//evil.example/x')
    expect(last().url).toBe('/base/proxy/evil.example/x')
  })

  it.each([401, 403, 404, 429, 500, 503])('answers %i of the upstream as the Response that it is', async (status) => {
    scripted.answer(from('upstream', { status, json: { error: 'Forbidden', message: 'of the upstream' } }))
    const response = await client.get('/api')
    expect(response.status).toBe(status)
    expect(await response.json()).toMatchObject({ message: 'of the upstream' })
  })

  it('rejects for what the gateway itself refused', async () => {
    scripted.answer(from('gateway', deny('read:contacts', { message: 'Ask a person' }) as never))
    const denied = await rejection(client.get('/api/contacts'))
    expect(denied).toBeInstanceOf(PolicyDeniedError)
    expect(denied).toMatchObject({ action: 'read:contacts', reason: 'Ask a person' })
    scripted.answer(from('gateway', { status: 502, json: { error: 'bad_gateway', message: 'The upstream does not answer' } }))
    expect(await rejection(client.get('/api'))).toMatchObject({
      name: 'ConnectionError',
      message: 'The upstream does not answer',
    })
    scripted.answer(from('gateway', { status: 404, json: { error: 'not_found', message: 'There is no PROXY_TARGET' } }))
    const missing = await rejection(client.get('/api'))
    expect(missing).toBeInstanceOf(MeshGuardError)
    expect(missing).toMatchObject({ code: 'not_found', status: 404, message: 'There is no PROXY_TARGET' })
  })

  it('hands a body out as it comes, beyond the time-out, until the signal ends it', async () => {
    const abort = new AbortController()
    let closed: Promise<unknown> | undefined
    scripted.answer((res) => {
      closed = once(res, 'close')
      res.writeHead(200, { 'x-meshguard-origin': 'upstream' }).write('first')
      setTimeout(() => res.write('second'), 800)
    })
    const response = await client.get('/api', { timeoutMs: 400, signal: abort.signal })
    const reader = (response.body as ReadableStream<Uint8Array>).getReader()
    const text = async () => new TextDecoder().decode((await reader.read()).value)
    expect([await text(), await text()]).toEqual(['first', 'second'])
    abort.abort(new Error('enough'))
    expect(await rejection(reader.read())).toMatchObject({ message: 'enough' })
    await closed
  })

  it('rejects when nothing comes in time', async () => {
    scripted.answer(() => {})
    expect(await rejection(client.post('/api', { timeoutMs: 40 }))).toBeInstanceOf(ConnectionError)
  })
})
