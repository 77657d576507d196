import { type AddressInfo, connect } from 'node:net'
import { type Answer, createGuard, type DecisionRequest, type Guard } from '@meshguard/core'
import { createProtect, decisionOf, type ProtectOptions } from '@meshguard/fastify'
import Fastify, { type FastifyInstance, type FastifyReply, type FastifyRequest, type InjectOptions } from 'fastify'
import { afterEach, describe, expect, expectTypeOf, it, vi } from 'vitest'

const apps: FastifyInstance[] = []

afterEach(async () => {
  vi.restoreAllMocks()
  await Promise.all(apps.splice(0).map((app) => app.close()))
})

/** A guard with an allow-list, in which a bearer token is the id of its agent, and what it was asked. */
function world(allow: readonly string[], decide?: (request: DecisionRequest) => Answer | Promise<Answer>) {
  const asked: DecisionRequest[] = []
  const answer = ({ action }: DecisionRequest): Answer =>
    allow.includes(action) ? { allowed: true, code: 'allowed' } : { allowed: false, code: 'no_match' }
  const guard: Guard = createGuard({
    source: {
      name: 'allow-list',
      decide(request) {
        asked.push({ ...request })
        return (decide ?? answer)(request)
      },
    },
    authenticate: (id) => ({ id, trustTier: 'verified' }),
    timeoutMs: 60,
  })
  return { guard, asked, actions: () => asked.map(({ action }) => action) }
}

function fastify(options: object = {}): FastifyInstance {
  const app: FastifyInstance = Fastify(options)
  apps.push(app)
  return app
}

function setUp(allow: readonly string[], options: ProtectOptions = {}, appOptions: object = {}) {
  const { guard, asked, actions } = world(allow)
  const protect = createProtect(guard, options)
  return { app: fastify(appOptions), guard, protect, asked, actions }
}

const ok = async () => ({ ran: true })
const call = (app: FastifyInstance, method: string, url: string, more: InjectOptions = {}) =>
  app.inject({ method: method as 'GET', url, ...more, headers: { authorization: 'Bearer agent-1', ...more.headers } })
const status = async (app: FastifyInstance, method: string, url: string, more?: InjectOptions) =>
  (await call(app, method, url, more)).statusCode

/** Keeps the reports of the last net off the terminal. */
const quiet = () => vi.spyOn(console, 'error').mockImplementation(() => {})

describe('Fastify: the check is bound to the route object', () => {
  const lenient = {
    routerOptions: {
      ignoreTrailingSlash: true,
      ignoreDuplicateSlashes: true,
      caseSensitive: false,
      useSemicolonDelimiter: true,
    },
  }

  it.each(['/admin', '/admin/', '/ADMIN', '//admin', '/%61dmin', '/admin;x=1', '/Admin//?x'])(
    'lenient routers dispatch %s to the route that is checked',
    async (url) => {
      const { app, protect, actions } = setUp(['read:contacts'], {}, lenient)
      protect(app).get('/admin', ok)
      expect(await status(app, 'GET', url)).toBe(403)
      expect(actions()).toEqual(['read:admin'])
    },
  )

  it('GET * runs the route of / and is checked as that', async () => {
    const { app, protect, asked } = setUp(['read:/'])
    protect(app).get('/', ok)
    await app.listen({ port: 0 })
    const answer = await talk(app, 'GET * HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer agent-1\r\nConnection: close\r\n\r\n')
    expect(answer).toContain('200 OK')
    expect(asked.map(({ action, resource }) => [action, resource])).toEqual([['read:/', '/']])
  })

  it('a rewritten url is checked as the route that it reaches', async () => {
    const { app, protect, actions } = setUp(['read:contacts'], {}, { rewriteUrl: () => '/admin' })
    protect(app).get('/admin', ok)
    app.get('/contacts', ok)
    expect(await status(app, 'GET', '/contacts')).toBe(403)
    expect(actions()).toEqual(['read:admin'])
  })

  it('routes that share one config object, or copy that of another, keep their own actions', async () => {
    const { app, protect, actions } = setUp(['read:contacts', 'list:contacts'])
    let early = app
    await app.register(async (scope) => {
      early = scope as unknown as FastifyInstance
    })
    const shared = { config: { shared: true } }
    const seen: object[] = []
    protect(app).addHook('onRoute', (route) => void seen.push(route.config ?? {}))
    app.get('/contacts', { ...shared, onRequest: protect('list:contacts') }, ok)
    app.get('/emails', shared, ok)
    early.get('/admin', { config: { ...seen[0] } }, ok)
    expect(await status(app, 'GET', '/contacts')).toBe(200)
    expect([await status(app, 'GET', '/emails'), await status(app, 'GET', '/admin')]).toEqual([403, 403])
    expect(actions()).toEqual(['list:contacts', 'read:emails', 'read:admin'])
  })

  it('constraints on one url: each route is checked for itself', async () => {
    const { app, protect } = setUp(['read:partners'])
    protect(app)
    app.get('/things', { constraints: { host: 'a.example' }, onRequest: protect('read:partners') }, ok)
    app.get('/things', { constraints: { host: 'b.example' } }, ok)
    expect(await status(app, 'GET', '/things', { headers: { host: 'a.example' } })).toBe(200)
    expect(await status(app, 'GET', '/things', { headers: { host: 'b.example' } })).toBe(403)
  })

  it('a route of several methods is decided by the method of the request, and never runs for OPTIONS', async () => {
    const { app, protect, actions } = setUp(['write:things'])
    const ran = vi.fn(ok)
    protect(app).route({ method: ['GET', 'POST', 'OPTIONS'], url: '/things', handler: ran })
    const preflight = { origin: 'https://a.example', 'access-control-request-method': 'POST' }
    expect(await status(app, 'POST', '/things')).toBe(200)
    expect(await status(app, 'GET', '/things')).toBe(403)
    expect(await status(app, 'HEAD', '/things')).toBe(403)
    expect(await status(app, 'OPTIONS', '/things', { headers: preflight })).toBe(403)
    expect(actions()).toEqual(['write:things', 'read:things', 'read:things'])
    expect(ran).toHaveBeenCalledTimes(1)
  })

  it('methods that were added to Fastify are unmapped', async () => {
    const { app, protect, actions } = setUp(['read:things'])
    protect(app).addHttpMethod('PROPFIND')
    app.route({ method: 'PROPFIND', url: '/things', handler: ok })
    expect(await status(app, 'PROPFIND', '/things')).toBe(403)
    expect(actions()).toEqual([])
  })

  it('the root of a plugin has one name, with and without its slash, for HEAD as for GET', async () => {
    const { app, protect, actions } = setUp([], { actions: { 'GET /area': 'enter:area' } })
    protect(app).register(async (scope) => void scope.get('/', ok), { prefix: '/area' })
    for (const [method, url] of ['GET /area', 'GET /area/', 'HEAD /area', 'HEAD /area/'].map((one) => one.split(' ')))
      expect(await status(app, method as string, url as string)).toBe(403)
    expect(actions()).toEqual(['enter:area', 'enter:area', 'enter:area', 'enter:area'])
  })
})

describe('Fastify: patterns of find-my-way', () => {
  it.each([
    ['/contacts/:id', '/contacts/4%2F2', 'read:contacts', 'contacts/4%2F2'],
    ['/contacts/:id(^\\d+)', '/contacts/42', 'read:contacts', 'contacts/42'],
    ['/near/:lat-:lng', '/near/15-20', 'read:near', 'near/15-20'],
    ['/files/:name.:ext', '/files/a.png', 'read:files', 'files/a.png'],
    ['/files/:name(^\\w+).png', '/files/a.png', 'read:files', 'files/a.png'],
    ['/pages/:page?', '/pages', 'read:pages', 'pages'],
    ['/pages/:page?', '/pages/7', 'read:pages', 'pages/7'],
    ['/files/*', '/files/a/b%20c', 'read:files', 'files/a/b%20c'],
  ])('%s asked as %s is %s on %s', async (pattern, url, action, resource) => {
    const { app, protect, asked } = setUp([action])
    protect(app).get(pattern, ok)
    expect(await status(app, 'GET', url)).toBe(200)
    expect(asked.map((one) => [one.action, one.resource])).toEqual([[action, resource]])
  })

  it.each([
    ['/name::verb', '/name:verb'],
    ['/at/:hour(^\\d{2})h:minute(^\\d{2})m', '/at/12h34m'],
    ['/odd/:file@2x', '/odd/1'],
    ['*', '/anything'],
  ])('%s has no name to derive an action from: denied, and listed by verify', async (pattern, url) => {
    const { app, protect, asked } = setUp(['read:name', 'read:at', 'read:odd', 'read:/'])
    protect(app).get(pattern, ok)
    expect(await status(app, 'GET', url)).toBe(403)
    expect(asked).toEqual([])
    expect(() => protect.verify(app)).toThrow(pattern)
  })

  it('a bare * with a declared action has the whole path as its resource', async () => {
    const { app, protect, asked } = setUp(['read:site'])
    protect(app).get('*', { onRequest: protect('read:site') }, ok)
    expect(await status(app, 'GET', '/a/b')).toBe(200)
    expect(asked[0]?.resource).toBe('a/b')
  })

  it.each(['/tenants//contacts/42', '/contacts/', '/files/', '/files/a//b'])('an empty parameter is 400: %s', async (url) => {
    const { app, protect, asked } = setUp(['read:contacts'])
    protect(app).get('/contacts/:id', ok)
    app.get('/files/*', ok)
    app.register(async (scope) => void scope.get('/contacts/:id', ok), { prefix: '/tenants/:tenant' })
    expect(await status(app, 'GET', url)).toBe(400)
    expect(asked).toEqual([])
  })

  it('equal parameter names at two levels throw when the route is registered', async () => {
    const { app, protect } = setUp([])
    protect(app).register(async (scope) => void scope.get('/emails/:id', ok), { prefix: '/contacts/:id' })
    await expect(app.ready()).rejects.toThrow(/":id"/)
  })

  it('equal parameter names of a route registered earlier are denied, and listed by verify', async () => {
    const { app, protect, asked } = setUp(['read:contacts/emails'])
    app.get('/contacts/:id/emails/:id', ok)
    protect(app)
    expect(await status(app, 'GET', '/contacts/1/emails/2')).toBe(403)
    expect(asked).toEqual([])
    expect(() => protect.verify(app)).toThrow(/":id"/)
  })
})

describe('Fastify: own checks', () => {
  it('stand alone as the first of the route’s onRequest, as a function or in a list', async () => {
    const { app, protect, actions } = setUp(['purge:contacts', 'purge:emails'])
    protect(app).delete('/contacts', { onRequest: protect('purge:contacts') }, ok)
    app.delete('/emails', { onRequest: [protect('purge:emails'), (_request, _reply, done) => done()] }, ok)
    expect([await status(app, 'DELETE', '/contacts'), await status(app, 'DELETE', '/emails')]).toEqual([200, 200])
    expect(actions()).toEqual(['purge:contacts', 'purge:emails'])
  })

  it('come before hooks of the plugin that the route is in', async () => {
    const { app, protect } = setUp([])
    const hook = vi.fn((_request: FastifyRequest, _reply: FastifyReply, done: () => void) => done())
    protect(app).addHook('onRequest', hook)
    app.delete('/contacts', { onRequest: protect('purge:contacts') }, ok)
    expect(await status(app, 'DELETE', '/contacts')).toBe(403)
    expect(hook).not.toHaveBeenCalled()
  })

  it.each(['onRequest', 'preValidation', 'preHandler'] as const)(
    'run in addition anywhere else: %s of a plugin',
    async (name) => {
      const { app, protect, actions } = setUp(['read:contacts'])
      protect(app).register(async (scope) => {
        scope.addHook(name, protect('enter:area'))
        scope.get('/contacts', ok)
      })
      expect(await status(app, 'GET', '/contacts')).toBe(403)
      expect(actions()).toEqual(['read:contacts', 'enter:area'])
    },
  )

  it('run in addition in preParsing and in the second place of onRequest', async () => {
    const { app, protect, actions } = setUp(['read:contacts', 'read:second', 'read:parsing'])
    protect(app).get(
      '/contacts',
      { onRequest: [(_request, _reply, done) => done(), protect('read:second')], preParsing: protect('read:parsing') },
      ok,
    )
    expect(await status(app, 'GET', '/contacts')).toBe(200)
    expect(actions()).toEqual(['read:contacts', 'read:second', 'read:parsing'])
  })

  it('in addition, a check added before protect(app) does not stand for the derived one', async () => {
    const { app, protect, actions } = setUp(['enter:area'])
    app.addHook('onRequest', protect('enter:area'))
    app.addHook('onRequest', protect.open('too early, and no route'))
    protect(app).get('/contacts', ok)
    expect(await status(app, 'GET', '/contacts')).toBe(403)
    expect(actions()).toEqual(['enter:area', 'read:contacts'])
  })

  it('work on a single route of an app that is not protected', async () => {
    const { app, protect, asked } = setUp(['read:contacts'])
    app.get('/contacts/:id', { onRequest: protect() }, async (request) => decisionOf(request)?.resource)
    app.get('/admin', { preHandler: protect('read:admin') }, ok)
    app.get('/rest', ok)
    expect((await call(app, 'GET', '/contacts/42')).body).toBe('contacts/42')
    expect([await status(app, 'GET', '/admin'), await status(app, 'GET', '/rest')]).toEqual([403, 200])
    expect(asked.length).toBe(2)
  })

  it('of two protects on one app both are asked', async () => {
    const [first, second] = [setUp(['read:contacts', 'read:emails']), setUp(['read:contacts'])]
    first.protect(second.protect(first.app))
    first.app.get('/contacts', ok)
    first.app.get('/emails', ok)
    expect(await status(first.app, 'GET', '/contacts')).toBe(200)
    expect(await status(first.app, 'GET', '/emails')).toBe(403)
    expect([first.actions(), second.actions()]).toEqual([['read:contacts'], ['read:contacts', 'read:emails']])
  })
})

describe('Fastify: a route with a context', () => {
  const withTotal = { context: (request: FastifyRequest) => ({ total: (request.body as { total: number }).total }) }
  const order = { payload: { total: 5 } }

  it('is decided before every preHandler, also of a plugin that was registered before protect', async () => {
    const { app, protect, asked } = setUp(['write:orders'], withTotal)
    const order_ = vi.fn(async () => {})
    app.register(async (scope) => {
      scope.addHook('preHandler', order_)
      scope.post('/denied', { preHandler: order_ }, ok)
    })
    protect(app).addHook('preHandler', order_)
    app.post('/orders', ok)
    expect(await status(app, 'POST', '/denied', order)).toBe(403)
    expect(order_).not.toHaveBeenCalled()
    expect(await status(app, 'POST', '/orders', order)).toBe(200)
    expect(order_).toHaveBeenCalledTimes(1)
    expect(asked.map(({ action, context }) => [action, context])).toEqual([
      ['write:denied', { total: 5 }],
      ['write:orders', { total: 5 }],
    ])
  })

  it('is decided although another check of ours has already allowed something else', async () => {
    const { app, protect, actions } = setUp(['enter:area'], withTotal)
    const ran = vi.fn(ok)
    protect(app).post('/orders', { preValidation: protect('enter:area', { context: () => ({}) }) }, ran)
    expect(await status(app, 'POST', '/orders', order)).toBe(403)
    expect(actions()).toEqual(['enter:area', 'write:orders'])
    expect(ran).not.toHaveBeenCalled()
  })

  it('keeps the parameters as they were routed, whatever validation makes of them', async () => {
    const { app, protect, asked } = setUp(['write:orders', 'read:orders'])
    const schema = { params: { type: 'object', properties: { id: { type: 'integer' } } } }
    protect(app)
    app.post('/orders/:id', { schema, onRequest: protect('write:orders', withTotal) }, async ({ params }) => params)
    app.get('/orders/:id', { schema, preHandler: protect('read:orders') }, ok)
    expect((await call(app, 'POST', '/orders/042', order)).json()).toEqual({ id: 42 })
    expect(await status(app, 'GET', '/orders/042')).toBe(200)
    expect(asked.map(({ resource }) => resource)).toEqual(['orders/042', 'orders/042', 'orders/042'])
  })

  it('that fails validation before the decision cannot be answered below 400 by an error handler', async () => {
    quiet()
    const { app, protect, asked } = setUp(['write:orders'], withTotal)
    const body = { type: 'object', required: ['total'] }
    protect(app).setErrorHandler((_error, _request, reply) => reply.code(200).send('leaked'))
    app.post('/orders', { schema: { body } }, ok)
    const reply = await call(app, 'POST', '/orders', { payload: {} })
    expect([reply.statusCode, reply.json().error, asked]).toEqual([403, 'Forbidden', []])
  })

  it('or with a dynamic action reads the body, and authenticates before it is parsed', async () => {
    const { app, protect, actions } = setUp(['call:sum'])
    const dynamic = protect({ action: ({ body }) => `call:${(body as { method: string }).method}`, dynamic: true })
    protect(app).post('/rpc', { onRequest: dynamic }, ok)
    expect(await status(app, 'POST', '/rpc', { payload: { method: 'sum' } })).toBe(200)
    expect(await status(app, 'POST', '/rpc', { payload: { method: 'drop' } })).toBe(403)
    const broken = { payload: '{', headers: { 'content-type': 'application/json', authorization: 'Basic x' } }
    expect(await status(app, 'POST', '/rpc', broken)).toBe(401)
    expect(actions()).toEqual(['call:sum', 'call:drop'])
  })

  it('that an earlier preValidation turns into a 404 runs neither', async () => {
    const { app, protect, asked } = setUp(['write:orders'], withTotal)
    const ran = vi.fn(ok)
    protect(app).post('/orders', { preValidation: (_request, reply) => void reply.callNotFound() }, ran)
    expect(await status(app, 'POST', '/orders', order)).toBe(404)
    expect([asked.length, ran.mock.calls.length]).toEqual([0, 0])
  })
})

describe('Fastify: what answers without a route', () => {
  const hook = (code: number) => (_request: FastifyRequest, reply: FastifyReply) => reply.code(code).send('told')

  it('a hook added before protect may refuse, and may not answer', async () => {
    const report = quiet()
    for (const [code, expected] of [
      [200, 403],
      [302, 403],
      [418, 418],
    ] as const) {
      const { app, protect, asked } = setUp(['read:contacts'])
      app.addHook('onRequest', hook(code))
      protect(app).get('/contacts', ok)
      const reply = await call(app, 'GET', '/contacts?token=secret')
      expect([reply.statusCode, reply.body.includes('told'), asked]).toEqual([expected, expected === 418, []])
    }
    expect(report).toHaveBeenCalledTimes(2)
    expect(report.mock.calls.flat().join()).not.toContain('secret')
  })

  it('a hook added before protect may answer for a route that is open, and a preflight', async () => {
    const { app, protect } = setUp([])
    app.addHook('onRequest', (_request, reply) => reply.code(204).send())
    protect(app).get('/health', { onRequest: protect.open('liveness probe') }, ok)
    app.get('/contacts', ok)
    expect(await status(app, 'GET', '/health')).toBe(204)
    expect(await status(app, 'OPTIONS', '/contacts')).toBe(204)
  })

  it('a CORS plugin that comes later answers preflights by its own route and hook', async () => {
    const { app, protect } = setUp(['read:contacts'])
    protect(app).addHook('onRequest', async (request, reply) => {
      if (request.method === 'OPTIONS') return reply.code(204).header('access-control-allow-origin', '*').send()
    })
    app.options('*', (_request, reply) => reply.callNotFound())
    app.get('/contacts', ok)
    await app.ready()
    const preflight = { origin: 'https://a.example', 'access-control-request-method': 'GET' }
    const reply = await app.inject({ method: 'OPTIONS', url: '/contacts', headers: preflight })
    expect([reply.statusCode, reply.headers['access-control-allow-origin']]).toEqual([204, '*'])
    protect.verify(app)
  })

  it('a not-found handler may not answer OPTIONS either, while a hook before it may', async () => {
    quiet()
    const [one, other] = [setUp([]), setUp([])]
    one.protect(one.app).setNotFoundHandler((_request, reply) => reply.code(200).send('told'))
    other.protect(other.app).addHook('onRequest', hook(204))
    expect(await status(one.app, 'OPTIONS', '/nowhere')).toBe(403)
    expect(await status(other.app, 'OPTIONS', '/nowhere')).toBe(204)
  })

  it.each(['send', 'hijack', 'stream'])(
    'a not-found handler of a plugin may not answer, however it writes: %s',
    async (how) => {
      quiet()
      const { app, protect } = setUp([])
      protect(app).register(
        async (scope) =>
          void scope.setNotFoundHandler((_request, reply) => {
            if (how === 'send') return reply.code(200).send('told')
            reply.hijack().raw.setHeader('x-secret', 'told')
            if (how === 'stream') reply.raw.write('to')
            reply.raw.end('ld')
          }),
        { prefix: '/area' },
      )
      await app.listen({ port: 0 })
      const answer = await talk(app, 'GET /area/x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n')
      expect(answer).toMatch(/^HTTP\/1.1 403 /)
      expect(answer).not.toMatch(/told|^ld/m)
    },
  )

  it('a not-found handler with a check of ours, or that is open, answers', async () => {
    const one = setUp(['read:pages'])
    one.protect(one.app)
    one.app.setNotFoundHandler({ preHandler: one.protect('read:pages') }, (_request, reply) => reply.code(200).send('page'))
    expect([await status(one.app, 'GET', '/x'), one.actions()]).toEqual([200, ['read:pages']])
    expect(await status(one.app, 'GET', '/x', { headers: { authorization: '' } })).toBe(401)

    const other = setUp([])
    other.protect(other.app)
    const open = other.protect.open('the shell of the web app')
    other.app.setNotFoundHandler({ preHandler: open }, (_request, reply) => reply.code(200).send('shell'))
    expect((await call(other.app, 'GET', '/x')).body).toBe('shell')
  })
})

describe('Fastify: where and when', () => {
  it('protect(scope) protects that plugin and those in it, and nothing beside them', async () => {
    const { app, protect, actions } = setUp([])
    app.get('/outside', ok)
    app.register(async (scope) => {
      protect(scope).get('/inside', ok)
      scope.register(async (deeper) => void deeper.get('/deeper', ok))
    })
    expect(await status(app, 'GET', '/outside')).toBe(200)
    expect([await status(app, 'GET', '/inside'), await status(app, 'GET', '/deeper')]).toEqual([403, 403])
    expect(actions()).toEqual(['read:inside', 'read:deeper'])
  })

  it('plugins that were loaded before protect are protected', async () => {
    const { app, protect, actions } = setUp([])
    await app.register(async (scope) => void scope.get('/early', ok))
    protect(app)
    expect(await status(app, 'GET', '/early')).toBe(403)
    expect(actions()).toEqual(['read:early'])
  })

  it('protect comes before hooks of a plugin that was registered earlier and is loaded later', async () => {
    const { app, protect } = setUp([])
    const loads = vi.fn((_request: FastifyRequest, _reply: FastifyReply, done: () => void) => done())
    app.register(async (scope) => {
      scope.addHook('onRequest', loads)
      scope.get('/early', ok)
    })
    protect(app)
    expect(await status(app, 'GET', '/early')).toBe(403)
    expect(loads).not.toHaveBeenCalled()
  })

  it('protecting twice asks once', async () => {
    const { app, protect, actions } = setUp(['read:contacts'])
    protect(protect(app)).register(async (scope) => void protect(scope).get('/contacts', ok))
    expect(await status(app, 'GET', '/contacts')).toBe(200)
    expect(actions()).toEqual(['read:contacts'])
    expect(protect.routes(app)).toHaveLength(1)
  })

  it('protect throws once the app is ready, and says what to do', async () => {
    const { app, protect } = setUp([])
    app.addHook('onReady', async () => void protect(app))
    await expect(app.ready()).rejects.toThrow(/before ready or listen/)
    const other = fastify()
    await other.ready()
    expect(() => protect(other)).toThrow(TypeError)
  })

  it('the table holds routes registered before and after, of the instance that is asked for', async () => {
    const { app, protect } = setUp([])
    app.get('/early/:id', ok)
    await app.register(async (scope) => void scope.get('/', { onRequest: protect.open('not heard') }, ok), { prefix: '/area' })
    protect(app)
    let inner = app
    app.register(async (scope) => {
      inner = scope as unknown as FastifyInstance
      scope.route({ method: ['POST', 'PUT'], url: '/late', handler: ok })
      scope.head('/alone', ok)
      scope.get('/both', ok)
    })
    await app.ready()
    const lines = (of: FastifyInstance) =>
      protect.routes(of).map(({ method, pattern, action }) => `${method} ${pattern} ${action}`)
    const late = ['POST /late write:late', 'PUT /late write:late', 'HEAD /alone read:alone', 'GET /both read:both']
    expect(lines(app).sort()).toEqual(['GET /area read:area', 'GET /early/:id read:early', ...late].sort())
    expect(lines(inner)).toEqual(late)
  })

  it('the table of an app that is not protected is refused', () => {
    const { app, protect } = setUp([])
    expect(() => protect.routes(app)).toThrow(TypeError)
    expect(() => protect.verify(app)).toThrow(/call protect\(app\) first/)
  })
})

describe('Fastify: answers', () => {
  const denied = (onDenied: ProtectOptions['onDenied']) => {
    const set = setUp([], { onDenied })
    const ran = vi.fn(ok)
    set.protect(set.app).get('/contacts', ran)
    return { ...set, ran }
  }

  it('onDenied may hide that a route is there', async () => {
    const { app, ran } = denied((_decision, _request, reply) => reply.callNotFound())
    expect([await status(app, 'GET', '/contacts'), ran.mock.calls.length]).toEqual([404, 0])
  })

  it('onDenied may send later from a callback', async () => {
    const { app } = denied((_decision, _request, reply) => void setTimeout(() => reply.code(418).send('later'), 10))
    expect((await call(app, 'GET', '/contacts')).body).toBe('later')
  })

  it('onDenied that takes no reply, throws half way, or returns the reply unsent leaves the default answer', async () => {
    const logs = denied((decision) => void decision.code)
    const throws = denied((_decision, _request, reply) => {
      reply.code(200).header('x-half', 'way')
      throw new Error('half way')
    })
    const unsent = denied((_decision, _request, reply) => reply.code(200))
    for (const { app } of [logs, throws, unsent]) {
      const reply = await call(app, 'GET', '/contacts')
      expect([reply.statusCode, reply.json().error]).toEqual([403, 'Forbidden'])
    }
  })

  it('an asynchronous onSend hook does not make onDenied answer twice', async () => {
    const { app } = denied(async (_decision, _request, reply) => reply.code(403).send({ own: true }))
    const sent = vi.fn(async (_request: FastifyRequest, _reply: FastifyReply, payload: unknown) => payload)
    app.addHook('onSend', sent)
    expect((await call(app, 'GET', '/contacts')).json()).toEqual({ own: true })
    expect(sent).toHaveBeenCalledTimes(1)
  })

  it('the body of a refusal is sent as it is, whatever serializer an earlier hook has set', async () => {
    const { app, protect } = setUp([])
    app.addHook('onRequest', (_request, reply, done) => {
      reply.serializer(() => 'garbled')
      done()
    })
    protect(app).get('/contacts', ok)
    const reply = await call(app, 'GET', '/contacts', { headers: { accept: 'application/problem+json' } })
    expect([reply.headers['content-type'], reply.json().status]).toEqual(['application/problem+json', 403])
  })

  it.each(['before the check', 'during the check'])(
    'a client that goes away %s is answered nothing, and no handler runs',
    async (when) => {
      const ran = vi.fn(ok)
      const allowed: Answer = { allowed: true, code: 'allowed' }
      const slow = () => new Promise<Answer>((resolve) => setTimeout(() => resolve(allowed), 60))
      const { guard, asked } = world([], when === 'during the check' ? slow : () => allowed)
      const app = fastify()
      if (when === 'before the check') app.addHook('onRequest', async () => void (await slow()))
      createProtect({ ...guard, timeoutMs: 5000 })(app).get('/contacts', ran)
      await app.listen({ port: 0 })
      const socket = connect((app.server.address() as AddressInfo).port, '127.0.0.1')
      socket.write('GET /contacts HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer agent-1\r\n\r\n')
      await new Promise((resolve) => setTimeout(resolve, 20))
      socket.destroy()
      await vi.waitFor(() => expect(asked).toHaveLength(1))
      await new Promise((resolve) => setTimeout(resolve, 80))
      expect(ran).not.toHaveBeenCalled()
    },
  )
})

describe('Fastify: types', () => {
  it('protect answers what it was given, and takes an action, options or an instance', () => {
    const { protect } = setUp([])
    const app = Fastify({ http2: true, logger: false })
    expectTypeOf(protect(app)).toEqualTypeOf(app)
    app.get<{ Params: { id: string } }>(
      '/x/:id',
      { onRequest: [protect('read:x')], preHandler: protect() },
      async ({ params }) => params.id,
    )
    // @ts-expect-error not an action
    expect(() => protect('contacts')).toThrow(TypeError)
    // @ts-expect-error an unknown option
    expect(() => protect('read:x', { resorce: 'x' })).toThrow(TypeError)
    // @ts-expect-error without dynamic: true
    expect(() => protect({ action: () => 'read:x' })).toThrow(TypeError)
    // @ts-expect-error a reason is needed
    expect(() => protect.open()).toThrow(TypeError)
  })
})

/** What a server answers to raw bytes. */
async function talk(app: FastifyInstance, bytes: string): Promise<string> {
  const socket = connect((app.server.address() as AddressInfo).port, '127.0.0.1')
  socket.write(bytes, 'latin1')
  let answer = ''
  for await (const chunk of socket) answer += chunk
  return answer
}
