import { agentOf, createProtect, decisionOf } from '@meshguard/hono'
import { type Context, Hono, type MiddlewareHandler, type Next } from 'hono'
import { facts, type Kit, type NativeTools, type Site } from '../contracts/adapter/build.js'
import type { Effect } from '../contracts/adapter/spec.js'

type Handler = (c: Context, next: Next) => Promise<Response | undefined>
type Register = (path: string, ...handlers: Handler[]) => unknown

function responseOf(c: Context, effect: Effect): Response | undefined {
  if (typeof effect !== 'object') return undefined
  for (const [name, value] of Object.entries(effect.headers ?? {})) c.header(name, value)
  return effect.status === 204 ? c.body(null, 204) : c.json(effect.body as object, (effect.status ?? 200) as 200)
}

/** On Node what the client sent; elsewhere what the runtime made of it. */
const urlOf = (c: Context) => (c.env as { incoming?: { url?: string } } | undefined)?.incoming?.url ?? c.req.url

/** A wildcard has no name here. */
const spelled = (path: string) => path.replace(/\*\w+$/, '*')

function site(native: Hono, routers: Map<string, Hono>): Site {
  return {
    native,
    route(method, path, items) {
      const name = method.toLowerCase()
      const register = Reflect.get(native, name) as Register | undefined
      if (typeof register === 'function') register.call(native, spelled(path), ...(items as Handler[]))
      else native.on([method], [spelled(path)], ...(items as MiddlewareHandler[]))
    },
    use: (path, items) => (path === undefined ? native.use(...(items as [])) : native.use(path, ...(items as []))),
    mount(path, id, _items, fill) {
      let router = routers.get(id)
      if (router === undefined || !filled.has(router)) {
        router ??= new Hono()
        routers.set(id, router)
        filled.add(router)
        fill(site(router, routers))
      }
      native.route(path, router)
    },
    notFound: (handler) => void native.notFound(handler as Parameters<Hono['notFound']>[0]),
  }
}

const filled = new WeakSet<Hono>()
const routersOf = new WeakMap<Site, Map<string, Hono>>()

/** Hono, as the adapter contract speaks to it, whatever it is served by. */
export const kit: Kit = {
  name: 'hono',
  features: new Set([
    'nested-mounts',
    'next',
    'routers',
    'opaque-middleware',
    'hono:base-path',
    'hono:route-plain-sub',
    'hono:chained',
    'hono:on',
    'hono:mount',
  ]),
  createProtect: createProtect as unknown as Kit['createProtect'],
  facts(native) {
    const c = native as Context
    return facts(c.req.method, urlOf(c), (name: string) => c.req.header(name), c.req.param(), decisionOf(c), agentOf(c))
  },
  handler: (run) => async (c: Context, next: Next) => {
    const effect = await run(c)
    if (effect !== 'next') return responseOf(c, effect)
    await next()
    return undefined
  },
  onDenied: (onDenied) => async (decision: Parameters<typeof onDenied>[0], c: Context) =>
    responseOf(c, await onDenied(decision, c)),
  app(options) {
    const routers = new Map<string, Hono>()
    const made = site(new Hono(options as ConstructorParameters<typeof Hono>[0]), routers)
    routersOf.set(made, routers)
    return made
  },
  router(app, id) {
    const routers = routersOf.get(app) as Map<string, Hono>
    const router = routers.get(id) ?? new Hono()
    routers.set(id, router)
    return site(router, routers)
  },
  natives: {
    'hono:base-path': (tools) => {
      const base = (tools.app as Hono).basePath('/base')
      base.get('/a', handle(tools, 'a'))
      base.get('/b', handle(tools, 'b'))
      base.basePath('/deeper').get('/c', handle(tools, 'c'))
    },
    'hono:route-plain-sub': (tools) => {
      const deep = new Hono().get('/c', handle(tools, 'c'))
      const sub = new Hono().get('/a', handle(tools, 'a')).get('/b', handle(tools, 'b')).route('/deep', deep)
      ;(tools.app as Hono).route('/sub', sub)
    },
    'hono:chained': (tools) => {
      ;(tools.app as Hono).get('/chain', handle(tools, 'get')).post(handle(tools, 'post')).delete(handle(tools, 'delete'))
    },
    'hono:on': (tools) => {
      ;(tools.app as Hono).on(['GET', 'POST'], ['/one', '/two'], handle(tools, 'on'))
      ;(tools.app as Hono).on('PURGE', '/three', handle(tools, 'purge'))
    },
    'hono:mount': (tools) => {
      const ran = tools.handler('mounted') as Handler
      ;(tools.app as Hono).mount('/mounted', async () => {
        const inner = new Hono().all('*', ran as MiddlewareHandler)
        return inner.request('/x')
      })
    },
  },
}

function handle({ handler }: NativeTools, name: string): (c: Context, next: Next) => Promise<Response> {
  return handler(name) as (c: Context, next: Next) => Promise<Response>
}
