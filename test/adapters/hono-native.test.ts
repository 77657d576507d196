import { fromPolicies, type Guard } from '@meshguard/core'
import { createTestGuard, mintTestAgent, type TestGuard } from '@meshguard/core/testing'
import { agentOf, createProtect, decisionOf, type ProtectOptions } from '@meshguard/hono'
import { type Context, Hono, type MiddlewareHandler, type Next } from 'hono'
import { hc } from 'hono/client'
import { every } from 'hono/combine'
import { cors } from 'hono/cors'
import { HTTPException } from 'hono/http-exception'
import { mount } from 'hono/mount'
import { LinearRouter } from 'hono/router/linear-router'
import { RegExpRouter } from 'hono/router/reg-exp-router'
import { TrieRouter } from 'hono/router/trie-router'
import { afterEach, beforeEach, describe, expect, expectTypeOf, it, vi } from 'vitest'

const { agent, token } = mintTestAgent({ id: 'agent-7' })
const ok = (c: Context) => c.json({ action: decisionOf(c)?.action, resource: decisionOf(c)?.resource })
const passOn: MiddlewareHandler = (_c, next) => next()

function protectFor(allow: readonly string[], options: ProtectOptions = {}) {
  const guard = createTestGuard({ allow })
  return { guard, protect: createProtect(guard, options) }
}

interface Requestable {
  request(path: string, init?: RequestInit, env?: object): Response | Promise<Response>
}

async function ask(app: Requestable, line: string, headers: Record<string, string> = {}) {
  const [method = 'GET', path = '/'] = line.split(' ')
  const answer = await app.request(path, { method, headers: { authorization: `Bearer ${token}`, ...headers } })
  const text = await answer.text()
  return { status: answer.status, headers: answer.headers, text }
}

const statusOf = async (app: Requestable, line: string, headers?: Record<string, string>) =>
  (await ask(app, line, headers)).status
const actionsOf = ({ decisions }: TestGuard) => decisions.map(({ action }) => action)

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

  it('takes the handlers behind an own check of a plain sub-app for one registration', async () => {
    const { guard, protect } = protectFor(['purge:x'])
    const app = protect(new Hono()).route('/', new Hono().delete('/x', protect('purge:x'), passOn, ok))
    expect([await statusOf(app, 'DELETE /x'), actionsOf(guard)]).toEqual([200, ['purge:x']])
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

describe('patterns and resources', () => {
  const cases: ReadonlyArray<readonly [string, string, string, string | number]> = [
    ['/c/:id', '/c/a%2Fb', 'read:c', 'c/a%2Fb'],
    ['/c/:id{[0-9]+}', '/c/42', 'read:c', 'c/42'],
    ['/c/:path{.+}', '/c/a/b', 'read:c', 'c/a%2Fb'],
    ['/c/:path{[a-z/]+}/end', '/c/a/b/end', 'read:c/end', 'c/a%2Fb/end'],
    ['/c/:year{[0-9]{4}}', '/c/2026', 'read:c', 'c/2026'],
    ['/c/:id?', '/c', 'read:c', 'c'],
    ['/c/:id?', '/c/7', 'read:c', 'c/7'],
    ['/c/:a?/:b?', '/c/7', 'read:c', 'c/7'],
    ['/c/:file.json', '/c/x', 'read:c', 'c/x'],
    ['/c/:user-id', '/c/x', 'read:c', 'c/x'],
    ['/c/*', '/c', 'read:c', 'c'],
    ['/c/*', '/c/a/b', 'read:c', 'c/a/b'],
    ['/c/*', '/c/a%2fb/%63', 'read:c', 'c/a%2Fb/c'],
    ['/c/*', '/c/%252e%252e', 'read:c', 'c/%252e%252e'],
    ['/c/*', '/c/..%2f..%2fx', 'read:c', 'c/..%2F..%2Fx'],
    ['/c/*', '/c/', 'read:c', 400],
    ['/c/*', '/c//a', 'read:c', 400],
    ['/c/*', '/c/%E0%A4%A', 'read:c', 400],
    ['/c/*', '/c/a%00b', 'read:c', 400],
    ['/c/*/d', '/c/x/d', 'read:c/d', 'c/x/d'],
    ['/:a/c/*/d/*', '/1/c/2/d/3/4', 'read:c/d', '1/c/2/d/3/4'],
    ['/c/:id', '/c/%00', 'read:c', 400],
    ['/c/:id', `/c/${'x'.repeat(257)}`, 'read:c', 400],
    ['/c/:__proto__', '/c/x', 'read:c', 400],
  ]
  it.each(cases)('%s for %s is %s', async (pattern, path, action, resource) => {
    const { guard, protect } = protectFor(['*'])
    const app = protect(new Hono()).get(pattern, ok)
    const answer = await ask(app, `GET ${path}`)
    if (typeof resource === 'number') expect(answer.status).toBe(resource)
    else expect(answer.text).toBe(JSON.stringify({ action, resource }))
    expect(guard.decisions[0]?.action).toBe(action)
  })

  it.each(['/c/x*', '/c/:a{.+}/*', '/c/post-:id', '/c/:a?/d/:b?'])('%s is unmapped unless it is declared', async (pattern) => {
    const { guard, protect } = protectFor(['*'], { actions: { [`POST ${pattern}`]: 'write:c' } })
    const app = protect(new Hono()).get(pattern, ok).post(pattern, ok)
    const path = pattern === '/c/post-:id' ? pattern : '/c/x/d/z'
    if (pattern !== '/c/x*' && pattern !== '/c/post-:id') {
      expect(await statusOf(app, `GET ${path}`)).toBe(403)
      expect(await statusOf(app, `POST ${path}`)).toBe(200)
      expect(guard.decisions.map(({ action, resource }) => [action, resource])).toEqual([
        ['', undefined],
        ['write:c', undefined],
      ])
    }
    expect(() => protect.verify(app)).toThrow(pattern)
  })

  it('a wildcard for everything is unmapped, and its resource is the whole path when it is declared', async () => {
    const { guard, protect } = protectFor(['*'])
    const app = protect(new Hono()).get('*', protect('read:all'), ok).post('*', ok)
    for (const path of ['/', '/a/b']) expect(await statusOf(app, `GET ${path}`)).toBe(200)
    expect(await statusOf(app, 'POST /a')).toBe(403)
    expect(guard.decisions.map(({ resource }) => resource)).toEqual(['/', 'a/b', undefined])
  })
})

describe('middleware', () => {
  it('adds checks in use(), under a path', async () => {
    const { guard, protect } = protectFor(['enter:admin', 'read:admin/users'])
    const app = protect(new Hono())
    app.use('/admin/*', protect('enter:admin'))
    app.get('/admin/users/:id', ok).delete('/admin/users/:id', ok)
    expect([await statusOf(app, 'GET /admin/users/7'), await statusOf(app, 'DELETE /admin/users/7')]).toEqual([200, 403])
    expect(guard.decisions.map(({ action, resource }) => `${action} ${resource}`)).toEqual([
      'enter:admin admin/users/7',
      'read:admin/users admin/users/7',
      'enter:admin admin/users/7',
      'delete:admin/users admin/users/7',
    ])
  })

  it('covers what answers behind a check in use()', async () => {
    const { protect } = protectFor(['read:static'])
    const app = protect(new Hono())
    app.use('/static/*', protect('read:static'), async (c) => c.text('file'))
    const answer = await ask(app, 'GET /static/a.css')
    expect([answer.status, answer.text]).toEqual([200, 'file'])
    expect(answer.headers.get('x-meshguard-trace-id')).toMatch(/^[0-9a-f-]{36}$/)
  })

  it('refuses in use() what says nothing there', () => {
    const { protect } = protectFor([])
    const app = protect(new Hono())
    expect(() => app.use(protect())).toThrow(/verb:object/)
    expect(() => app.use('/x/*', protect({ mode: 'audit' }))).toThrow(/verb:object/)
    expect(() => app.use(protect.open('everything'))).toThrow(/protect.open\(reason, middleware\)/)
    expect(() => app.use(protect.open('everything'), passOn)).toThrow(/protect.open/)
    expect(() => app.use('/x/*', protect.open('nothing'))).toThrow(/protect.open/)
    expect(() => app.use('/x/*', passOn, protect.open('nothing'))).toThrow(/protect.open/)
    expect(() => protect.open('')).toThrow(/reason/)
    expect(app.routes).toEqual([])
  })

  it('is not let answer by itself', async () => {
    const { guard, protect } = protectFor(['*'])
    const app = protect(new Hono())
    app.use('/return', (c) => Promise.resolve(c.json({ secret: 1 })))
    app.use('/sync', ((c: Context) => c.redirect('/elsewhere')) as never)
    app.use('/assign', async (c) => {
      c.res = new Response('secret', { headers: { 'set-cookie': 'a=1' } })
    })
    app.use('/throw', () => {
      throw new HTTPException(302 as 400, { res: new Response('secret', { status: 302, headers: { location: '/x' } }) })
    })
    app.use('/after', async (c, next) => {
      await next()
      c.res = undefined
      c.res = new Response('secret')
    })
    app.use('/both', async (c, next) => {
      await next()
      return c.text('secret')
    })
    for (const path of ['/return', '/sync', '/assign', '/throw', '/after', '/both']) {
      const answer = await ask(app, `GET ${path}`)
      expect([path, answer.status, answer.headers.get('location'), answer.headers.get('set-cookie')]).toEqual([
        path,
        403,
        null,
        null,
      ])
      expect(answer.text).not.toContain('secret')
    }
    expect(guard.decisions.map(({ code }) => code)).toEqual(Array(6).fill('unmapped'))
  })

  it('may refuse by itself, and fail', async () => {
    const app = protectFor([]).protect(new Hono())
    app.use('/401', (c) => Promise.resolve(c.text('no', 401)))
    app.use('/500', () => {
      throw new Error('broken')
    })
    expect([await statusOf(app, 'GET /401'), await statusOf(app, 'GET /500'), await statusOf(app, 'GET /404')]).toEqual([
      401, 500, 404,
    ])
  })

  it('may answer a preflight', async () => {
    const app = protectFor([]).protect(new Hono())
    app.use(cors())
    app.all('/x', ok)
    const preflight = { origin: 'https://a.example', 'access-control-request-method': 'GET', authorization: '' }
    expect(await statusOf(app, 'OPTIONS /x', preflight)).toBe(204)
  })

  it('that is declared open may answer, what comes from behind it may not', async () => {
    const { protect } = protectFor([])
    const app = protect(new Hono())
    const seen: string[] = []
    app.use(protect.open('assets', async (c: Context, next: Next) => (c.req.path === '/a.css' ? c.text('file') : next())))
    app.use('/s/*', protect.open('more assets'), async (c, next) => (c.req.path === '/s/x' ? c.text('file') : next()))
    app.use(
      protect.open('slash', async (c: Context, next: Next) => {
        await next()
        if (c.res.status === 404 && c.req.path.endsWith('/')) c.res = c.redirect(c.req.path.slice(0, -1))
      }),
    )
    app.use(async (c, next) => {
      seen.push(c.req.path)
      await next()
    })
    app.get('/contacts', ok)
    app.notFound((c) => (c.req.path === '/fallback' ? c.text('found') : c.text('none', 404)))
    const statuses = []
    for (const path of ['/a.css', '/s/x', '/s/y', '/contacts', '/other/', '/fallback']) {
      statuses.push(await statusOf(app, `GET ${path}`))
    }
    expect(statuses).toEqual([200, 200, 404, 403, 302, 403])
    expect(protect.routes(app)).toEqual([
      { method: 'ALL', pattern: '/*', open: 'assets' },
      { method: 'ALL', pattern: '/s/*', open: 'more assets' },
      { method: 'ALL', pattern: '/*', open: 'slash' },
      { method: 'GET', pattern: '/contacts', action: 'read:contacts' },
    ])
  })

  it.each(['before', 'after'])('a not-found handler given %s protect does not answer below 400', async (when) => {
    const { protect } = protectFor(['*'])
    const app = new Hono()
    const notFound = () => app.notFound((c) => c.html('<app>'))
    if (when === 'before') notFound()
    protect(app)
    if (when === 'after') notFound()
    app.get('/x', ok)
    expect(await statusOf(app, 'GET /nowhere')).toBe(403)
    expect(await statusOf(app, 'GET /x')).toBe(200)
  })

  it.each(['before', 'after'])('an error handler given %s protect is held back as well', async (when) => {
    const { protect } = protectFor(['*'])
    const app = new Hono()
    const onError = () => app.onError((error, c) => c.text(error.message, error.message === 'later' ? 200 : 418))
    if (when === 'before') onError()
    protect(app)
    if (when === 'after') onError()
    app.use('/mw', () => {
      throw new Error('later')
    })
    app.get('/handler', () => {
      throw new Error('later')
    })
    app.use('/own', () => {
      throw new Error('own')
    })
    expect([await statusOf(app, 'GET /mw'), await statusOf(app, 'GET /handler'), await statusOf(app, 'GET /own')]).toEqual([
      403, 200, 418,
    ])
  })

  it('leaves a sub-app without an error handler that of its parent', async () => {
    const { protect } = protectFor(['*'])
    const sub = protect(new Hono()).get('/x', () => {
      throw new Error('broken')
    })
    const app = protect(new Hono()).onError((_error, c) => c.text('parent', 500))
    app.route('/', sub)
    expect((await ask(app, 'GET /x')).text).toBe('parent')
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
    app.all('/seen/*', mount(legacy))
    app.all('/unseen/*', mount(legacy))
    const statuses = []
    for (const path of ['/legacy', '/open/x', '/seen/x', '/unseen/x']) statuses.push(await statusOf(app, `GET ${path}`))
    expect(statuses).toEqual([404, 200, 200, 403])
    expect(protect.routes(app)[0]).toEqual({ method: 'ALL', pattern: '/open/*', open: 'a public archive' })
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

describe('answers', () => {
  it('carry the trace ID whatever kind of answer it is', async () => {
    const { guard, protect } = protectFor(['*'], { exposeDecision: true })
    const app = protect(new Hono())
    app.get('/json', ok)
    app.get('/raw', () => new Response('raw'))
    app.get('/immutable', () => Response.redirect('https://example.com/'))
    app.get('/assigned', async (c) => {
      c.res = new Response('assigned')
    })
    app.get('/behind', protect('read:behind'), passOn, (c) => c.text('x'))
    app.get('/nothing', async (_c, next) => {
      await next()
    })
    app.get('/thrown', () => {
      throw new HTTPException(409)
    })
    const paths = ['/json', '/raw', '/immutable', '/assigned', '/behind', '/nothing', '/thrown']
    for (const path of paths) {
      const { headers } = await ask(app, `GET ${path}`)
      expect([path, headers.get('x-meshguard-trace-id')]).toEqual([path, guard.decisions.at(-1)?.traceId])
      expect([path, headers.get('x-meshguard-agent-id')]).toEqual([path, agent.id])
    }
  })

  it('of onDenied may be anything that is a Response', async () => {
    const { protect } = protectFor([], { onDenied: ({ code }, c) => c.json({ code, path: c.req.path }, 418) })
    const app = protect(new Hono()).get('/x', ok)
    const answer = await ask(app, 'GET /x')
    expect([answer.status, answer.text]).toEqual([418, '{"code":"no_match","path":"/x"}'])
  })

  it('know the agent and the decision, also in middleware afterwards', async () => {
    const { protect } = protectFor(['read:x'])
    const app = protect(new Hono())
    const seen: unknown[] = []
    app.use(async (c, next) => {
      seen.push(agentOf(c), decisionOf(c))
      await next()
      seen.push(agentOf(c)?.id, decisionOf(c)?.code)
    })
    app.get('/x', ok).get('/y', ok)
    await ask(app, 'GET /x')
    await ask(app, 'GET /y')
    expect(seen).toEqual([undefined, undefined, 'agent-7', 'allowed', undefined, undefined, 'agent-7', 'no_match'])
  })

  it('do not run the handler when the client left while it was waited for', async () => {
    const leave = new AbortController()
    const guard = createTestGuard({ allow: ['*'] })
    let ran = false
    const protect = createProtect(guard, {
      context: async () => {
        leave.abort()
        return {}
      },
    })
    const app = protect(new Hono()).get('/x', (c) => {
      ran = true
      return c.text('x')
    })
    const request = new Request('http://localhost/x', { signal: leave.signal, headers: { authorization: `Bearer ${token}` } })
    expect((await app.fetch(request)).status).toBeGreaterThanOrEqual(400)
    expect(ran).toBe(false)
  })
})

describe('a guard for each environment', () => {
  it('is made once for each env, and once where there is none', async () => {
    const made: unknown[] = []
    const guard = createTestGuard({ allow: ['read:x'] })
    const protect = createProtect((c) => {
      made.push(c.env)
      return guard
    })
    const app = protect(new Hono()).get('/x', ok)
    const [one, two] = [{ NAME: 'one' }, { NAME: 'two' }]
    for (const env of [one, two, one, two]) await app.request('/x', {}, env)
    expect(made).toEqual([one, two])
  })

  it('must be a guard: anything else is a failure of the request, and no handler runs', async () => {
    const protect = createProtect((async () => createTestGuard({ allow: ['*'] })) as never)
    const app = protect(new Hono()).get('/x', ok)
    expect(await statusOf(app, 'GET /x')).toBe(500)
  })

  it('hands waitUntil on where the runtime has it', async () => {
    const waited: unknown[] = []
    const { guard } = protectFor([])
    const asks: Guard = {
      ...guard,
      decide(request, how) {
        request.waitUntil?.(Promise.resolve())
        return guard.decide(request, how)
      },
    }
    const app = createProtect(asks)(new Hono()).get('/x', ok)
    const init = { headers: { authorization: `Bearer ${token}` } }
    const ctx = { waitUntil: (promise: Promise<unknown>) => waited.push(promise), passThroughOnException: () => {}, props: {} }
    await app.request('/x', init, {}, ctx as never)
    await app.request('/x', init)
    expect(waited).toHaveLength(1)
  })
})

describe('the route table', () => {
  it('holds every check, shared ones marked', () => {
    const { protect } = protectFor([])
    const sub = protect(new Hono()).get('/s/:id', passOn, ok)
    const app = protect(new Hono())
    app.use('/admin/*', protect('enter:admin')).use(passOn)
    app.get('/x', passOn, protect('more:x'), ok)
    app.route('/a', sub).route('/b', sub)
    expect(protect.routes(app)).toEqual([
      { method: 'ALL', pattern: '/admin/*', action: 'enter:admin', declared: true },
      { method: 'GET', pattern: '/x', action: 'read:x' },
      { method: 'GET', pattern: '/x', action: 'more:x', declared: true },
      { method: 'GET', pattern: '/a/s/:id', action: 'read:a/s', shared: true },
      { method: 'GET', pattern: '/b/s/:id', action: 'read:b/s', shared: true },
    ])
    protect.verify(app)
  })

  it('names what is not guarded', () => {
    const { protect } = protectFor([])
    expect(() => protect.verify(new Hono().get('/open', ok).get('/x', protect(), ok))).toThrow(/GET \/open is not guarded/)
  })
})

describe('types', () => {
  it('chains still infer for RPC clients', () => {
    const { protect } = protectFor([])
    const app = protect(new Hono())
      .get('/contacts/:id', (c) => {
        expectTypeOf(c.req.param('id')).toEqualTypeOf<string>()
        return c.json({ id: c.req.param('id') })
      })
      .delete('/contacts/:id', protect('delete:contacts'), (c) => {
        expectTypeOf(c.req.param('id')).toEqualTypeOf<string>()
        return c.json({ gone: true })
      })
      .get('/health', protect.open('probe'), (c) => c.json({ up: 1 }))
    const client = hc<typeof app>('http://localhost')
    type Answer<F extends (...args: never[]) => Promise<{ json(): unknown }>> = Awaited<
      ReturnType<Awaited<ReturnType<F>>['json']>
    >
    const contact = client.contacts[':id']
    expectTypeOf<Answer<typeof contact.$get>>().toEqualTypeOf<{ id: string }>()
    expectTypeOf<Answer<typeof contact.$delete>>().toEqualTypeOf<{ gone: true }>()
    expectTypeOf<Answer<typeof client.health.$get>>().toEqualTypeOf<{ up: number }>()
    expect(protect.routes(app).map(({ pattern }) => pattern)).toEqual(['/contacts/:id', '/contacts/:id', '/health'])
  })

  it('an app keeps its environment, and a middleware its type', () => {
    const { protect } = protectFor([])
    type Env = { Bindings: { KEY: string }; Variables: { user: number } }
    const app = new Hono<Env>()
    expectTypeOf(protect(app)).toEqualTypeOf<typeof app>()
    const middleware: MiddlewareHandler<Env> = (_c, next) => next()
    expectTypeOf(protect.open('x', middleware)).toEqualTypeOf<MiddlewareHandler<Env>>()
    expect(fromPolicies([]).name).toBeTypeOf('string')
  })
})
