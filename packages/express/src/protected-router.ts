import { type Adopting, adoptLayers } from './adopt.js'
import { type Core, watch } from './enforce.js'
import { adoptRoute, type GuardedRoute, guardedRouteOf, guardRoute } from './guarded-route.js'
import { type Chain, Mount, type Place, ROOT, UNKNOWN } from './mount.js'
import { type Passage, passageOn } from './passage.js'
import { joinPatterns } from './pattern.js'
import {
  type AppShape,
  type Handler,
  isApp,
  isRouter,
  type LayerShape,
  type RouterShape,
  type RouteShape,
  readUse,
} from './shapes.js'
import type { Site } from './site.js'
import { planUse } from './use.js'

/** What was registered on a protected router, in order. */
export type Item = GuardedRoute | { readonly mount: Mount } | { readonly sites: readonly Site[] }

const known = new WeakMap<RouterShape, ProtectedRouter>()

/** The protected router behind an app or router, if it is one. */
export function protectedRouterOf(target: unknown): ProtectedRouter | undefined {
  if (isApp(target)) return known.get(target.router)
  return isRouter(target) ? known.get(target) : undefined
}

/**
 * Protects an app or router: what it holds, and what it will hold. One that is protected already is left as it is.
 *
 * @throws Error for what is there already and cannot be read, TypeError for what another `createProtect` has got already: of two
 * guards that were promised a route, one would never be asked.
 */
export function protectTarget(core: Core, target: AppShape | RouterShape): ProtectedRouter {
  const router = isApp(target) ? target.router : target
  const protectedRouter = known.get(router) ?? new ProtectedRouter(core, router)
  if (protectedRouter.core !== core) throw new TypeError(BY_ANOTHER)
  if (isApp(target)) protectedRouter.attach(target)
  if (known.has(router)) return protectedRouter
  known.set(router, protectedRouter)
  try {
    protectedRouter.replaceLayers()
  } catch (error) {
    known.delete(router)
    throw error
  }
  protectedRouter.install()
  return protectedRouter
}

const BY_ANOTHER =
  'protect: the app or router is protected by another createProtect already. Use one protect for an app and all that is mounted in it.'

/** A router whose routes are checked. Its methods are replaced on this one instance. */
export class ProtectedRouter implements Adopting {
  readonly items: Item[] = []
  /** Layers that were registered through this class. */
  readonly layers = new WeakSet<LayerShape>()
  readonly #parents: { readonly of: ProtectedRouter; readonly mount: Mount }[] = []
  readonly #plain: Pick<RouterShape, 'use' | 'route' | 'handle'>
  readonly #root: Place
  readonly #unknown: Place
  #app: AppShape | undefined
  /** An app that Express' own `use` is about to mount. */
  #mounting = false

  constructor(
    readonly core: Core,
    readonly router: RouterShape,
  ) {
    this.#plain = { use: router.use, route: router.route, handle: router.handle }
    this.#root = { router, chain: ROOT, baseUrl: '', params: undefined }
    this.#unknown = { router, chain: UNKNOWN, baseUrl: '', params: undefined }
  }

  /**
   * Replaces the methods of the app that the router belongs to; its verbs and `route` go through the router. What a request
   * carries is put on it before Express changes its prototype: after that, each new property takes V8 microseconds.
   */
  attach(app: AppShape): void {
    if (this.#app !== undefined) return
    this.#app = app
    const { use, handle } = app
    app.handle = (req, res, done) => {
      const passage = passageOn(req, res)
      if (passage.watched) handle.call(app, req, res, done)
      else handle.call(app, req, res, watch(this.core, passage, req, done))
    }
    app.all = (path, ...handlers) => {
      app.router.all(path, ...handlers)
      return app
    }
    app.use = (...args) => {
      this.#use(args, (path, child) => {
        this.#mounting = true
        try {
          use.call(app, path, child)
        } finally {
          this.#mounting = false
        }
      })
      return app
    }
  }

  /** Replaces the methods of the router. */
  install(): void {
    const { router } = this
    router.route = (path) => this.#route(path)
    router.use = (...args) => {
      if (this.#mounting) {
        this.#mounting = false
        this.#register(args[0], args[1])
      } else this.#use(args, (path, child) => this.#register(path, child))
      return router
    }
    router.handle = (req, res, done) => {
      const passage = passageOn(req, res)
      const { place } = passage
      passage.place = this.#enter(passage, req.baseUrl ?? '')
      this.#plain.handle.call(router, req, res, (error) => {
        passage.place = place
        done(error)
      })
    }
  }

  /** Where a request that enters the router is: told by the mount it came through, or else at the root, or nowhere known. */
  #enter(passage: Passage, baseUrl: string): Place {
    const { entering } = passage
    passage.entering = undefined
    if (entering !== undefined && entering.router === this.router && entering.baseUrl === baseUrl) return entering
    return baseUrl === '' ? this.#root : this.#unknown
  }

  #route(path: unknown): ReturnType<RouterShape['route']> {
    this.#followSettings()
    for (const chain of this.chains()) this.#assertParams(chain, path)
    const route = this.#plain.route.call(this.router, path)
    this.layers.add(this.router.stack.at(-1) as LayerShape)
    this.items.push(guardRoute(this.core, this.router, route))
    return route
  }

  #use(args: readonly unknown[], mount: (path: unknown, child: unknown) => void): void {
    const { path, handlers } = readUse(args)
    if (handlers.length === 0) {
      this.#plain.use.apply(this.router, [...args])
      return
    }
    this.#followSettings()
    const plan = planUse(this.core, this.router, path, handlers)
    const mounts = new Map([...plan.children].map((child) => [child as unknown, this.#mount(path, child)]))
    if (plan.opaque.length > 0) this.items.push({ sites: plan.opaque })
    for (const handler of plan.handlers) {
      const mounted = mounts.get(handler)
      if (mounted === undefined) this.#register(path, handler)
      else {
        this.#register(path, this.#marker(mounted))
        mount(path, handler)
      }
    }
  }

  /** Protects a child, and checks that no parameter of it has the name of one above. */
  #mount(path: unknown, target: AppShape | RouterShape): Mount {
    const child = protectTarget(this.core, target)
    const mount = new Mount(this.router, child.router, path)
    for (const chain of this.chains()) {
      const below = mount.under(chain)
      if (below !== UNKNOWN) child.walk(below, (item, of) => 'route' in item && this.#assertParams(of, item.route.path))
    }
    child.#parents.push({ of: this, mount })
    this.items.push({ mount })
    return mount
  }

  /** The layer in front of a mounted router: it tells which mount the request comes through. */
  #marker(mount: Mount): Handler {
    return (req, res, next) => {
      const passage = passageOn(req, res)
      const { place } = passage
      const chain = place !== undefined && place.router === this.router ? mount.under(place.chain) : UNKNOWN
      const params = place?.params === undefined ? req.params : { ...place.params, ...req.params }
      passage.entering = { router: mount.child, chain, baseUrl: req.baseUrl, params }
      next()
    }
  }

  #register(path: unknown, handler: unknown): void {
    this.#plain.use.call(this.router, path, handler)
    this.layers.add(this.router.stack.at(-1) as LayerShape)
  }

  /** Express fixes these settings when the router is first touched, which `protect(app)` does before the application could. */
  #followSettings(): void {
    if (this.#app === undefined || this.router.stack.length > 0) return
    this.router.caseSensitive = this.#app.enabled('case sensitive routing')
    this.router.strict = this.#app.enabled('strict routing')
  }

  #assertParams(chain: Chain, path: unknown): void {
    const pattern = joinPatterns(chain.pattern, path)
    if (pattern !== undefined) this.core.http.assertParams(pattern)
  }

  /** Puts checks in front of what is there already. Throws for what cannot be read. */
  replaceLayers(): void {
    const layers = adoptLayers(this)
    this.router.stack.splice(0, this.router.stack.length, ...layers)
    for (const layer of layers) this.layers.add(layer)
  }

  adoptRoute(route: RouteShape): void {
    for (const chain of this.chains()) this.#assertParams(chain, route.path)
    this.items.push(guardedRouteOf(route) ?? adoptRoute(this.core, this.router, route))
  }

  adoptMount(path: unknown, target: AppShape | RouterShape): LayerShape {
    return this.layerOf(path, this.#marker(this.#mount(path, target)))
  }

  layerOf(path: unknown, handler: Handler): LayerShape {
    this.#plain.use.call(this.router, path, handler)
    return this.router.stack.pop() as LayerShape
  }

  /** Every chain by which the router is known to be reached. */
  chains(below: readonly ProtectedRouter[] = []): Chain[] {
    if (below.includes(this)) return []
    if (this.#parents.length === 0) return [ROOT]
    return this.#parents
      .flatMap(({ of, mount }) => of.chains([...below, this]).map((chain) => mount.under(chain)))
      .filter((chain) => chain !== UNKNOWN)
  }

  /** Visits what was registered on the router and on what is mounted in it; a router inside itself is not entered. */
  walk(chain: Chain, visit: (item: Item, chain: Chain) => void): void {
    for (const item of this.items) {
      visit(item, chain)
      if (!('mount' in item)) continue
      const below = item.mount.under(chain)
      if (below !== UNKNOWN) known.get(item.mount.child)?.walk(below, visit)
    }
  }
}
