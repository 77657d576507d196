import { createServer, type Server } from 'node:http'
import { connect as connectHttp2, createServer as createHttp2Server } from 'node:http2'
import type { AddressInfo } from 'node:net'
import { PassThrough } from 'node:stream'
import Router, { type RouterContext } from '@koa/router'
import { AuthenticationError, createGuard, type DecisionRequest, type Guard } from '@meshguard/core'
import { type AnyApplication, agentOf, createProtect, decisionOf, type ProtectOptions } from '@meshguard/koa'
import Koa, { type Context, type Next } from 'koa'
import compose from 'koa-compose'
import { ScriptTarget, transpileModule } from 'typescript'
import { afterEach, describe, expect, expectTypeOf, test, vi } from 'vitest'

const servers: Server[] = []
afterEach(async () => {
  await Promise.all(servers.splice(0).map((server) => new Promise((resolve) => server.close(resolve))))
})

/** A guard that allows these actions; what it was asked is in `asked`. */
function guardFor(...allow: string[]): { guard: Guard; asked: DecisionRequest[] } {
  const asked: DecisionRequest[] = []
  const guard = createGuard({
    source: {
      name: 'test',
      decide(request) {
        asked.push({ ...request, request: request.request })
        const allowed = allow.includes(request.action)
        return allowed ? { allowed, code: 'allowed' } : { allowed, code: 'no_match' }
      },
    },
    authenticate(token) {
      if (token === 'bad') throw new AuthenticationError('bad')
      return { id: token, trustTier: 'trusted' }
    },
  })
  return { guard, asked }
}

function protectFor(allow: readonly string[], options?: ProtectOptions) {
  const { guard, asked } = guardFor(...allow)
  return { protect: createProtect(guard, options), asked, guard }
}

async function serve(app: AnyApplication) {
  const server = createServer(app.callback() as never)
  servers.push(server)
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  return (target: string, init: RequestInit = {}) => {
    const [method, path] = target.split(' ') as [string, string]
    const headers = { authorization: 'Bearer agent', connection: 'close', ...(init.headers as Record<string, string>) }
    return fetch(`http://127.0.0.1:${port}${path}`, { ...init, method, headers, redirect: 'manual' })
  }
}

const says = (text: string) => (ctx: Context) => {
  ctx.body = text
}
const quiet = () => vi.spyOn(console, 'error').mockImplementation(() => undefined)

describe('routes and the layers that are dispatched', () => {
  test('a router that was filled before it is protected is guarded like one that is filled after', async () => {
    const { protect, asked } = protectFor(['read:contacts'])
    const router = new Router()
    router.get('/contacts/:id', says('early'))
    protect(router)
    router.delete('/contacts/:id', says('late'))
    const request = await serve(new Koa().use(router.routes()))
    expect((await request('GET /contacts/42')).status).toBe(200)
    expect((await request('DELETE /contacts/42')).status).toBe(403)
    expect(asked.map(({ action, resource }) => [action, resource])).toEqual([
      ['read:contacts', 'contacts/42'],
      ['delete:contacts', 'contacts/42'],
    ])
  })

  test('a layer that was pushed past every method is guarded when it is dispatched', async () => {
    const { protect } = protectFor([])
    const other = new Router()
    other.get('/smuggled', says('secret'))
    const router = protect(new Router())
    const routes = router.routes()
    router.stack.push(...other.stack)
    const request = await serve(new Koa().use(routes))
    expect((await request('GET /smuggled')).status).toBe(403)
  })

  test('a route keeps its check when its stack is emptied of it', async () => {
    const { protect } = protectFor([])
    const router = protect(new Router())
    router.get('/x', says('secret'))
    router.stack[0]?.stack.shift()
    const request = await serve(new Koa().use(router.routes()))
    expect((await request('GET /x')).status).toBe(403)
  })

  test('the check runs before parameter callbacks, whenever those were added, and they keep their order', async () => {
    const { protect } = protectFor(['read:orgs/contacts'])
    const order: string[] = []
    const router = protect(new Router())
    router.get('/orgs/:org/contacts/:id', says('ok'))
    router.post('/orgs/:org/contacts/:id', says('never'))
    const note = (name: string) => (_value: string, _ctx: unknown, next: Next) => {
      order.push(name)
      return next()
    }
    router.param('org', note('org'))
    router.param('id', note('id'))
    const request = await serve(new Koa().use(router.routes()))
    expect((await request('POST /orgs/a/contacts/1')).status).toBe(403)
    expect(order).toEqual([])
    expect((await request('GET /orgs/a/contacts/1')).status).toBe(200)
    expect(order).toEqual(['org', 'id'])
  })

  test.each([true, 'specificity'] as const)(
    'an exclusive router (%s) runs the check of the layer that it chose',
    async (exclusive) => {
      const { protect, asked } = protectFor(['read:export'])
      const router = protect(new Router({ exclusive }))
      router.get('/contacts/:id', says('item'))
      router.get('/export', protect('read:export'), says('export'))
      const request = await serve(protect(new Koa()).use(router.routes()))
      expect((await request('GET /contacts/1')).status).toBe(403)
      expect((await request('GET /export')).status).toBe(200)
      expect(asked.map(({ action }) => action)).toEqual(['read:contacts', 'read:export'])
    },
  )

  test('a check given to use() of an exclusive router is refused, since that would never run it', () => {
    const { protect } = protectFor([])
    const router = protect(new Router({ exclusive: true }))
    expect(() => router.use('/x', protect('admin:enter'))).toThrow(/exclusive/)
  })

  test('a router under two mounts has two actions, also when it is prefixed later', async () => {
    const { protect, asked } = protectFor(['read:a/items'])
    const items = new Router()
    items.get('/items/:id', says('item'))
    const router = protect(new Router())
    router.use('/a', items.routes())
    router.use('/b', items.routes())
    const app = protect(new Koa()).use(router.routes())
    expect(protect.routes(app)).toEqual([
      { method: 'GET', pattern: '/a/items/:id', action: 'read:a/items', shared: true },
      { method: 'GET', pattern: '/b/items/:id', action: 'read:b/items', shared: true },
    ])
    const request = await serve(app)
    expect((await request('GET /a/items/1')).status).toBe(200)
    expect((await request('GET /b/items/1')).status).toBe(403)
    router.prefix('/late')
    expect((await request('GET /late/a/items/1')).status).toBe(403)
    expect(asked.map(({ action }) => action)).toEqual(['read:a/items', 'read:b/items', 'read:late/a/items'])
  })

  test('a router that is a handler of a route is protected in turn', async () => {
    const { protect } = protectFor(['read:x'])
    const inner = new Router()
    inner.get('/x/secret', says('secret'))
    const router = protect(new Router())
    router.get('/x{/*rest}', inner.routes() as never)
    const request = await serve(protect(new Koa()).use(router.routes()))
    expect((await request('GET /x/secret')).status).toBe(403)
    expect(protect.routes(router).map(({ action }) => action)).toEqual(['read:x', 'read:x/secret'])
  })

  test('routerPath decides which layer runs, and that layer is what is checked', async () => {
    const { protect, asked } = protectFor(['read:public'])
    const router = protect(new Router())
    router.get('/public', says('public'))
    router.get('/admin', says('admin'))
    const app = protect(new Koa())
    app.use((ctx, next) => {
      if (ctx.get('x-rewrite') !== '') Object.assign(ctx, { newRouterPath: ctx.get('x-rewrite') })
      return next()
    })
    const request = await serve(app.use(router.routes()))
    expect((await request('GET /public', { headers: { 'x-rewrite': '/admin' } })).status).toBe(403)
    expect(asked.map(({ action }) => action)).toEqual(['read:admin'])
  })

  test('a method that was rewritten behind the dispatch does not change what a route is checked for', async () => {
    const { protect, asked } = protectFor(['read:x', 'read:all', 'write:all'])
    const router = protect(new Router())
    router.use((ctx, next) => {
      ctx.method = ctx.get('x-method') || ctx.method
      return next()
    })
    router.post('/x', says('posted'))
    router.all('/all', says('all'))
    const request = await serve(protect(new Koa()).use(router.routes()))
    expect((await request('POST /x', { headers: { 'x-method': 'GET' } })).status).toBe(403)
    expect((await request('POST /all', { headers: { 'x-method': 'GET' } })).status).toBe(403)
    expect((await request('POST /all')).status).toBe(200)
    expect(asked.map(({ action }) => action)).toEqual(['write:x', 'write:all'])
  })

  test('a route of several methods has an action for each, and OPTIONS among them is no handler for OPTIONS alone', async () => {
    const { protect } = protectFor(['read:x'])
    const router = protect(new Router())
    router.register('/x', ['GET', 'POST', 'OPTIONS'], [says('ran')])
    const app = protect(new Koa()).use(router.routes())
    const request = await serve(app)
    const preflight = { headers: { origin: 'http://a.example', 'access-control-request-method': 'POST' } }
    expect((await request('GET /x')).status).toBe(200)
    expect((await request('HEAD /x')).status).toBe(200)
    expect((await request('POST /x')).status).toBe(403)
    expect((await request('OPTIONS /x', preflight)).status).toBe(403)
    expect(protect.routes(app)).toEqual([
      { method: 'GET', pattern: '/x', action: 'read:x' },
      { method: 'POST', pattern: '/x', action: 'write:x' },
      { method: 'OPTIONS', pattern: '/x' },
    ])
  })

  test('a redirect is a route for all methods', async () => {
    const { protect } = protectFor(['read:old'])
    const router = protect(new Router())
    router.redirect('/old', '/new', 302)
    const request = await serve(protect(new Koa()).use(router.routes()))
    expect((await request('GET /old')).status).toBe(302)
    expect((await request('DELETE /old')).status).toBe(403)
    expect((await request('OPTIONS /old')).status).toBe(403)
  })

  test('a RegExp route is denied until its action is declared', async () => {
    const { protect } = protectFor(['read:any'])
    const router = protect(new Router({ prefix: '/p' }))
    router.get(/\/p\/reg.*/, says('denied'))
    router.get(/\/p\/own.*/, protect('read:any'), says('ok'))
    const request = await serve(protect(new Koa()).use(router.routes()))
    expect((await request('GET /p/reg1')).status).toBe(403)
    expect((await request('GET /p/own1')).status).toBe(200)
    expect(() => protect.verify(router)).toThrow(/expression/)
  })

  test('equal parameter names at two levels throw at the line that mounts, and at a late prefix', () => {
    const { protect } = protectFor([])
    const nested = new Router()
    nested.get('/contacts/:id', says('x'))
    expect(() => protect(new Router()).use('/orgs/:id', nested.routes())).toThrow(/:id/)
    expect(() => protect(nested).prefix('/orgs/:id')).toThrow(/:id/)
  })

  test('wildcards and optional groups give the resource that the handler sees', async () => {
    const { protect, asked } = protectFor(['read:files', 'read:reports'])
    const router = protect(new Router())
    router.get('/files/*path', says('file'))
    router.get('/reports{/:year}', says('report'))
    router.get('/pages{/static}', says('page'))
    const request = await serve(protect(new Koa()).use(router.routes()))
    expect((await request('GET /files/a/b.txt')).status).toBe(200)
    expect((await request('GET /files/a%2F..%2Fb')).status).toBe(400)
    expect((await request('GET /reports')).status).toBe(200)
    expect((await request('GET /reports/2026')).status).toBe(200)
    expect((await request('GET /pages')).status).toBe(403)
    expect(asked.map(({ resource }) => resource)).toEqual(['files/a/b.txt', 'reports', 'reports/2026'])
  })
})

describe('own checks', () => {
  test('a check in front of nested routes is added to theirs', async () => {
    const { protect, asked } = protectFor(['admin:enter', 'read:admin/users'])
    const users = new Router()
    users.get('/users', says('users')).post('/users', says('never'))
    const router = protect(new Router())
    router.use('/admin', protect('admin:enter'), users.routes())
    const request = await serve(protect(new Koa()).use(router.routes()))
    expect((await request('GET /admin/users')).status).toBe(200)
    expect((await request('POST /admin/users')).status).toBe(403)
    expect(asked.map(({ action, resource }) => [action, resource])).toEqual([
      ['admin:enter', 'admin'],
      ['read:admin/users', 'admin/users'],
      ['admin:enter', 'admin'],
      ['write:admin/users', 'admin/users'],
    ])
  })

  test('one check on two routes knows which of them it stands in', async () => {
    const { protect, asked } = protectFor(['read:a', 'write:b'])
    const derived = protect()
    const router = protect(new Router())
    router.get('/a/:id', derived, says('a')).post('/b', derived, says('b'))
    const request = await serve(protect(new Koa()).use(router.routes()))
    await request('GET /a/1')
    await request('POST /b')
    expect(asked.map(({ action, resource }) => [action, resource])).toEqual([
      ['read:a', 'a/1'],
      ['write:b', 'b'],
    ])
  })

  test('a check works on a router that is not protected as a whole', async () => {
    const { protect } = protectFor(['read:reports'])
    const router = new Router()
    router.get('/reports/:id', protect(), says('ok')).post('/reports/:id', protect(), says('never')).get('/free', says('free'))
    const request = await serve(new Koa().use(router.routes()))
    expect((await request('GET /reports/1')).status).toBe(200)
    expect((await request('POST /reports/1')).status).toBe(403)
    expect((await request('GET /free')).status).toBe(200)
  })

  test('what only makes sense on a route throws in use()', () => {
    const { protect } = protectFor([])
    const nested = new Router()
    const router = protect(new Router())
    expect(() => router.use(protect())).toThrow(/verb:object/)
    expect(() => router.use(protect.open('all'))).toThrow(/protect\.open/)
    expect(() => router.use('/x', protect.open('all'), nested.routes())).toThrow(/protect\.open/)
    expect(() => protect(new Koa()).use(protect.open('all'))).toThrow(/protect\.open/)
    expect(() => protect(new Koa().use(protect()))).toThrow(/verb:object/)
    expect(() => protect.open('all', nested.routes() as never)).toThrow(/router/)
    expect(() => protect(new Router().use(protect.open('all')))).toThrow(/protect\.open/)
    expect(() => protect.routes(new Koa())).toThrow(/call protect/)
  })

  test('a check given to the application has no route of an earlier router for a resource', async () => {
    const { protect, asked } = protectFor(['read:early', 'enter:app'])
    const early = new Router()
    early.get('/early/:id', (_ctx, next) => next())
    const app = protect(new Koa()).use(early.routes()).use(protect('enter:app')).use(says('after'))
    const request = await serve(app)
    expect((await request('GET /early/1')).status).toBe(200)
    expect(asked.map(({ action, resource }) => [action, resource])).toEqual([
      ['read:early', 'early/1'],
      ['enter:app', undefined],
    ])
  })

  const CONTROLLER = `
    class Contacts {
      name = 'contacts'
      @protect('list:contacts') list(ctx) { ctx.body = this.name }
      @protect('remove:contacts') async remove(ctx) { ctx.body = 'removed' }
    }
    return new Contacts()`

  test.each([false, true])(
    'decorated methods are checked, keep this, and are the check of their route (legacy: %s)',
    async (legacy) => {
      const { protect, asked } = protectFor(['list:contacts'])
      const { outputText } = transpileModule(CONTROLLER, {
        compilerOptions: { target: ScriptTarget.ES2022, experimentalDecorators: legacy },
      })
      const create = new Function('protect', outputText) as (protect: unknown) => Record<'list' | 'remove', () => void>
      const controller = protect.bind(create(protect))
      const router = protect(new Router())
      router.get('/contacts', controller.list).delete('/contacts/:id', controller.remove)
      router.get('/arrow', protect.open('the method checks'), (...args) => Reflect.apply(controller.remove, undefined, args))
      const request = await serve(protect(new Koa()).use(router.routes()))
      expect(await (await request('GET /contacts')).text()).toBe('contacts')
      expect((await request('DELETE /contacts/1')).status).toBe(403)
      expect((await request('GET /arrow')).status).toBe(403)
      expect(asked.map(({ action }) => action)).toEqual(['list:contacts', 'remove:contacts', 'remove:contacts'])
      expect(protect.routes(router).map(({ action, declared }) => [action, declared])).toEqual([
        ['list:contacts', true],
        ['remove:contacts', true],
        [undefined, undefined],
      ])
    },
  )

  test('a decorated field is checked, and a legacy one refused', async () => {
    const { protect } = protectFor([])
    const source = "class C { @protect('show:contacts') show = (ctx) => { ctx.body = 'shown' } }; return new C()"
    const compile = (experimentalDecorators: boolean) =>
      new Function('protect', transpileModule(source, { compilerOptions: { target: 9, experimentalDecorators } }).outputText)
    const router = new Router()
    router.get('/contacts', compile(false)(protect).show)
    const request = await serve(new Koa().use(router.routes()))
    expect((await request('GET /contacts')).status).toBe(403)
    expect(() => compile(true)(protect)).toThrow(/legacy/)
  })
})

describe('the last net', () => {
  test.each<[string, (ctx: Context, next: Next) => unknown]>([
    ['a body', says('secret')],
    ['a stream', (ctx) => (ctx.response.body = new PassThrough().end('secret'))],
    ['a redirect', (ctx) => ctx.redirect('/secret')],
    [
      'no content',
      (ctx) => {
        ctx.status = 204
      },
    ],
    [
      'the raw response',
      (ctx) => {
        ctx.respond = false
        ctx.res.statusCode = 200
        ctx.res.end('secret')
      },
    ],
    [
      'the raw response in pieces',
      (ctx) => {
        ctx.respond = false
        ctx.res.statusCode = 200
        ctx.res.write('secret')
        ctx.res.end('secret')
      },
    ],
    [
      'a raw head',
      (ctx) => {
        ctx.respond = false
        ctx.res.writeHead(200, { secret: 'x' }).end('secret')
      },
    ],
    [
      'a middleware that answers after next',
      async (ctx, next) => {
        await next()
        ctx.body = 'secret'
      },
    ],
  ])('replaces %s that no decision covers, and reports its path once', async (_what, middleware) => {
    const error = quiet()
    const { protect } = protectFor([])
    const app = new Koa().use(middleware)
    const request = await serve(protect(app))
    for (let i = 0; i < 2; i++) {
      const response = await request('GET /opaque')
      expect([response.status, response.statusText, response.headers.get('secret')]).toEqual([403, 'Forbidden', null])
      expect(await response.json()).toMatchObject({ error: 'Forbidden' })
    }
    expect(error).toHaveBeenCalledTimes(1)
    error.mockRestore()
  })

  test('replaces what hidden routers and composed middleware answer', async () => {
    const error = quiet()
    const { protect } = protectFor([])
    const hidden = new Router()
    hidden.get('/hidden', says('secret'))
    const request = await serve(protect(new Koa()).use(compose([hidden.routes() as never])))
    expect((await request('GET /hidden')).status).toBe(403)
    error.mockRestore()
  })

  test('holds over HTTP/2', async () => {
    const error = quiet()
    const { protect } = protectFor([])
    const server = createHttp2Server(protect(new Koa()).use(says('secret')).callback() as never)
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    const client = connectHttp2(`http://127.0.0.1:${(server.address() as AddressInfo).port}`)
    const stream = client.request({ ':path': '/x' })
    const status = await new Promise((resolve) => stream.on('response', (headers) => resolve(headers[':status'])))
    let body = ''
    for await (const chunk of stream.setEncoding('utf8')) body += chunk
    client.close()
    await new Promise((resolve) => server.close(resolve))
    expect(status).toBe(403)
    expect(body).not.toContain('secret')
    error.mockRestore()
  })

  test('leaves errors, the 404 of Koa, allowedMethods and preflights alone', async () => {
    const { protect } = protectFor([])
    const router = protect(new Router())
    router.get('/x', says('x'))
    const app = protect(new Koa({ env: 'test' }))
    app.silent = true
    app.use((ctx, next) => {
      if (ctx.method !== 'OPTIONS' || ctx.get('access-control-request-method') === '') return next()
      ctx.set('access-control-allow-methods', 'GET')
      ctx.body = 'preflight'
      return undefined
    })
    app.use(router.routes()).use(router.allowedMethods())
    app.use((ctx) => {
      if (ctx.path === '/throws') throw new Error('thrown')
    })
    const request = await serve(app)
    expect((await request('GET /nowhere')).status).toBe(404)
    expect((await request('GET /throws')).status).toBe(500)
    expect((await request('POST /x')).status).toBe(405)
    const allowed = await request('OPTIONS /x')
    expect([allowed.status, allowed.headers.get('allow')]).toEqual([200, 'HEAD, GET'])
    const headers = { origin: 'http://a.example', 'access-control-request-method': 'GET' }
    expect(await (await request('OPTIONS /x', { headers })).text()).toBe('preflight')
  })

  test('an OPTIONS request gets no body out of middleware that answers everything', async () => {
    const error = quiet()
    const { protect } = protectFor([])
    const request = await serve(protect(new Koa()).use(says('secret')))
    expect(await (await request('OPTIONS /x')).text()).not.toContain('secret')
    error.mockRestore()
  })

  test('protect.open covers what its middleware answers, and nothing behind it', async () => {
    const error = quiet()
    const { protect } = protectFor([])
    const assets = protect.open('assets', (ctx: Context, next: Next) => {
      if (!ctx.path.startsWith('/assets')) return next()
      ctx.body = 'asset'
      return undefined
    })
    const request = await serve(protect(new Koa()).use(assets).use(says('secret')))
    expect(await (await request('GET /assets/a.css')).text()).toBe('asset')
    expect((await request('GET /other')).status).toBe(403)
    error.mockRestore()
  })

  test('an open route is open as far as the router goes, and not behind it', async () => {
    const error = quiet()
    const { protect } = protectFor([])
    const router = protect(new Router())
    router.get('/health', protect.open('liveness probe'), says('up'))
    router.get('/passes', protect.open('passes on'), (_ctx, next) => next())
    const app = protect(new Koa()).use(router.routes()).use(says('secret'))
    const request = await serve(app)
    expect(await (await request('GET /health', { headers: { authorization: '' } })).text()).toBe('up')
    expect((await request('GET /passes')).status).toBe(403)
    expect(protect.routes(app)[0]).toEqual({ method: 'GET', pattern: '/health', open: 'liveness probe' })
    error.mockRestore()
  })

  test('a protected router in a plain application covers its own middleware and nothing else', async () => {
    const error = quiet()
    const { protect } = protectFor(['read:x'])
    const router = protect(new Router())
    router.use((ctx, next) => {
      if (ctx.query['leak'] === undefined) return next()
      ctx.body = 'secret'
      return undefined
    })
    router.get('/x', says('x'))
    const request = await serve(new Koa().use(router.routes()).use(says('not ours')))
    expect((await request('GET /x?leak')).status).toBe(403)
    expect(await (await request('GET /x')).text()).toBe('x')
    expect(await (await request('GET /elsewhere')).text()).toBe('not ours')
    error.mockRestore()
  })
})

describe('answers', () => {
  test('a refusal wins over what earlier middleware set', async () => {
    const { protect } = protectFor([])
    const router = protect(new Router())
    router.get('/x', says('never'))
    const app = protect(new Koa())
    app.use((ctx, next) => {
      ctx.status = 200
      ctx.type = 'text/html'
      ctx.body = '<p>early</p>'
      ctx.set({ 'content-encoding': 'gzip', etag: '"a"', 'x-kept': 'yes' })
      ctx.respond = false
      return next()
    })
    const request = await serve(app.use(router.routes()))
    const response = await request('GET /x')
    expect(response.status).toBe(403)
    expect(response.headers.get('content-type')).toBe('application/json; charset=utf-8')
    expect([response.headers.get('etag'), response.headers.get('x-kept')]).toEqual([null, 'yes'])
    expect(await response.json()).toMatchObject({ error: 'Forbidden', action: 'read:x' })
  })

  test.each<[string, (ctx: Context) => unknown, number, string]>([
    [
      'a body alone keeps the status',
      (ctx) => {
        ctx.body = { mine: true }
      },
      403,
      '{"mine":true}',
    ],
    ['a status and a body', (ctx) => Object.assign(ctx, { status: 418, body: 'tea' }), 418, 'tea'],
    ['a redirect', (ctx) => ctx.redirect('/login'), 302, 'Redirecting'],
    [
      'the raw response, later',
      (ctx) => {
        ctx.respond = false
        setTimeout(() => ctx.res.writeHead(402).end('raw'), 20)
      },
      402,
      'raw',
    ],
    ['nothing', () => undefined, 403, '"error":"Forbidden"'],
    [
      'a throw',
      (ctx) => {
        ctx.body = 'half'
        throw new Error('x')
      },
      403,
      '"error":"Forbidden"',
    ],
    ['a rejection', async () => Promise.reject(new Error('x')), 403, '"error":"Forbidden"'],
    ['a promise that never settles', () => new Promise(() => undefined), 403, '"error":"Forbidden"'],
    [
      'a raw response that never comes',
      (ctx) => {
        ctx.respond = false
      },
      403,
      '"error":"Forbidden"',
    ],
  ])('onDenied: %s', async (_what, onDenied, status, text) => {
    const ran = vi.fn()
    const { guard } = guardFor()
    const protect = createProtect({ ...guard, timeoutMs: 100 }, { onDenied: (_decision, ctx) => onDenied(ctx) })
    const router = protect(new Router())
    router.get('/x', ran)
    const app = protect(new Koa())
    app.silent = true
    const request = await serve(app.use(router.routes()))
    const response = await request('GET /x')
    expect(response.status).toBe(status)
    expect(await response.text()).toContain(text)
    expect(ran).not.toHaveBeenCalled()
  })

  test('the decision and the agent are on the context, and the trace ID on the answer, also of a handler that throws', async () => {
    const { protect } = protectFor(['read:x', 'write:x'])
    const seen: unknown[] = []
    const router = protect(new Router())
    router.get('/x', (ctx) => {
      seen.push(decisionOf(ctx)?.action, agentOf(ctx)?.id)
      ctx.body = 'x'
    })
    router.post('/x', () => {
      throw new Error('broken')
    })
    const app = protect(new Koa())
    app.silent = true
    app.use(async (ctx, next) => {
      seen.push(decisionOf(ctx))
      await next()
    })
    const request = await serve(app.use(router.routes()))
    const headers = { 'x-trace-id': 'trace-0001' }
    expect((await request('GET /x', { headers })).headers.get('x-meshguard-trace-id')).toBe('trace-0001')
    const broken = await request('POST /x', { headers })
    expect([broken.status, broken.headers.get('x-meshguard-trace-id')]).toEqual([500, 'trace-0001'])
    expect(seen).toEqual([undefined, 'read:x', 'agent', undefined])
  })

  test('a handler does not run behind an answer that has been sent', async () => {
    const ran = vi.fn()
    const { protect } = protectFor(['read:x'])
    const router = protect(new Router())
    router.get('/x', ran)
    const app = new Koa().use((ctx, next) => {
      ctx.res.writeHead(202).end('sent')
      return next()
    })
    const request = await serve(app.use(router.routes()))
    expect((await request('GET /x')).status).toBe(202)
    expect(ran).not.toHaveBeenCalled()
  })

  test('two guards on one router both decide', async () => {
    const first = protectFor(['read:x', 'write:x'])
    const second = protectFor(['read:x', 'delete:x'])
    const router = second.protect(first.protect(new Router()))
    router.get('/x', says('x')).post('/x', says('never')).delete('/x', says('never'))
    const request = await serve(second.protect(first.protect(new Koa())).use(router.routes()))
    for (let i = 0; i < 3; i++) expect((await request('GET /x')).status).toBe(200)
    expect((await request('POST /x')).status).toBe(403)
    expect((await request('DELETE /x')).status).toBe(403)
    expect(router.stack.map(({ stack }) => stack.length)).toEqual([3, 3, 3])
    expect([first.asked.length, second.asked.length]).toEqual([4, 5])
  })

  test('protecting twice changes nothing', async () => {
    const { protect, asked } = protectFor(['read:x'])
    const router = protect(protect(new Router()))
    const app = protect(protect(new Koa()))
    router.get('/x', says('x'))
    app.use(router.routes())
    protect(app)
    expect(app.middleware.length).toBe(2)
    const request = await serve(app)
    expect((await request('GET /x')).status).toBe(200)
    expect(asked.length).toBe(1)
  })
})

test('types: protect keeps what it is given, checks stand in typed routers, and wrong options do not compile', () => {
  const { protect } = protectFor([])
  interface State {
    user: string
  }
  const app = protect(new Koa<State, { extra: number }>())
  const router = protect(new Router<State, { extra: number }>())
  expectTypeOf(app).toEqualTypeOf<Koa<State, { extra: number }>>()
  router.get('/a/:id', protect('read:a', { resource: (ctx) => `a/${ctx.params.id}` }), (ctx) => {
    expectTypeOf(ctx.state.user).toEqualTypeOf<string>()
    expectTypeOf(ctx.extra).toEqualTypeOf<number>()
    expectTypeOf(decisionOf(ctx)?.allowed).toEqualTypeOf<boolean | undefined>()
  })
  router.get('/open', protect.open('because'), (ctx: RouterContext<State, { extra: number }>) => agentOf(ctx))
  app.use(protect.open('assets', async (_ctx: Koa.ParameterizedContext<State>, next: Next) => next()))
  // @ts-expect-error an option that does not exist
  expect(() => protect('read:a', { ressource: 'x' })).toThrow(TypeError)
  // @ts-expect-error an action that is a number
  expect(() => protect(1)).toThrow(TypeError)
  // @ts-expect-error a dynamic action must say so
  expect(() => protect({ action: () => 'read:a' })).toThrow(TypeError)
  // @ts-expect-error a reason is needed
  expect(() => protect.open()).toThrow(TypeError)
})
