import { ConnectionError, MeshGuardError, PolicyDeniedError, ValidationError } from '@meshguard/client'
import { type Case, type Context, deny, from, isA, type Received, rejection, TOKEN } from './spec.js'

const last = async ({ received }: Context) => (await received()).at(-1) as Received

const METHODS = ['get', 'put', 'post', 'patch', 'delete'] as const

/** Paths that a URL parser, a proxy or the gateway could take for another one. */
const PATHS = [
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
]

export const proxyCases: readonly Case[] = [
  ...METHODS.map(
    (method): Case => ({
      title: `${method} sends its method, path and query`,
      async run(context, assert) {
        await context.answer(from('upstream', { json: { ok: true } }))
        const response = await context.connect()[method]('/api/contacts?limit=3&q=a%20b', { action: 'read:contacts' })
        assert.equal(await response.json(), { ok: true })
        const { method: sent, url, headers } = await last(context)
        assert.equal([sent, url], [method.toUpperCase(), '/proxy/api/contacts?limit=3&q=a%20b'])
        assert.equal([headers['authorization'], headers['x-meshguard-action']], [`Bearer ${TOKEN}`, 'read:contacts'])
      },
    }),
  ),
  {
    title: 'declares nothing that it was not told',
    async run(context, assert) {
      await context.connect().request('options', 'api')
      const { method, url, headers } = await last(context)
      assert.equal([method, url], ['OPTIONS', '/proxy/api'])
      assert.equal(
        Object.keys(headers).filter((name) => name.startsWith('x-meshguard')),
        ['x-meshguard-trace-id'],
      )
    },
  },
  {
    title: 'sends JSON, text, forms and streams',
    async run(context, assert) {
      const client = context.connect()
      const sent = async () => {
        const { body, headers } = await last(context)
        return [body, headers['content-type']?.split(';')[0]]
      }
      await client.post('/api', { json: { name: 'Ada' } })
      assert.equal(await sent(), ['{"name":"Ada"}', 'application/json'])
      await client.post('/api', { json: [1], headers: { 'content-type': 'application/vnd.api+json' } })
      assert.equal(await sent(), ['[1]', 'application/vnd.api+json'])
      await client.put('/api', { body: 'Grüße' })
      assert.equal((await sent())[0], 'Grüße')
      await client.put('/api', { body: new URLSearchParams({ a: 'b' }) })
      assert.equal(await sent(), ['a=b', 'application/x-www-form-urlencoded'])
      await client.post('/api', { body: new Blob(['some ', 'bytes']).stream() })
      assert.equal((await sent())[0], 'some bytes')
      isA(TypeError, await rejection(client.post('/api', { json: 1, body: '1' })), assert)
    },
  },
  {
    title: 'sends headers of the caller, and its own credentials whatever they say',
    async run(context, assert) {
      const headers = { accept: 'text/csv', Authorization: 'Bearer another', 'X-MeshGuard-Trace-ID': 'x' }
      await context.connect().get('/api', { headers })
      const sent = (await last(context)).headers
      assert.equal([sent['accept'], sent['authorization']], ['text/csv', `Bearer ${TOKEN}`])
      assert.ok(sent['x-meshguard-trace-id'] !== 'x', 'the trace ID is its own')
    },
  },
  ...PATHS.map(
    (path): Case => ({
      title: `sends nothing for the path ${JSON.stringify(path)}`,
      async run({ connect, received }, assert) {
        isA(ValidationError, await rejection(connect().get(path)), assert)
        assert.equal(await received(), [])
      },
    }),
  ),
  {
    title: 'cannot leave the host: slashes at the beginning are one',
    async run(context, assert) {
      await context.connect().get('//evil.example/x')
      assert.equal((await last(context)).url, '/proxy/evil.example/x')
    },
  },
  ...[401, 403, 404, 429, 500, 503].map(
    (status): Case => ({
      title: `answers ${status} of the upstream as the Response that it is`,
      async run({ answer, connect }, assert) {
        await answer(from('upstream', { status, json: { error: 'Forbidden', message: 'of the upstream' } }))
        const response = await connect().get('/api')
        assert.equal([response.status, await response.json()], [status, { error: 'Forbidden', message: 'of the upstream' }])
      },
    }),
  ),
  {
    title: 'rejects for what the gateway itself refused',
    async run({ answer, connect }, assert) {
      const client = connect()
      await answer(from('gateway', deny('read:contacts', { message: 'Ask a person' })))
      const denied = await rejection(client.get('/api/contacts'))
      isA(PolicyDeniedError, denied, assert)
      assert.equal([denied['action'], denied['reason']], ['read:contacts', 'Ask a person'])
      const message = 'The upstream does not answer'
      await answer(from('gateway', { status: 502, json: { error: 'bad_gateway', message } }))
      const broken = await rejection(client.get('/api'))
      isA(ConnectionError, broken, assert)
      assert.equal(broken.message, message)
      await answer(from('gateway', { status: 404, json: { error: 'not_found', message: 'There is no PROXY_TARGET' } }))
      const missing = await rejection(client.get('/api'))
      isA(MeshGuardError, missing, assert)
      assert.equal([missing['code'], missing['status']], ['not_found', 404])
    },
  },
  {
    title: 'hands a body out as it comes, beyond the time-out, until the signal ends it',
    async run({ answer, connect }, assert) {
      const pieces = ['first', ...Array.from({ length: 30 }, (_, i) => `.${i}`)]
      await answer(from('upstream', { pieces, ending: 'stay' }))
      const abort = new AbortController()
      const response = await connect().get('/api', { timeoutMs: 300, signal: abort.signal })
      const reader = (response.body as ReadableStream<Uint8Array>).getReader()
      const decoder = new TextDecoder()
      let text = ''
      while (!text.endsWith('.29')) text += decoder.decode((await reader.read()).value, { stream: true })
      assert.equal(text, pieces.join(''))
      abort.abort(new Error('enough'))
      await rejection(reader.read())
    },
  },
  {
    title: 'gives up on headers that do not come',
    async run({ answer, connect }, assert) {
      await answer({ ending: 'stay' })
      isA(ConnectionError, await rejection(connect().post('/api', { timeoutMs: 80 })), assert)
    },
  },
]
