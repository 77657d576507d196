import type { Core } from './enforce.js'
import {
  type AppShape,
  type Handler,
  isApp,
  isErrorHandler,
  isPathless,
  isRouter,
  type LayerShape,
  type RouterShape,
  type RouteShape,
} from './shapes.js'
import { closeHandler, Site } from './site.js'

/** A router whose layers were registered before it was protected. */
export interface Adopting {
  readonly core: Core
  readonly router: RouterShape
  /** What the route table is made of. */
  readonly items: { push(item: { readonly sites: readonly Site[] }): unknown }
  adoptRoute(route: RouteShape): void
  /** Protects a mounted app or router; answers the layer to stand in front of it. */
  adoptMount(path: unknown, target: AppShape | RouterShape): LayerShape
  /** A layer that is not on the router yet. */
  layerOf(path: unknown, handler: Handler): LayerShape
}

/** What stands in front of a layer that cannot be seen into. */
interface Covers {
  /** Own checks, by path: each covers what stands on its path behind it, up to where an error that jumped over it may end. */
  readonly checks: Map<unknown, Site>
  /** What `protect.open` on the layer before opens. Calls of `use` leave no trace, so that is the one next layer on its path. */
  open: { readonly path: unknown; readonly site: Site } | undefined
  /** Those that are in the route table. */
  readonly listed: Set<Site>
}

/**
 * Puts checks in front of what stands on a router already.
 *
 * @returns The layers that replace the router's.
 * @throws Error for what cannot be read: call protect first.
 */
export function adoptLayers(router: Adopting): LayerShape[] {
  const covers: Covers = { checks: new Map(), open: undefined, listed: new Set() }
  const layers = [...router.router.stack].flatMap((layer) => adoptLayer(router, layer, covers))
  if (covers.open !== undefined) throw new Error(callFirst(OPEN))
  return layers
}

function adoptLayer(router: Adopting, layer: LayerShape, covers: Covers): LayerShape[] {
  const { route, handle } = layer
  const { open } = covers
  const path = layer.slash === true ? '/' : layer.rawPath
  const opaque = route === undefined && !isRouter(handle) && !isApp(handle) && router.core.checks.of(handle) === undefined
  if (open !== undefined && (!opaque || open.path !== path || isErrorHandler(handle))) throw new Error(callFirst(OPEN))
  covers.open = undefined
  if (isErrorHandler(handle)) covers.checks.clear()
  if (route !== undefined) router.adoptRoute(route)
  else if (isRouter(handle) || isApp(handle)) {
    if (path === undefined) throw new Error(callFirst('a mounted router'))
    return [router.adoptMount(path, handle), layer]
  } else if (handle.name === 'mounted_app') throw new Error(callFirst('a mounted app'))
  else if (!opaque) adoptCheck(router, layer, path, covers)
  else if (open !== undefined) {
    list(router, open.site, covers)
    return [layer, router.layerOf(path, closeHandler)]
  } else if (!isErrorHandler(handle) && !isPathless(path)) {
    const site = covers.checks.get(path)
    if (site === undefined) {
      throw new Error(callFirst(`use(${path === undefined ? 'path' : JSON.stringify(path)}, ${handle.name || 'handler'})`))
    }
    list(router, site, covers)
  }
  return [layer]
}

/** Reads an own check that was given to `use`, and tells it where it stands. */
function adoptCheck({ core, router }: Adopting, layer: LayerShape, path: unknown, covers: Covers): void {
  const own = core.checks.of(layer.handle)
  if (own === undefined || own.kind === 'middleware') return
  if (own.kind === 'open' && (typeof path !== 'string' || isPathless(path))) throw new Error(callFirst(OPEN))
  if (own.kind === 'check' && own.action === undefined) throw new Error(callFirst('protect() in use(…)'))
  const site = new Site(core, 'ALL', isPathless(path) ? '' : path, own)
  if (own.kind === 'open') covers.open = { path, site }
  else if (typeof path === 'string' && !covers.checks.has(path)) covers.checks.set(path, site)
  if (core.plain.has(layer.handle)) layer.handle = site.handlerIn(router)
}

function list(router: Adopting, site: Site, { listed }: Covers): void {
  if (!listed.has(site)) router.items.push({ sites: [site] })
  listed.add(site)
}

const OPEN = 'protect.open(reason) in use(path, …), in front of anything but one handler,'

function callFirst(what: string): string {
  return `protect: ${what} is there already and cannot be read. Call protect first, on the app and on routers that mount others: protect(express()), protect(Router()).`
}
