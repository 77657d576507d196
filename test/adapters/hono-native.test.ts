import { Hono, type MiddlewareHandler } from 'hono'
import { every } from 'hono/combine'
import { LinearRouter } from 'hono/router/linear-router'
import { PatternRouter } from 'hono/router/pattern-router'
import { RegExpRouter } from 'hono/router/reg-exp-router'
import { TrieRouter } from 'hono/router/trie-router'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { actionsOf, ask, ok, passOn, protectFor, statusOf } from './hono-tools.js'
import { OLDEST } from './oldest.js'

beforeEach(() => {
  vi.spyOn(console, 'error').mockImplementation(() => {})
})
afterEach(() => {
  vi.restoreAllMocks()
})

describe('every way to register a route is guarded', () => {
  const ways: Record<string, (app: Hono) => unknown> = {
    'get()': (app) => app.get('/x/y', ok),
    'all()': (app) => app.all('/x/y', ok),
    'on()': (app) => app.on('get', '/x/y', ok),
    'on() with lists': (app) => app.on(['POST', 'GET'], ['/a', '/x/y'], ok),
    'a chained call': (app) => app.post('/a', ok).get('/x/y', ok),
    'a chained call without a path': (app) => app.post('/x/y', ok).get(ok),
    'basePath()': (app) => app.basePath('/x').get('/y', ok),
    'basePath() twice': (app) => app.basePath('/x').basePath('/y').get(ok),
    'basePath() of the prototype': (app) => Hono.prototype.basePath.call(app, '/x').get('/y', ok),
    'a plain sub-app': (app) => app.route('/x', new Hono().get('/y', ok)),
    'a plain sub-app given to route() of the prototype': (app) =>
      Hono.prototype.route.call(app, '/x', new Hono().get('/y', ok)),
    'a plain sub-app in a plain sub-app': (app) => app.route('/', new Hono().route('/x', new Hono().get('/y', ok))),
    'a plain sub-app with its own error handler': (app) =>
      app.route(
        '/x',
        new Hono().get('/y', ok).onError((_e, c) => c.text('own', 500)),
      ),
    'a sub-app of a clone': (app) => app.basePath('/x').route('/', new Hono().get('/y', ok)),
    'the router itself': (app) => {
      const route = { method: 'GET', path: '/x/y', basePath: '/', handler: ok }
      app.router.add('GET', '/x/y', [ok, route])
    },
    'use() of another app with the same router': (app) => new Hono({ router: app.router }).use('/x/y', async (c) => ok(c)),
  }

  it.each(Object.entries(ways))('%s', async (_name, register) => {
    const denying = protectFor([])
    const closed = denying.protect(new Hono())
    register(closed)
    expect(await statusOf(closed, 'GET /x/y')).toBe(403)
    expect(actionsOf(denying.guard)).toEqual(['read:x/y'])

    const allowing = protectFor(['read:x/y'])
    const open = allowing.protect(new Hono())
    register(open)
    expect(await statusOf(open, 'GET /x/y')).toBe(200)
    expect(actionsOf(allowing.guard)).toEqual(['read:x/y'])
  })

  it('a subclass that protects itself', async () => {
    const { protect } = protectFor(['read:a'])
    class Api extends Hono {
      constructor() {
        super()
        protect(this)
      }
    }
    const app = new Api()
    app.get('/a', ok).get('/b', ok)
    expect([await statusOf(app, 'GET /a'), await statusOf(app, 'GET /b')]).toEqual([200, 403])
  })

  it.each([
    ['LinearRouter', () => new LinearRouter<never>()],
    ['TrieRouter', () => new TrieRouter<never>()],
    ['RegExpRouter', () => new RegExpRouter<never>()],
  ])('with %s', async (_name, router) => {
    const { protect } = protectFor(['read:a'])
    const app = protect(new Hono({ router: router() }))
    app.get('/a/:id', ok).get('/b/:id', ok)
    app.notFound((c) => c.text('found'))
    expect([await statusOf(app, 'GET /a/1'), await statusOf(app, 'GET /b/1'), await statusOf(app, 'GET /c')]).toEqual([
      200, 403, 403,
    ])
    expect(await statusOf(app, 'GET /a/2')).toBe(200)
  })

  it('refuses to exchange the router afterwards', () => {
    const app = protectFor([]).protect(new Hono())
    expect(() => Object.assign(app, { router: new TrieRouter() })).toThrow(TypeError)
  })

  it('refuses an app that has routes already', () => {
    const { protect } = protectFor([])
    expect(() => protect(new Hono().get('/early', ok))).toThrow(/GET \/early.*Call protect first/)
    const app = new Hono()
    protect(app).get('/late', ok)
    expect(protect(app)).toBe(app)
  })
})

describe('which action is asked', () => {
  it('is that of the place a protected sub-app is mounted at, in a plain parent too, twice and nested', async () => {
    const { guard, protect } = protectFor(['*'])
    const sub = protect(new Hono())
    sub.use(passOn)
    sub.get('/items/:id', ok)
    const middle = new Hono().route('/m', sub)
    middle.onError((_error, c) => c.text('own', 500))
    const app = new Hono().route('/a', middle).route('/b/:owner', sub)
    expect(JSON.parse((await ask(app, 'GET /a/m/items/1')).text)).toEqual({ action: 'read:a/m/items', resource: 'a/m/items/1' })
    expect(JSON.parse((await ask(app, 'GET /b/x/items/2')).text)).toEqual({ action: 'read:b/items', resource: 'b/x/items/2' })
    expect(actionsOf(guard)).toEqual(['read:a/m/items', 'read:b/items'])
  })

  it('is asked once for a protected sub-app in a protected app, with error handlers on both', async () => {
    const { guard, protect } = protectFor(['*'])
    const sub = protect(new Hono()).onError((_error, c) => c.text('sub', 500))
    sub.get('/y', passOn, () => {
      throw new Error('broken')
    })
    const app = protect(new Hono()).onError((_error, c) => c.text('app', 500))
    app.route('/x', sub)
    const answer = await ask(app, 'GET /x/y')
    expect([answer.status, answer.text, actionsOf(guard)]).toEqual([500, 'sub', ['read:x/y']])
    expect(answer.headers.get('x-meshguard-trace-id')).toBe(guard.decisions[0]?.traceId)
  })

  it('is asked once for each registration, in front of its first handler', async () => {
    const { guard, protect } = protectFor(['*'])
    const app = protect(new Hono())
    app.get('/x', passOn, passOn)
    app.get('/x', ok)
    app.on('GET', '/:any', ok)
    expect(await statusOf(app, 'GET /x')).toBe(200)
    expect(actionsOf(guard)).toEqual(['read:x', 'read:x'])
  })

  it('does not let a second registration on an open path run unchecked', async () => {
    const { protect } = protectFor([])
    const app = protect(new Hono())
    app.get('/x', protect.open('a banner'), passOn)
    app.get('/x', ok)
    expect(await statusOf(app, 'GET /x')).toBe(403)
    const sub = new Hono().get('/x', protect.open('a banner'), passOn).get('/x', ok)
    expect(() => protect(new Hono()).route('/', sub)).toThrow(/GET \/x.*Call protect on that app first/)
  })

  it('is checked again when a handler is moved to another registration', async () => {
    const { guard, protect } = protectFor(['read:a', 'read:b'])
    const app = protect(new Hono())
    app.get('/a', passOn, ok)
    app.get('/b', app.routes[1]?.handler as MiddlewareHandler)
    app.get('/c', app.routes[1]?.handler as MiddlewareHandler)
    expect([await statusOf(app, 'GET /b'), await statusOf(app, 'GET /c')]).toEqual([200, 403])
    expect(actionsOf(guard)).toEqual(['read:b', 'read:c'])
  })

  it('is not derived for a handler that is called by other code than Hono', async () => {
    const { guard, protect } = protectFor(['*'])
    const app = protect(new Hono())
    app.get('/secret', ok)
    const secret = app.routes[0]?.handler as MiddlewareHandler
    const plain = new Hono().get('/public', (c, next) => secret(c, next) as Promise<Response>)
    expect(await statusOf(plain, 'GET /public')).toBe(403)
    expect(guard.decisions.map(({ code }) => code)).toEqual(['unmapped'])
  })

  it('is asked once where the router dispatches one registration twice, and for each value where they differ', async () => {
    const { guard, protect } = protectFor(['*'])
    const trie = protect(new Hono({ router: new TrieRouter() })).get('/x/:id', passOn, ok)
    expect(await statusOf(trie, 'GET /x/:id')).toBe(200)
    expect(guard.decisions.map(({ resource }) => resource)).toEqual(['x/%3Aid'])
    const pattern = protect(new Hono({ router: new PatternRouter() })).get('/y/:a{.+}/:b{.+}?', passOn)
    await ask(pattern, 'GET /y/p/q')
    expect(guard.decisions.slice(1).map(({ resource }) => resource)).toEqual(['y/p%2Fq', 'y/p/q'])
  })

  it('lets an own check stand alone in front, and adds one behind', async () => {
    const { guard, protect } = protectFor(['*'])
    const app = protect(new Hono())
    app.get('/x', protect('purge:x', { resource: 'all of x' }), passOn, ok)
    app.get('/y', passOn, protect('purge:y'), ok)
    app.get('/z', protect('one:z'), protect('two:z'), ok)
    for (const path of ['/x', '/y', '/z']) expect(await statusOf(app, `GET ${path}`)).toBe(200)
    expect(guard.decisions.map(({ action, resource }) => [action, resource])).toEqual([
      ['purge:x', 'all of x'],
      ['read:y', 'y'],
      ['purge:y', 'y'],
      ['one:z', 'z'],
      ['two:z', 'z'],
    ])
  })

  it('does not let a second registration behind an own check of a plain sub-app run with that alone', async () => {
    const { guard, protect } = protectFor(['purge:x'])
    const sub = new Hono().delete('/x', protect('purge:x'), passOn).delete('/x', ok)
    expect(() => protect(new Hono()).route('/', sub)).toThrow(/DELETE \/x.*Call protect on that app first/)
    const app = protect(new Hono()).route('/', protect(new Hono()).delete('/x', protect('purge:x'), passOn).delete('/x', ok))
    expect([await statusOf(app, 'DELETE /x'), actionsOf(guard)]).toEqual([403, ['purge:x', 'delete:x']])
  })

  it('counts own checks of plain sub-apps, and inside an error handler of theirs', async () => {
    const { guard, protect } = protectFor(['purge:x'])
    const sub = new Hono().delete('/x', protect('purge:x'), ok).get('/health', protect.open('probe'), ok)
    sub.onError((_error, c) => c.text('own', 500))
    const app = protect(new Hono()).route('/sub', sub)
    expect([await statusOf(app, 'DELETE /sub/x'), await statusOf(app, 'GET /sub/health', { authorization: '' })]).toEqual([
      200, 200,
    ])
    expect(actionsOf(guard)).toEqual(['purge:x'])
  })

  it('guards single routes of an app that is not protected', async () => {
    const { guard, protect } = protectFor(['read:reports', 'enter:admin'])
    const app = new Hono()
    app.use('/admin/*', protect('enter:admin'))
    app.get('/admin/users', protect(), ok).get('/reports/:id', protect(), ok).get('/free', ok)
    app.get('/combined', every(protect()), ok)
    expect(await statusOf(app, 'GET /reports/7')).toBe(200)
    expect(await statusOf(app, 'GET /admin/users')).toBe(403)
    expect(await statusOf(app, 'GET /free')).toBe(200)
    expect(await statusOf(app, 'GET /combined')).toBe(403)
    expect(guard.decisions.map(({ action, code }) => `${action} ${code}`)).toEqual([
      'read:reports allowed',
      'enter:admin allowed',
      'read:admin/users no_match',
      ' unmapped',
    ])
  })

  it('is that of the GET route for HEAD, and of the route for other methods whatever the spelling', async () => {
    const { guard, protect } = protectFor(['read:x'])
    const app = protect(new Hono())
    app.get('/x', ok).all('/x', ok)
    expect(await statusOf(app, 'HEAD /x')).toBe(200)
    expect(await statusOf(app, 'patch /x')).toBe(403)
    expect(guard.decisions.map(({ action, code }) => [action, code])).toEqual([
      ['read:x', 'allowed'],
      ['', 'unmapped'],
    ])
  })

  it('throws for equal parameter names as soon as the pattern is known', () => {
    const { protect } = protectFor([])
    expect(() => protect(new Hono()).get('/a/:id/b/:id', ok)).toThrow(/:id/)
    expect(() => protect(new Hono()).route('/a/:id', new Hono().get('/:id', ok))).toThrow(/:id/)
    expect(() => protect(new Hono()).basePath('/:id').get('/:id{[0-9]+}', ok)).toThrow(/:id/)
  })
})

describe('what cannot be seen into', () => {
  it('a plain sub-app that holds entries for all methods throws, a protected one does not', async () => {
    const { protect } = protectFor([])
    expect(() => protect(new Hono()).route('/sub', new Hono().use(passOn).get('/x', ok))).toThrow(/Call protect on it first/)
    expect(() => protect(new Hono()).route('/sub', new Hono().all('/x', ok))).toThrow(/all\("\/x"/)
    const app = protect(new Hono()).route('/sub', protect(new Hono()).use(passOn).all('/x', ok))
    expect([await statusOf(app, 'GET /sub/x'), await statusOf(app, 'GET /sub/y')]).toEqual([403, 404])
  })

  it('mount() throws and prints what to write, unless it is declared open', async () => {
    const { protect } = protectFor(['read:seen'])
    const legacy = () => new Response('legacy')
    const app = protect(new Hono())
    expect(() => app.mount('/legacy', legacy)).toThrow(/app\.all\("\/legacy\/\*", protect\('verb:object'\)/)
    app.mount('/open', protect.open('a public archive', legacy))
    expect([await statusOf(app, 'GET /legacy'), await statusOf(app, 'GET /open/x')]).toEqual([404, 200])
    expect(protect.routes(app)[0]).toEqual({ method: 'ALL', pattern: '/open/*', open: 'a public archive' })
  })

  it.skipIf(OLDEST /* hono 4.8 has no hono/mount */)('a handler of hono/mount is a route like any other', async () => {
    const entry: string = 'hono/mount'
    const { mount } = (await import(entry)) as typeof import('hono/mount')
    const { protect } = protectFor(['read:seen'])
    const legacy = mount(() => new Response('legacy'))
    const app = protect(new Hono()).all('/seen/*', legacy).all('/unseen/*', legacy)
    expect([await statusOf(app, 'GET /seen/x'), await statusOf(app, 'GET /unseen/x')]).toEqual([200, 403])
  })

  it('an app that is protected by two guards asks both', async () => {
    const one = protectFor(['*'])
    const two = protectFor(['read:x'])
    const app = two.protect(one.protect(new Hono()))
    app.get('/x', one.protect('own:x'), ok).get('/y', ok)
    expect([await statusOf(app, 'GET /x'), await statusOf(app, 'GET /y')]).toEqual([200, 403])
    expect([actionsOf(one.guard), actionsOf(two.guard)]).toEqual([
      ['own:x', 'read:y'],
      ['read:x', 'read:y'],
    ])
  })
})
