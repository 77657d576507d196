import type { RouteCheck, RouteRow } from '@meshguard/core/http'
import type { Request } from 'express'
import type { Core } from './enforce.js'
import { type Chain, ROOT, UNKNOWN } from './mount.js'
import { type ProtectedRouter, protectedRouterOf } from './protected-router.js'
import { isPathless } from './shapes.js'
import type { Site } from './site.js'

/** The route table of a protected app or router. */
export function routesOf(core: Core, target: unknown): RouteRow[] {
  return core.http.rows(checksOf(find('routes', target)))
}

/**
 * Refuses an app with routes that would be denied for want of an action, overrides that match no route, and layers that were
 * put past `protect`.
 *
 * @throws Error that lists everything that is wrong.
 */
export function verifyRoutes(core: Core, target: unknown): void {
  const root = find('verify', target)
  core.http.verify(checksOf(root), [...new Set(problemsIn(root, ROOT))])
}

function find(name: string, target: unknown): ProtectedRouter {
  const found = protectedRouterOf(target)
  if (found === undefined) throw new TypeError(`protect.${name}: the app is not protected; call protect(app) first`)
  return found
}

function checksOf(root: ProtectedRouter): RouteCheck<Request>[] {
  const visits: { readonly site: Site; readonly chain: Chain }[] = []
  const times = new Map<Site, number>()
  root.walk(ROOT, (item, chain) => {
    for (const site of 'mount' in item ? [] : item.sites) {
      visits.push({ site, chain })
      times.set(site, (times.get(site) ?? 0) + 1)
    }
  })
  return visits.map(({ site, chain }) => site.core.http.route(site.facts(chain, (times.get(site) ?? 0) > 1)))
}

function problemsIn(root: ProtectedRouter, chain: Chain): string[] {
  const problems = strayLayers(root, chain)
  root.walk(chain, (item, at) => {
    if (!('mount' in item)) return
    const below = item.mount.under(at)
    const child = protectedRouterOf(item.mount.child)
    if (below === UNKNOWN) problems.push(`${nameOf(at)}: a router is mounted inside itself, and its routes are denied there.`)
    else if (child !== undefined) problems.push(...strayLayers(child, below))
  })
  return problems
}

function strayLayers(of: ProtectedRouter, chain: Chain): string[] {
  return of.router.stack
    .filter(
      (layer) =>
        !of.layers.has(layer) && (layer.route !== undefined || !isPathless(layer.slash === true ? '/' : layer.rawPath)),
    )
    .map(
      ({ handle }) => `${nameOf(chain)}: ${handle.name || 'a handler'} was put on the router past protect and is not checked.`,
    )
}

function nameOf({ spelled }: Chain): string {
  return spelled || '/'
}
