import type { Core } from './enforce.js'
import { type Handler, isErrorHandler, type RouterShape, type RouteShape } from './shapes.js'
import { Site } from './site.js'

/** A route of a protected router, and what was registered on it. */
export interface GuardedRoute {
  readonly route: RouteShape
  readonly router: RouterShape
  readonly core: Core
  readonly sites: Site[]
}

type Verb = (this: RouteShape, ...handlers: unknown[]) => unknown

const guarded = new WeakMap<RouteShape, GuardedRoute>()
const prototypes = new WeakMap<object, object>()

/** What was registered on a route, if it is guarded. */
export function guardedRouteOf(route: RouteShape): GuardedRoute | undefined {
  return guarded.get(route)
}

/** Puts a check in front of everything that is registered on one route from now on. Other routes are left as they are. */
export function guardRoute(core: Core, router: RouterShape, route: RouteShape): GuardedRoute {
  const entry: GuardedRoute = { route, router, core, sites: [] }
  guarded.set(route, entry)
  const plain = Object.getPrototypeOf(route) as object
  const checking = prototypes.get(plain) ?? checkingPrototype(plain, router)
  prototypes.set(plain, checking)
  Object.setPrototypeOf(route, checking)
  return entry
}

/** A prototype for guarded routes, on top of Express' own: every verb, and `all`, registers a check first. */
function checkingPrototype(plain: object, router: RouterShape): object {
  const checking: Record<string, Verb> = Object.create(plain)
  for (const [verb, register] of Object.entries(plain)) {
    if (typeof register !== 'function' || typeof Reflect.get(router, verb) !== 'function') continue
    checking[verb] = function (...handlers: unknown[]) {
      return register.apply(this, withChecks(guarded.get(this) as GuardedRoute, verb.toUpperCase(), handlers))
    }
  }
  return checking
}

/**
 * The handlers of one registration with their checks. The first is a check: the registration's own if that came first,
 * otherwise the derived one; own checks further on are asked in addition. An error handler may recover with `next()` from an
 * error that jumped over the checks, so they are repeated behind it.
 */
function withChecks(entry: GuardedRoute, method: string, given: readonly unknown[]): unknown[] {
  const { core, route, router } = entry
  const handlers = given.flat(Number.POSITIVE_INFINITY)
  if (handlers.length === 0) return handlers
  const siteOf = (own: Site['own']) => new Site(core, method, route.path, own)
  const own = core.checks.of(handlers[0])
  const site = siteOf(own?.kind === 'middleware' ? undefined : own)
  entry.sites.push(site)
  const checks: Handler[] = [site.handlerIn(router)]
  const standsAlone = site.own !== undefined && !core.plain.has(handlers[0] as object)
  const registered: unknown[] = standsAlone ? [] : [...checks]
  let jumped = false
  for (const handler of site.own === undefined || standsAlone ? handlers : handlers.slice(1)) {
    const other = core.checks.of(handler)
    if (other?.kind === 'open') continue
    if (jumped && !isErrorHandler(handler)) registered.push(...checks)
    jumped = isErrorHandler(handler)
    if (other?.kind === 'check' && core.plain.has(handler as object)) {
      const check = siteOf(other).handlerIn(router)
      checks.push(check)
      registered.push(check)
    } else registered.push(handler)
  }
  return registered
}

/** Registers anew what stands on a route already, with its checks. Handlers of one method in a row count as one registration. */
export function adoptRoute(core: Core, router: RouterShape, route: RouteShape): GuardedRoute {
  const runs = runsOf(route)
  route.stack.length = 0
  for (const method of Object.keys(route.methods)) delete route.methods[method]
  const entry = guardRoute(core, router, route)
  for (const [method, handlers] of runs) (Reflect.get(route, method) as Verb).apply(route, handlers)
  return entry
}

function runsOf({ stack }: RouteShape): [method: string, handlers: unknown[]][] {
  const runs: [method: string, handlers: unknown[]][] = []
  for (const { method = 'all', handle } of stack) {
    const last = runs.at(-1)
    if (last?.[0] === method) last[1].push(handle)
    else runs.push([method, [handle]])
  }
  return isOneForAll(runs) ? [['all', runs[0]?.[1] ?? []]] : runs
}

/** `app.all` of Express 5 registers the same handlers once for every method. */
function isOneForAll(runs: readonly [method: string, handlers: unknown[]][]): boolean {
  const first = runs[0]?.[1] ?? []
  const methods = new Set(runs.map(([method]) => method))
  return (
    methods.size === runs.length &&
    ['get', 'post', 'delete', 'options', 'trace', 'propfind'].every((method) => methods.has(method)) &&
    runs.every(([, handlers]) => handlers.length === first.length && handlers.every((handler, i) => handler === first[i]))
  )
}
