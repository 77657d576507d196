import { connect as connectHttp2, createServer as createHttp2Server } from 'node:http2'
import type { AddressInfo } from 'node:net'
import { PassThrough } from 'node:stream'
import Router from '@koa/router'
import { agentOf, createProtect, decisionOf } from '@meshguard/koa'
import Koa, { type Context, type Next } from 'koa'
import { describe, expect, test, vi } from 'vitest'
import { guardFor, protectFor, quiet, says, serve } from './koa-tools.js'

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

  test('replaces what a router answers that is hidden inside a function', async () => {
    const error = quiet()
    const { protect } = protectFor([])
    const hidden = new Router()
    hidden.get('/hidden', says('secret'))
    const routes = hidden.routes()
    const request = await serve(protect(new Koa()).use((ctx, next) => routes(ctx as never, next)))
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
    ['a rejection with what is no error', async () => Promise.reject(Object.create(null)), 403, '"error":"Forbidden"'],
    [
      'a throw behind the beginning of a raw answer',
      (ctx) => {
        ctx.respond = false
        ctx.res.writeHead(402).write('begun')
        throw new Error('x')
      },
      402,
      'begun',
    ],
    [
      'a throw of nothing',
      () => {
        throw undefined
      },
      403,
      '"error":"Forbidden"',
    ],
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
    const protect = createProtect({ ...guard, timeoutMs: 500 }, { onDenied: (_decision, ctx) => onDenied(ctx) })
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

  test('an onDenied that writes the raw response too late neither reaches the client nor ends the process', async () => {
    const { guard } = guardFor()
    let late: unknown = 'not yet'
    const protect = createProtect(
      { ...guard, timeoutMs: 20 },
      {
        onDenied(_decision, ctx) {
          ctx.respond = false
          ctx.res.once('finish', () => {
            ctx.res.removeHeader('x-none')
            late = ctx.res.appendHeader('x-late', '1').setHeader('x-late', '1').writeHead(200).end('late').statusCode
          })
        },
      },
    )
    const router = protect(new Router())
    router.get('/x', says('never'))
    const request = await serve(protect(new Koa()).use(router.routes()))
    const response = await request('GET /x')
    expect([response.status, response.headers.get('x-late')]).toEqual([403, null])
    expect(await response.json()).toMatchObject({ error: 'Forbidden' })
    await vi.waitFor(() => expect(late).toBe(403))
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
