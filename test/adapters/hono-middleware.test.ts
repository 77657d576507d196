import type { Guard } from '@meshguard/core'
import { createTestGuard } from '@meshguard/core/testing'
import { agentOf, createProtect, decisionOf } from '@meshguard/hono'
import { type Context, Hono, type Next } from 'hono'
import { cors } from 'hono/cors'
import { HTTPException } from 'hono/http-exception'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { agent, ask, ok, passOn, protectFor, statusOf, token } from './hono-tools.js'

beforeEach(() => {
  vi.spyOn(console, 'error').mockImplementation(() => {})
})
afterEach(() => {
  vi.restoreAllMocks()
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
    app.use('/throw-two-statuses', () => {
      throw Object.assign(new Error('refused'), { status: 400, getResponse: () => new Response('secret') })
    })
    for (const path of ['/return', '/sync', '/assign', '/throw', '/after', '/both', '/throw-two-statuses']) {
      const answer = await ask(app, `GET ${path}`)
      expect([path, answer.status, answer.headers.get('location'), answer.headers.get('set-cookie')]).toEqual([
        path,
        403,
        null,
        null,
      ])
      expect(answer.text).not.toContain('secret')
    }
    expect(guard.decisions.map(({ code }) => code)).toEqual(Array(7).fill('unmapped'))
  })

  it('may refuse by itself, and fail', async () => {
    const app = protectFor([]).protect(new Hono())
    app.use('/401', (c) => Promise.resolve(c.text('no', 401)))
    app.use('/thrown', () => {
      throw new HTTPException(401, { res: new Response('thrown') })
    })
    app.use('/500', () => {
      throw new Error('broken')
    })
    expect([await statusOf(app, 'GET /401'), await statusOf(app, 'GET /500'), await statusOf(app, 'GET /404')]).toEqual([
      401, 500, 404,
    ])
    expect(await ask(app, 'GET /thrown')).toMatchObject({ status: 401, text: 'thrown' })
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
    expect(await statusOf(app, 'GET /x')).toBe(503)
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
