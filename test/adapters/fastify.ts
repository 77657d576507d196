import { agentOf, createProtect, decisionOf } from '@meshguard/fastify'
import fastify, {
  type FastifyInstance,
  type FastifyReply,
  type FastifyRequest,
  type HTTPMethods,
  type onRequestAsyncHookHandler,
  type RouteHandlerMethod,
} from 'fastify'
import { facts, type Kit, type NativeTools, type Site } from '../contracts/adapter/build.js'
import type { Effect } from '../contracts/adapter/spec.js'

type Hook = onRequestAsyncHookHandler

function write(reply: FastifyReply, effect: Effect): FastifyReply | undefined {
  if (typeof effect !== 'object') return undefined
  reply.code(effect.status ?? 200).headers(effect.headers ?? {})
  return effect.status === 204 ? reply.send() : reply.send(effect.body)
}

/** A wildcard has no name here. */
const spelled = (path: string) => path.replace(/\*\w+$/, '*')

function site(native: FastifyInstance): Site {
  return {
    native,
    route(method, path, items) {
      const onRequest = items.slice(0, -1) as Hook[]
      const handler = items.at(-1) as RouteHandlerMethod
      if (method === 'ALL') native.all(spelled(path), { onRequest }, handler)
      else native.route({ method: method as HTTPMethods, url: spelled(path), onRequest, handler })
    },
    use(_path, items) {
      for (const item of items) native.addHook('onRequest', item as Hook)
    },
    mount(path, _id, _items, fill) {
      native.register(async (scope) => fill(site(scope)), { prefix: path })
    },
    notFound: (handler) => void native.setNotFoundHandler(handler as RouteHandlerMethod),
  }
}

/** Fastify, as the adapter contract speaks to it: what stands before the last handler of a route is an `onRequest` hook. */
export const kit: Kit = {
  name: 'fastify',
  features: new Set([
    'nested-mounts',
    'wildcard-value',
    'fastify:early-plugin',
    'fastify:early-own-check',
    'fastify:constraints',
    'fastify:body-first',
  ]),
  createProtect: createProtect as unknown as Kit['createProtect'],
  facts(native) {
    const request = native as FastifyRequest
    const header = (name: string) => request.headers[name]?.toString()
    return facts(
      request.method,
      request.raw.url ?? request.url,
      header,
      (request.params ?? {}) as Record<string, unknown>,
      decisionOf(request),
      agentOf(request),
    )
  },
  handler: (run) => async (request: FastifyRequest, reply: FastifyReply) => write(reply, await run(request)),
  onDenied:
    (onDenied) =>
    async (decision: Parameters<typeof onDenied>[0], request: FastifyRequest, reply: FastifyReply): Promise<void> => {
      const effect = await onDenied(decision, request)
      if (!reply.sent) write(reply, effect)
    },
  app: (options) => site(fastify((options ?? {}) as object) as unknown as FastifyInstance),
  router: () => {
    throw new Error('Fastify has scopes and no routers')
  },
  natives: {
    'fastify:early-plugin': (tools) => {
      const app = tools.app as FastifyInstance
      app.register(async (scope) => void scope.get('/early-plugin', handle(tools, 'early plugin')))
      app.get('/early-route', handle(tools, 'early route'))
      tools.protect(app)
      app.get('/late', handle(tools, 'late'))
    },
    'fastify:early-own-check': (tools) => {
      const app = tools.app as FastifyInstance
      app.get('/secret', { onRequest: tools.protect('read:allowed') as Hook }, handle(tools, 'secret'))
      app.get('/opened', { onRequest: tools.protect.open('too early') as Hook }, handle(tools, 'opened'))
      tools.protect(app)
    },
    'fastify:constraints': (tools) => {
      const app = tools.app as FastifyInstance
      const version = (constraints: { version: string }, action: string, name: string) =>
        app.route({
          method: 'GET',
          url: '/thing',
          constraints,
          onRequest: tools.protect(action) as Hook,
          handler: handle(tools, name),
        })
      version({ version: '1.0.0' }, 'read:v1', 'thing v1')
      version({ version: '2.0.0' }, 'read:v2', 'thing v2')
    },
    'fastify:body-first': ({ app, protect, handler }) => {
      const context = ({ body }: FastifyRequest) => ({ ...(body as object) })
      const onRequest = protect({ context }) as Hook
      ;(app as FastifyInstance).post('/orders', { onRequest }, handler('order') as RouteHandlerMethod)
    },
  },
}

function handle({ handler }: NativeTools, name: string): RouteHandlerMethod {
  return handler(name) as RouteHandlerMethod
}
