import { type AddressInfo, connect } from 'node:net'
import type { Answer } from '@meshguard/core'
import { createProtect, type ProtectOptions } from '@meshguard/fastify'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { afterEach, describe, expect, it, vi } from 'vitest'
import { call, closeAll, fastify, ok, setUp, status, talk, world } from './fastify-world.js'

afterEach(async () => {
  vi.restoreAllMocks()
  await closeAll()
})

/** Keeps the reports of the last net off the terminal. */
const quiet = () => vi.spyOn(console, 'error').mockImplementation(() => {})

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

  it('cannot be answered below 400 on the socket before the decision', async () => {
    quiet()
    const { app, protect, asked } = setUp(['write:orders'], withTotal)
    const early = async (request: FastifyRequest, reply: FastifyReply) => {
      if (!request.url.endsWith('?early')) return
      reply.hijack()
      reply.raw.end('leaked')
    }
    protect(app).post('/orders', { preValidation: early }, ok)
    const reply = await call(app, 'POST', '/orders?early', order)
    expect([reply.statusCode, reply.json().error, asked]).toEqual([403, 'Forbidden', []])
    expect(await status(app, 'POST', '/orders', order)).toBe(200)
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
      const begun = withResolvers()
      const gone = withResolvers()
      const slow = async () => {
        begun.resolve()
        await gone.promise
        return allowed
      }
      const { guard, asked } = world([], when === 'during the check' ? slow : () => allowed)
      const app = fastify()
      app.server.once('connection', (socket) => socket.once('close', () => gone.resolve()))
      if (when === 'before the check') app.addHook('onRequest', async () => void (await slow()))
      createProtect({ ...guard, timeoutMs: 5000 })(app).get('/contacts', ran)
      await app.listen({ port: 0 })
      const socket = connect((app.server.address() as AddressInfo).port, '127.0.0.1')
      socket.write('GET /contacts HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer agent-1\r\n\r\n')
      await begun.promise
      socket.destroy()
      await vi.waitFor(() => expect(asked).toHaveLength(1))
      await new Promise((resolve) => setTimeout(resolve, 30))
      expect(ran).not.toHaveBeenCalled()
    },
  )
})

function withResolvers(): { promise: Promise<void>; resolve: () => void } {
  let resolve: () => void = () => {}
  const promise = new Promise<void>((settle) => {
    resolve = settle
  })
  return { promise, resolve }
}
