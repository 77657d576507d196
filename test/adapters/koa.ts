import Router, { type RouterMiddleware, type RouterOptions } from '@koa/router'
import { agentOf, createProtect, decisionOf } from '@meshguard/koa'
import Koa, { type Context, type Middleware, type Next } from 'koa'
import { facts, type Kit, type Site } from '../contracts/adapter/build.js'
import type { Effect } from '../contracts/adapter/spec.js'
import { OLDEST } from './oldest.js'

type Handlers = RouterMiddleware[]

function write(ctx: Context, effect: Effect): void {
  if (typeof effect !== 'object') return
  if (effect.status !== 204) ctx.body = effect.body
  ctx.status = effect.status ?? 200
  ctx.set(effect.headers ?? {})
}

function routerSite(native: Router, routers: Map<string, Router>): Site {
  return {
    native,
    route: (method, path, items) => native[method.toLowerCase() as 'get'](path, ...(items as Handlers)),
    use: (path, items) => (path === undefined ? native.use(...(items as Handlers)) : native.use(path, ...(items as Handlers))),
    mount(path, id, items, fill) {
      let router = routers.get(id)
      if (router === undefined || !filled.has(router)) {
        router ??= new Router()
        routers.set(id, router)
        filled.add(router)
        fill(routerSite(router, routers))
      }
      if (path === '/') native.use(...(items as Handlers), router.routes() as RouterMiddleware)
      else native.use(path, ...(items as Handlers), router.routes() as RouterMiddleware)
    },
    notFound: () => undefined,
  }
}

const filled = new WeakSet<Router>()
const routersOf = new WeakMap<Site, Map<string, Router>>()

/** Koa with @koa/router, as the adapter contract speaks to it. The app's own router is attached with its first route. */
export const kit: Kit = {
  name: 'koa',
  features: new Set([
    'next',
    'routers',
    'opaque-middleware',
    'nested-mounts',
    // router 13 spells them (.*), which is unmapped
    ...(OLDEST ? [] : (['wildcard-value'] as const)),
    'koa:late-prefix',
    'koa:nested-routers',
    'koa:two-paths',
  ]),
  createProtect: createProtect as unknown as Kit['createProtect'],
  facts(native) {
    const ctx = native as Context
    const header = (name: string) => ctx.get(name) || undefined
    return facts(ctx.method, ctx.originalUrl, header, ctx['params'] ?? {}, decisionOf(ctx), agentOf(ctx))
  },
  handler: (run) => async (ctx: Context, next: Next) => {
    const effect = await run(ctx)
    if (effect === 'next') await next()
    else write(ctx, effect)
  },
  onDenied: (onDenied) => async (decision: Parameters<typeof onDenied>[0], ctx: Context) =>
    write(ctx, await onDenied(decision, ctx)),
  app(options) {
    const app = new Koa()
    const routers = new Map<string, Router>()
    let root: Site | undefined
    const attached = () => {
      if (root !== undefined) return root
      const router = new Router(options as RouterOptions)
      root = routerSite(router, routers)
      app.use(router.routes())
      app.use(router.allowedMethods())
      return root
    }
    const made: Site = {
      native: app,
      route: (...args) => attached().route(...args),
      use: (_path, items) => items.forEach((item) => void app.use(item as Middleware)),
      mount: (...args) => attached().mount(...args),
      notFound: (handler) => void app.use(handler as Middleware),
    }
    routersOf.set(made, routers)
    return made
  },
  router(app, id) {
    const routers = routersOf.get(app) as Map<string, Router>
    const router = routers.get(id) ?? new Router()
    routers.set(id, router)
    return routerSite(router, routers)
  },
  natives: {
    'koa:late-prefix'({ app, handler }) {
      const router = new Router()
      ;(app as Koa).use(router.routes())
      router.get('/contacts/:id', handler('contact') as RouterMiddleware)
      router.prefix('/late')
      router.get('/other', handler('other') as RouterMiddleware)
    },
    'koa:nested-routers'({ app, handler }) {
      const [inner, outer] = [new Router(), new Router({ prefix: '/outer' })]
      inner.get('/:id', handler('inner') as RouterMiddleware)
      outer.use('/inner', inner.routes())
      ;(app as Koa).use(outer.routes())
    },
    'koa:two-paths'({ app, handler }) {
      const router = new Router()
      router.get(['/one', '/two'], handler('either') as RouterMiddleware)
      ;(app as Koa).use(router.routes())
    },
  },
}
