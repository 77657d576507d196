import { createProtect } from '@meshguard/express'
import express, { Router } from 'express'
import { describe, expect, it } from 'vitest'
import { listen, noToken, protectedApp, says, statusesOf, world } from './express-tools.js'
import { OLDEST } from './oldest.js'

describe('mount chains', () => {
  it('follows nested routers and parameters at every level, in any case and with a trailing slash', async () => {
    const w = world(['read:*'])
    const { app } = protectedApp(w)
    const [teams, contacts] = [Router(), Router()]
    app.use('/o/:org', teams)
    teams.use('/teams/:team', contacts)
    contacts.get('/contacts/:id', says('contact'))
    const get = await listen(app)
    expect((await get('/O/acme/TEAMS/9/CONTACTS/42')).status).toBe(200)
    expect((await get('/o/a%2Fb/teams/9/contacts/42/?x=1')).status).toBe(200)
    expect((await get('http://evil.example/o/acme/teams/9/contacts/..%2fadmin')).status).toBe(200)
    expect(w.asked).toEqual([
      'read:o/teams/contacts o/acme/teams/9/contacts/42',
      'read:o/teams/contacts o/a%2Fb/teams/9/contacts/42',
      'read:o/teams/contacts o/acme/teams/9/contacts/..%2Fadmin',
    ])
  })

  it('gives one router two actions, also where the request falls from one mount through to the other', async () => {
    const w = world(['read:x/items', 'read:items'])
    const { app } = protectedApp(w)
    const items = Router()
    items.get('/items/:id', (_req, _res, next) => next())
    items.get('/only/:id', says('only'))
    app.use('/x', items)
    app.use('/:any', items)
    app.get('/x/items/:id', says('last'))
    const get = await listen(app)
    expect(JSON.parse((await get('/x/items/1')).body)).toMatchObject({ ran: 'last', action: 'read:x/items' })
    expect(w.asked).toEqual(['read:x/items x/items/1', 'read:items x/items/1', 'read:x/items x/items/1'])
  })

  it('denies what is reached by hand under a path, and asks by the routes own pattern where nothing is stripped', async () => {
    const w = world(['*'])
    const { app, protect } = protectedApp(w)
    const inner = protect(Router())
    inner.get('/users', says('users'))
    inner.get('/declared/:id', protect('read:declared'), says('declared'))
    app.use(
      '/admin',
      protect.middleware((req, res, next) => inner(req, res, next)),
    )
    app.use((req, res, next) => inner(req, res, next))
    const get = await listen(app)
    expect((await get('/admin/users')).status).toBe(403)
    expect((await get('/users')).status).toBe(200)
    expect((await get('/admin/declared/7')).status).toBe(200)
    expect(w.asked).toEqual(['read:users users', 'read:declared'])
    expect(w.decided[0]).toMatchObject({ code: 'unmapped', allowed: false })
  })

  it('denies a protected router that an unprotected app mounts under a path, and leaves the rest of that app alone', async () => {
    const w = world(['*'])
    const protect = createProtect(w.guard)
    const router = protect(Router())
    router.get('/users', says('users'))
    const plain = express()
    plain.use('/admin', router)
    plain.use(router)
    plain.use((_req, res) => {
      res.send('unprotected')
    })
    const get = await listen(plain)
    expect((await get('/admin/users')).status).toBe(403)
    expect((await get('/users')).status).toBe(200)
    expect((await get('/other', noToken)).body).toBe('unprotected')
  })

  it('does not hold back answers of the unprotected app around a protected one', async () => {
    const w = world(['*'])
    const { app } = protectedApp(w)
    app.get('/inside', says('inside'))
    app.use((req, res, next) => (req.path === '/leak' ? res.send('leak') : next()))
    const plain = express()
    plain.use(app)
    plain.get('/outside', says('outside'))
    const get = await listen(plain)
    expect((await get('/outside', noToken)).status).toBe(200)
    expect((await get('/leak', noToken)).status).toBe(403)
    expect((await get('/inside')).status).toBe(200)
  })

  it('denies a router inside itself, and verify says so', async () => {
    const w = world(['*'])
    const { app, protect } = protectedApp(w)
    const tree = Router()
    tree.get('/leaf', says('leaf'))
    app.use('/tree', tree)
    tree.use('/more', tree)
    const get = await listen(app)
    expect((await get('/tree/leaf')).status).toBe(200)
    expect((await get('/tree/more/leaf')).status).toBe(403)
    expect((await get('/tree/more/more/more/leaf')).status).toBe(403)
    expect(() => protect.verify(app)).toThrow(/inside itself/)
  })

  it('reads a list of routers, nested lists, middleware among them, and routers in routers in one call', async () => {
    const w = world(['read:a', 'read:c'])
    const { app, protect } = protectedApp(w)
    const [a, b, c] = [Router(), Router(), Router()]
    const list = [protect.middleware((_req, _res, next) => next()), b]
    app.use('/api', [a, list as unknown as Router], c)
    a.get('/a', says('a'))
    b.get('/b', says('b'))
    c.get('/c', says('c'))
    const get = await listen(app)
    expect([(await get('/api/a')).status, (await get('/api/b')).status, (await get('/api/c')).status]).toEqual([200, 403, 200])
  })

  it('a mount on an array of paths is unmapped unless declared', async () => {
    const w = world(['*'])
    const { app, protect } = protectedApp(w)
    const router = Router()
    app.use(['/a', '/b'], router)
    router.get('/x', says('x'))
    router.get('/y', protect('read:y'), says('y'))
    const get = await listen(app)
    expect([(await get('/a/x')).status, (await get('/b/y')).status]).toEqual([403, 200])
  })

  it('refuses equal parameter names at two levels, whichever comes first', () => {
    const { app } = protectedApp(world())
    const first = Router()
    app.use('/t/:id', first)
    expect(() => first.get('/c/:id', says('x'))).toThrow(/":id"/)
    const second = Router()
    second.get('/c/:name', says('x'))
    expect(() => app.use('/t/:name', second)).toThrow(/":name"/)
  })
})

describe('apps in apps', () => {
  it('protects the routes of a mounted app, added before or after, and keeps mountpath, parent and the mount event', async () => {
    const w = world(['read:inner/*'])
    const { app } = protectedApp(w)
    const inner = express()
    let mountedOn: unknown
    inner.on('mount', (parent) => {
      mountedOn = parent
    })
    inner.get('/early', says('early'))
    app.use('/inner', inner)
    inner.get('/late', says('late'))
    inner.post('/late', says('late'))
    const get = await listen(app)
    expect([
      (await get('/inner/early')).status,
      (await get('/inner/late')).status,
      (await get('POST /inner/late')).status,
    ]).toEqual([200, 200, 403])
    expect([mountedOn === app, inner.mountpath, inner.path()]).toEqual([true, '/inner', '/inner'])
  })

  it.skipIf(OLDEST /* router 2.2 keeps no patterns, so protect throws */)(
    'protects an app that a router mounts, and holds back answers behind it',
    async () => {
      const w = world(['read:r/inner/x'])
      const { app } = protectedApp(w)
      const router = Router()
      const inner = express()
      inner.get('/x', says('x'))
      router.use('/inner', inner)
      app.use('/r', router)
      app.use((_req, res) => {
        res.send('leak')
      })
      const get = await listen(app)
      expect((await get('/r/inner/x')).status).toBe(200)
      expect((await get('/r/inner/nothing')).status).toBe(403)
    },
  )

  it('holds back the answers of an unprotected app that middleware calls by hand', async () => {
    const { app } = protectedApp(world(['*']))
    const vhost = express()
    vhost.get('/secret', says('secret'))
    app.use((req, res, next) => vhost(req, res, next))
    const get = await listen(app)
    const reply = await get('/secret')
    expect(reply.status).toBe(403)
    expect(reply.body).not.toContain('secret"')
  })

  it('respects settings that are made after protect(app), as an app without it does', async () => {
    const w = world(['*'])
    const { app } = protectedApp(w)
    app.enable('strict routing')
    app.enable('case sensitive routing')
    app.get('/x', says('x'))
    const get = await listen(app)
    expect([(await get('/x')).status, (await get('/X')).status, (await get('/x/')).status]).toEqual([200, 404, 404])
  })
})

describe('what is there already', () => {
  it.skipIf(OLDEST /* router 2.2 keeps no patterns, so protect throws */)(
    'is checked: routes, chains, app.all, own checks, routers in routers',
    async () => {
      const w = world(['read:a', 'read:own', 'read:deep/x', 'delete:all'])
      const protect = createProtect(w.guard)
      const app = express()
      const [outer, inner] = [Router(), Router()]
      app.get('/a', (_req, _res, next) => next(), says('a'))
      app.route('/chain').get(says('chain')).post(says('chain'))
      app.all('/all', says('all'))
      app.get('/own', protect('read:own'), says('own'))
      app.get('/open', protect.open('probe'), says('open'))
      inner.get('/x', says('x'))
      outer.use(inner)
      app.use('/deep', outer)
      protect(app)
      const get = await listen(app)
      expect(await statusesOf(get, '/a', '/own', '/open', '/deep/x', 'DELETE /all')).toEqual([200, 200, 200, 200, 200])
      expect(await statusesOf(get, '/chain', 'POST /chain', '/all', 'PROPFIND /all')).toEqual([403, 403, 403, 403])
      expect((await get('OPTIONS /all', { origin: 'https://a', 'access-control-request-method': 'GET' })).body).not.toContain(
        'ran',
      )
      expect(protect.routes(app)).toContainEqual({ method: 'GET', pattern: '/deep/x', action: 'read:deep/x' })
      expect(
        protect
          .routes(app)
          .filter(({ pattern }) => pattern === '/all')
          .map(({ method }) => method),
      ).toEqual(['GET', 'POST', 'PUT', 'PATCH', 'DELETE'])
    },
  )

  it('throws and says "call protect first" for what cannot be read, each time it is asked', () => {
    const protect = createProtect(world().guard)
    const mounted = express().use('/inner', express())
    const opaque = express().use('/static', express.static('.'))
    const nested = Router()
    nested.use('/files', says('files'))
    for (const app of [mounted, opaque, express().use('/r', nested)]) {
      expect(() => protect(app)).toThrow(/call protect first/i)
      expect(() => protect(app)).toThrow(/call protect first/i)
    }
    expect(() => protect(express()).use('/r', nested)).toThrow(/call protect first/i)
  })

  it.skipIf(OLDEST /* router 2.2 keeps no patterns, so protect throws */)(
    'accepts an opaque mount that had its check, and leaves middleware and error handlers alone',
    async () => {
      const w = world(['read:static'])
      const protect = createProtect(w.guard)
      const app = express()
      app.use(express.json())
      app.use('/static', protect('read:static'), says('static'))
      app.use('/shared', protect.open('assets'), says('shared'))
      app.use('/x', ((_error, _req, res, _next) => res.sendStatus(500)) as express.ErrorRequestHandler)
      protect(app)
      const get = await listen(app)
      expect((await get('/static/a')).status).toBe(200)
      expect((await get('/static/a', noToken)).status).toBe(401)
      expect((await get('/shared/a', noToken)).status).toBe(200)
      expect(w.asked).toEqual(['read:static static'])
      expect(protect.routes(app)).toEqual([
        { method: 'ALL', pattern: '/static', action: 'read:static', declared: true },
        { method: 'ALL', pattern: '/shared', open: 'assets' },
      ])
    },
  )

  it.skipIf(OLDEST /* router 2.2 keeps no patterns, so protect throws */)(
    'opens one handler behind protect.open and covers nothing behind an error handler, as it cannot tell calls of use apart',
    async () => {
      const protect = createProtect(world().guard)
      const open = () => protect.open('assets')
      const pass: express.RequestHandler = (_req, _res, next) => next()
      const recovers: express.ErrorRequestHandler = (_error, _req, _res, next) => next()
      for (const app of [
        express().use('/x', open(), pass).use('/x', says('second')),
        express().use('/x', open(), pass).get('/y', says('y')).use('/x', says('second')),
        express().use('/x', open(), Router()),
        express().use('/x', open()),
        express().use(open(), says('all')),
        express().use('/x', protect('a:b'), recovers, says('second')),
      ]) {
        expect(() => protect(app)).toThrow(/call protect first/i)
      }
      const app = protect(express().use('/x', open(), pass).use(says('behind')))
      expect((await (await listen(app))('/x', noToken)).status).toBe(403)
    },
  )
})

describe('patterns', () => {
  const rows = (...paths: (string | RegExp | string[])[]) => {
    const { app, protect } = protectedApp(world())
    for (const path of paths) app.get(path, says('x'))
    return protect.routes(app).map(({ pattern, action }) => [pattern, action])
  }

  it('reads wildcards and optional groups of parameters', () => {
    expect(rows('/a{/:id}', '/files/*path', '/b/{:id}', '/c{/:x{/:y}}', '/d{/*rest}', '/e/:f.:g')).toEqual([
      ['/a{/:id}', 'read:a'],
      ['/files/*path', 'read:files'],
      ['/b/{:id}', 'read:b'],
      ['/c{/:x{/:y}}', 'read:c'],
      ['/d{/*rest}', 'read:d'],
      ['/e/:f.:g', 'read:e'],
    ])
  })

  it('leaves groups with text, arrays, expressions, escapes and quoted names unmapped', () => {
    const unmapped = ['/a{/b}', '/a{-:b}', '/a\\:b', '/a/:"b"', '/a/:ü', '/ü', 'a', '/x{:y}', ['/a', '/b'], /^\/a$/]
    expect(rows(...unmapped).map(([, action]) => action)).toEqual(unmapped.map(() => undefined))
  })

  it('fills the resource of optional groups and wildcards', async () => {
    const w = world(['*'])
    const { app } = protectedApp(w)
    app.get('/a{/:id}', says('a'))
    app.get('/files/*path', says('files'))
    const get = await listen(app)
    for (const target of ['/a', '/a/1', '/files/x/y%2Fz.txt']) expect((await get(target)).status).toBe(200)
    for (const target of ['/files/../admin', '/files/a//b', '/files/%2e%2e/admin']) expect((await get(target)).status).toBe(400)
    expect(w.asked).toEqual(['read:a a', 'read:a a/1', 'read:files files/x/y%2Fz.txt'])
  })

  it('names overrides by the full pattern as it was written', async () => {
    const w = world(['cancel:orders'])
    const { app, protect } = protectedApp(w, {
      actions: { 'POST /shop/orders{/:id}': 'cancel:orders', 'GET /shop': 'cancel:orders' },
    })
    const shop = Router()
    app.use('/shop/', shop)
    shop.post('/orders{/:id}', says('cancel'))
    shop.get('/', says('root'))
    const get = await listen(app)
    expect([(await get('POST /shop/orders/1')).status, (await get('/shop')).status]).toEqual([200, 200])
    expect(() => protect.verify(app)).not.toThrow()
  })
})

describe('the client’s address', () => {
  it.each([
    [false, '127.0.0.1'],
    [true, '203.0.113.7'],
    ['loopback', '203.0.113.7'],
    [0, '127.0.0.1'],
  ])('is what Express says with "trust proxy" at %j, in a mounted app too', async (trusted, address) => {
    const w = world(['*'])
    const { app } = protectedApp(w)
    app.set('trust proxy', trusted)
    const inner = express()
    app.use('/inner', inner)
    app.get('/x', (req, res) => void res.json({ ran: req.ip }))
    inner.get('/x', (req, res) => void res.json({ ran: req.ip }))
    const get = await listen(app)
    for (const target of ['/x', '/inner/x']) {
      expect((await get(target, { 'x-forwarded-for': '203.0.113.7' })).ran).toBe(address)
    }
    expect(w.decided.map(({ request }) => request?.ip)).toEqual([address, address])
  })
})
