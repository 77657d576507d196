import type { Core } from './enforce.js'
import {
  type AppShape,
  isApp,
  isErrorHandler,
  isPathless,
  isRouter,
  type LayerShape,
  type RouterShape,
  type RouteShape,
} from './shapes.js'
import { Site } from './site.js'

/** A router whose layers were registered before it was protected. */
export interface Adopting {
  readonly core: Core
  readonly router: RouterShape
  adoptRoute(route: RouteShape): void
  /** Protects a mounted app or router; answers the layer to stand in front of it. */
  adoptMount(path: unknown, target: AppShape | RouterShape): LayerShape
}

/**
 * Puts checks in front of what stands on a router already.
 *
 * @returns The layers that replace the router's.
 * @throws Error for what cannot be read: call protect first.
 */
export function adoptLayers(router: Adopting): LayerShape[] {
  const covered = new Set<unknown>()
  return [...router.router.stack].flatMap((layer) => adoptLayer(router, layer, covered))
}

function adoptLayer(router: Adopting, layer: LayerShape, covered: Set<unknown>): LayerShape[] {
  const { route, handle } = layer
  const path = layer.slash === true ? '/' : layer.rawPath
  if (route !== undefined) router.adoptRoute(route)
  else if (isRouter(handle) || isApp(handle)) {
    if (path === undefined) throw new Error(callFirst('a mounted router'))
    return [router.adoptMount(path, handle), layer]
  } else if (handle.name === 'mounted_app') throw new Error(callFirst('a mounted app'))
  else if (!isErrorHandler(handle) && !adoptCheck(router, layer, path, covered) && !isPathless(path) && !covered.has(path)) {
    throw new Error(callFirst(`use(${path === undefined ? 'path' : JSON.stringify(path)}, ${handle.name || 'handler'})`))
  }
  return [layer]
}

/** An own check that stands on a path covers what stands on the same path behind it. */
function adoptCheck({ core, router }: Adopting, layer: LayerShape, path: unknown, covered: Set<unknown>): boolean {
  const own = core.checks.of(layer.handle)
  if (own === undefined) return false
  if (own.kind === 'middleware') return true
  if ((own.kind === 'check' && own.action === undefined) || (own.kind === 'open' && isPathless(path))) return false
  if (typeof path === 'string') covered.add(path)
  if (core.plain.has(layer.handle)) layer.handle = new Site(core, 'ALL', isPathless(path) ? '' : path, own).handlerIn(router)
  return true
}

function callFirst(what: string): string {
  return `protect: ${what} is there already and cannot be read. Call protect first, on the app and on routers that mount others: protect(express()), protect(Router()).`
}
