import { createProtect } from '@meshguard/hono'
import { type Context, Hono, type MiddlewareHandler } from 'hono'
import { hc } from 'hono/client'
import { afterEach, beforeEach, describe, expect, expectTypeOf, it, vi } from 'vitest'
import { ask, ok, passOn, protectFor, statusOf } from './hono-tools.js'

beforeEach(() => {
  vi.spyOn(console, 'error').mockImplementation(() => {})
})
afterEach(() => {
  vi.restoreAllMocks()
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

  it.each([
    ['/c/x*', '/c/xyz'],
    ['/c/:a{.+}/*', '/c/x/d/z'],
    ['/c/:a?/d/:b?', '/c/x/d/z'],
    ['/c/post-:id', '/c/post-:id'],
    ['/c/:a{\\{}/d/:b{.+}', undefined],
  ])('%s is unmapped unless it is declared', async (pattern, path) => {
    const { guard, protect } = protectFor(['*'], { actions: { [`POST ${pattern}`]: 'write:c' } })
    const app = protect(new Hono()).get(pattern, ok).post(pattern, ok)
    expect(() => protect.verify(app)).toThrow(`GET ${pattern}`)
    if (path === undefined) return
    expect([await statusOf(app, `GET ${path}`), await statusOf(app, `POST ${path}`)]).toEqual([403, 200])
    expect(guard.decisions.map(({ action, resource }) => [action, resource])).toEqual([
      ['', undefined],
      ['write:c', undefined],
    ])
  })

  it('a wildcard for everything is unmapped, and its resource is the whole path when it is declared', async () => {
    const { guard, protect } = protectFor(['*'])
    const app = protect(new Hono()).get('*', protect('read:all'), ok).post('*', ok)
    for (const path of ['/', '/a/b']) expect(await statusOf(app, `GET ${path}`)).toBe(200)
    expect(await statusOf(app, 'POST /a')).toBe(403)
    expect(guard.decisions.map(({ resource }) => resource)).toEqual(['/', 'a/b', undefined])
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

  it('the function that finds the guard is told the type of the environment, or asks for none', () => {
    const { guard } = protectFor([])
    createProtect((c: Context<{ Bindings: { KEY: string } }>) => {
      expectTypeOf(c.env).toEqualTypeOf<{ KEY: string }>()
      return guard
    })
    createProtect((c) => {
      expectTypeOf(c.env).toBeAny()
      return guard
    })
  })

  it('an app keeps its environment, and a middleware its type', () => {
    const { protect } = protectFor([])
    type Env = { Bindings: { KEY: string }; Variables: { user: number } }
    const app = new Hono<Env>()
    expectTypeOf(protect(app)).toEqualTypeOf<typeof app>()
    const middleware: MiddlewareHandler<Env> = (_c, next) => next()
    expectTypeOf(protect.open('x', middleware)).toEqualTypeOf<MiddlewareHandler<Env>>()
  })
})
