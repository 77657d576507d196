import { agentOf, createProtect, decisionOf } from '@meshguard/express'
import express, { type NextFunction, type Request, type Response, type Router } from 'express'
import { facts, type Kit, type NativeTools, type Site } from '../contracts/adapter/build.js'
import type { Effect } from '../contracts/adapter/spec.js'
import { OLDEST } from './oldest.js'

type Method = 'get' | 'all'
type Handlers = express.RequestHandler[]

function write(res: Response, effect: Exclude<Effect, 'next' | undefined>): void {
  res.status(effect.status ?? 200).set(effect.headers ?? {})
  if (effect.status === 204) res.end()
  else res.json(effect.body)
}

function site(native: Router, routers: Map<string, Site>): Site {
  return {
    native,
    route: (method, path, items) => native[method.toLowerCase() as Method](path, ...(items as Handlers)),
    use: (path, items) => (path === undefined ? native.use(...(items as Handlers)) : native.use(path, ...(items as Handlers))),
    mount(path, id, items, fill) {
      const router = routerOf(routers, id, fill)
      native.use(path, ...(items as Handlers), router.native as Router)
    },
    notFound: (handler) => native.use(handler as express.RequestHandler),
  }
}

function routerOf(routers: Map<string, Site>, id: string, fill?: (router: Site) => void): Site {
  const known = routers.get(id)
  if (known !== undefined && (fill === undefined || filled.has(known))) return known
  const router = known ?? site(express.Router({ mergeParams: true }), routers)
  routers.set(id, router)
  if (fill !== undefined) {
    filled.add(router)
    fill(router)
  }
  return router
}

const filled = new WeakSet<Site>()
const routersOf = new WeakMap<Site, Map<string, Site>>()

/** Express, as the adapter contract speaks to it. */
export const kit: Kit = {
  name: 'express',
  features: new Set([
    'next',
    'live-routers',
    'routers',
    'use-path',
    'mount-check',
    'wildcard-value',
    // router 2.2 keeps no patterns: protect throws
    ...(OLDEST ? [] : (['nested-mounts'] as const)),
    'express:app-in-app',
    'express:route-chain',
    'express:array-path',
    'express:regexp',
  ]),
  createProtect: createProtect as unknown as Kit['createProtect'],
  facts(native) {
    const req = native as Request
    const header = (name: string) => req.get(name)
    return facts(req.method, req.originalUrl, header, req.params, decisionOf(req), agentOf(req))
  },
  handler: (run) => async (req: Request, res: Response, next: NextFunction) => {
    const effect = await run(req)
    if (effect === 'next') next()
    else if (effect !== undefined) write(res, effect)
  },
  onDenied: (onDenied) => async (decision: Parameters<typeof onDenied>[0], req: Request, res: Response) => {
    const effect = await onDenied(decision, req)
    if (typeof effect === 'object' && !res.headersSent) write(res, effect)
  },
  app(options) {
    const app = express()
    for (const [name, value] of Object.entries(options ?? {})) app.set(name, value)
    const routers = new Map<string, Site>()
    const made = site(app as unknown as Router, routers)
    routersOf.set(made, routers)
    return made
  },
  router: (app, id) => routerOf(routersOf.get(app) as Map<string, Site>, id),
  natives: {
    'express:app-in-app'({ app, handler }) {
      const inner = express()
      inner.get('/a', handler('a') as express.RequestHandler)
      ;(app as Router).use('/inner', inner)
      inner.get('/b', handler('b') as express.RequestHandler)
    },
    'express:route-chain'({ app, handler }) {
      const [get, post, remove] = ['get', 'post', 'remove'].map((name) => handler(name) as express.RequestHandler) as Handlers
      ;(app as Router)
        .route('/book')
        .get(get as express.RequestHandler)
        .post(post as express.RequestHandler)
        .delete(remove as express.RequestHandler)
    },
    'express:array-path': (tools) => patterns(tools, ['/one', '/two'], ['/three', '/four']),
    'express:regexp': (tools) => patterns(tools, /^\/ab+c$/, /^\/xyz$/),
  },
}

/** One route that cannot be derived, and one like it that is declared. */
function patterns({ app, handler, protect }: NativeTools, plain: string[] | RegExp, declared: string[] | RegExp): void {
  const router = app as Router
  router.get(plain, handler('plain') as express.RequestHandler)
  router.get(declared, protect('read:declared') as express.RequestHandler, handler('declared') as express.RequestHandler)
}
