import { answers, app, check, handler, open, route, withOptions } from './items.js'
import type { Case } from './spec.js'

const preflight = { origin: 'https://app.example', 'access-control-request-method': 'POST' }
const unmappedMethods = ['PROPFIND', 'SEARCH', 'LINK', 'TRACE']

/** HEAD, OPTIONS, handlers of all methods, methods that nobody knows. */
export const methods: readonly Case[] = [
  {
    title: 'HEAD is its GET route: the same action, and no body',
    app: app(['read:contacts'], route('GET /contacts/:id'), route('GET /admin')),
    async run({ request, asked, ran }, assert) {
      const allowed = await request('HEAD', '/contacts/42')
      const denied = await request('HEAD', '/admin')
      assert.equal([allowed.status, denied.status, denied.text], [200, 403, ''])
      assert.equal(
        asked.map(({ action, request: info }) => [action, info?.method]),
        [
          ['read:contacts', 'GET'],
          ['read:admin', 'GET'],
        ],
      )
      assert.ok(denied.headers['x-meshguard-trace-id'] !== undefined, 'a denied HEAD has no trace ID')
      assert.equal(ran.length, 1)
    },
  },
  {
    title: 'a route for all methods has one action for each verb',
    app: app(['read:any', 'delete:any'], route('ALL /any')),
    async run({ request, asked, ran }, assert) {
      const statuses: number[] = []
      for (const method of ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE'])
        statuses.push((await request(method, '/any')).status)
      assert.equal(statuses, [200, 200, 403, 403, 403, 200])
      assert.equal(
        asked.map(({ action }) => action),
        ['read:any', 'read:any', 'write:any', 'write:any', 'write:any', 'delete:any'],
      )
      assert.equal(ran.length, 3)
    },
  },
  {
    title: 'a route for all methods never runs for a method that has no verb',
    needs: ['any-method'],
    app: app(['*'], route('ALL /any')),
    async run({ request, ran }, assert) {
      for (const method of unmappedMethods) {
        const { status } = await request(method, '/any')
        assert.ok([400, 403, 404, 405, 501].includes(status), `${method} is answered ${status}`)
      }
      assert.equal(ran, [])
    },
  },
  {
    title: 'a route for all methods never runs for OPTIONS, preflight or not, whatever is allowed',
    app: app(['*'], route('ALL /any')),
    async run({ request, ran }, assert) {
      for (const init of [{}, { headers: preflight }, { headers: preflight, token: null }, { token: null }]) {
        await request('OPTIONS', '/any', init)
      }
      assert.equal(ran, [])
    },
  },
  {
    title: 'preflight headers on other methods mean nothing',
    app: app([], route('ALL /any'), route('POST /contacts')),
    async run({ request, ran }, assert) {
      for (const path of ['/any', '/contacts']) {
        assert.equal((await request('POST', path, { headers: preflight })).status, 403)
        assert.equal((await request('POST', path, { headers: preflight, token: null })).status, 401)
      }
      assert.equal(ran, [])
    },
  },
  {
    title: 'a route for all methods whose action is declared is decided by it, OPTIONS included',
    app: app(
      ['proxy:upstream'],
      route('ALL /proxy', check('proxy:upstream'), handler()),
      route('ALL /closed', check('proxy:other'), handler()),
    ),
    async run({ request, ran, asked }, assert) {
      for (const method of ['GET', 'POST', 'OPTIONS']) assert.equal((await request(method, '/proxy')).status, 200, method)
      assert.equal((await request('OPTIONS', '/proxy', { headers: preflight, token: null })).status, 401)
      assert.equal((await request('OPTIONS', '/closed', { headers: preflight })).status, 403)
      assert.equal([ran.length, asked.filter(({ action }) => action === 'proxy:upstream').length], [3, 3])
    },
  },
  {
    title: 'ALL pattern in "actions" declares a route for all methods',
    app: withOptions(app(['proxy:upstream'], route('ALL /proxy')), { actions: { 'ALL /proxy': 'proxy:upstream' } }),
    async run({ request, asked }, assert) {
      for (const method of ['GET', 'DELETE', 'OPTIONS']) assert.equal((await request(method, '/proxy')).status, 200, method)
      assert.equal(
        asked.map(({ action }) => action),
        ['proxy:upstream', 'proxy:upstream', 'proxy:upstream'],
      )
    },
  },
  {
    title: 'a CORS preflight passes to a handler for OPTIONS alone, without token or decision',
    app: app([], route('OPTIONS /contacts', answers({ status: 204 })), route('GET /contacts')),
    async run({ request, ran, decided }, assert) {
      assert.equal((await request('OPTIONS', '/contacts', { headers: preflight, token: null })).status, 204)
      assert.equal([ran.length, decided], [1, []])
    },
  },
  {
    title: 'an OPTIONS request that is no preflight is not let through to a handler for OPTIONS',
    app: app(['*'], route('OPTIONS /contacts', answers({ status: 204 }))),
    async run({ request, ran }, assert) {
      const half = { origin: 'https://app.example' }
      const other = { 'access-control-request-method': 'POST' }
      for (const headers of [{}, half, other]) {
        assert.equal((await request('OPTIONS', '/contacts', { headers, token: null })).status, 401)
        assert.equal((await request('OPTIONS', '/contacts', { headers })).status, 403)
      }
      assert.equal(ran, [])
    },
  },
  {
    title: 'a handler for OPTIONS with a declared action is decided by it, preflight or not',
    app: app(['options:contacts'], route('OPTIONS /contacts', check('options:contacts'), answers({ status: 204 }))),
    async run({ request, ran }, assert) {
      assert.equal((await request('OPTIONS', '/contacts', { headers: preflight, token: null })).status, 401)
      assert.equal((await request('OPTIONS', '/contacts', { headers: preflight })).status, 204)
      assert.equal((await request('OPTIONS', '/contacts')).status, 204)
      assert.equal(ran.length, 2)
    },
  },
  {
    title: 'an open handler for OPTIONS is open',
    app: app([], route('OPTIONS /contacts', open('cors'), answers({ status: 204 }))),
    async run({ request, ran }, assert) {
      assert.equal((await request('OPTIONS', '/contacts', { token: null })).status, 204)
      assert.equal(ran.length, 1)
    },
  },
  {
    title: 'CORS middleware answers a preflight by itself',
    app: app(
      ['*'],
      {
        use: [
          handler(({ method }) =>
            method === 'OPTIONS' ? { status: 204, headers: { 'access-control-allow-origin': '*' } } : 'next',
          ),
        ],
      },
      route('GET /contacts'),
    ),
    async run({ request }, assert) {
      const reply = await request('OPTIONS', '/contacts', { headers: preflight, token: null })
      assert.equal([reply.status, reply.headers['access-control-allow-origin']], [204, '*'])
      assert.equal((await request('GET', '/contacts')).status, 200)
    },
  },
  {
    title: 'the framework’s own answer to OPTIONS runs no handler and is left alone',
    app: app([], route('GET /contacts'), route('POST /contacts')),
    async run({ request, ran }, assert) {
      const { status } = await request('OPTIONS', '/contacts', { token: null })
      assert.ok([200, 204, 404].includes(status), `answered ${status}`)
      assert.equal(ran, [])
    },
  },
  {
    title: 'a method that the route is not registered for runs nothing',
    app: app(['*'], route('GET /contacts')),
    async run({ request, ran }, assert) {
      for (const method of ['POST', 'DELETE', 'PUT']) assert.ok((await request(method, '/contacts')).status >= 400, method)
      assert.equal(ran, [])
    },
  },
  {
    title: 'method override headers change nothing',
    app: app(['write:contacts'], route('POST /contacts/:id'), route('DELETE /contacts/:id')),
    async run({ request, ran, asked }, assert) {
      const headers = { 'x-http-method-override': 'DELETE', 'x-method-override': 'DELETE' }
      assert.equal((await request('POST', '/contacts/1?_method=DELETE', { headers })).status, 200)
      assert.equal([ran.map(({ name }) => name), asked[0]?.action], [['POST /contacts/:id'], 'write:contacts'])
    },
  },
  {
    title: 'unknown and lower-case methods on a socket are refused and nothing runs',
    needs: ['socket'],
    app: app(['*'], route('ALL /any'), route('GET /one')),
    async run({ send, ran, token }, assert) {
      const authorization = `Authorization: Bearer ${await token()}`
      for (const start of ['FOO /any', 'get /any', 'Get /one', 'get /one', 'DELETE\t /any']) {
        const { status } = await send(`${start} HTTP/1.1\r\nHost: a\r\n${authorization}\r\nConnection: close\r\n\r\n`)
        // 0: some servers close the connection without a word.
        assert.ok(status === 0 || status >= 400, `${start} is answered ${status}`)
      }
      assert.equal(ran, [])
    },
  },
]
