import { decisionOf } from '@meshguard/fastify'
import Fastify, { type FastifyInstance, type FastifyReply, type FastifyRequest } from 'fastify'
import { afterEach, describe, expect, expectTypeOf, it, vi } from 'vitest'
import { call, closeAll, ok, setUp, status, talk } from './fastify-world.js'
import { OLDEST } from './oldest.js'

afterEach(closeAll)

describe('Fastify: the check is bound to the route object', () => {
  const leniency = {
    ignoreTrailingSlash: true,
    ignoreDuplicateSlashes: true,
    caseSensitive: false,
    useSemicolonDelimiter: true,
  }
  const lenient = OLDEST ? leniency : { routerOptions: leniency }

  it.each(['/admin', '/admin/', '/ADMIN', '//admin', '/%61dmin', '/admin;x=1', '/Admin//?x'])(
    'lenient routers dispatch %s to the route that is checked',
    async (url) => {
      const { app, protect, actions } = setUp(['read:contacts'], {}, { ...lenient })
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
