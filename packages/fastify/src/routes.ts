import type { HttpGuard, OwnCheck, OwnChecks, RouteCheck, RouteFacts, RouteRow } from '@meshguard/core/http'
import type { FastifyReply, FastifyRequest } from 'fastify'
import { canonicalPattern } from './pattern.js'

/** The framework-agnostic half, as it is used here. */
export type FastifyGuard = HttpGuard<FastifyRequest, readonly [FastifyRequest, FastifyReply]>

/** What is done for one route: the check that the route object which Fastify dispatches is bound to. */
export interface BoundRoute {
  readonly check: RouteCheck<FastifyRequest>
  readonly open: boolean
  /** Decided in the first `preHandler`: its context or its action may need the body. */
  readonly deferred: boolean
  /** Validation may turn the parameters into other types before the last check. */
  readonly keepsParams: boolean
  /** The check of ours that comes first in the route's `onRequest`; it is done by the root hook. */
  readonly first: unknown
}

/** What Fastify hands to `onRoute`, and what it keeps in `routeOptions.config`. */
interface Registration {
  /** Absent for a not-found handler. */
  readonly url?: string | undefined
  readonly method?: string | readonly string[] | undefined
  readonly prefix?: string | undefined
  readonly prefixTrailingSlash?: string | undefined
  readonly schema?: unknown
}

/** The options of a route as `onRoute` sees them. */
export interface SeenRoute extends Registration {
  readonly url: string
  onRequest?: unknown
  config?: object | undefined
}

interface Carried extends BoundRoute {
  readonly url: string
  readonly method: string
}

/** A row of the table, and the instance that the route was registered on. */
interface Entry {
  readonly instance: object
  readonly check: RouteCheck<FastifyRequest>
}

/** The parts of an instance that the route table needs. */
export interface Printable {
  printRoutes(options: never): string
}

/** The routes under one `protect`: what was seen in `onRoute`, and what is bound when it is first dispatched. */
export class Routes {
  readonly #http: FastifyGuard
  readonly #checks: OwnChecks<FastifyRequest>
  readonly #carrier = Symbol('meshguard.route')
  readonly #bound = new WeakMap<object, BoundRoute>()
  readonly #entries: Entry[] = []
  readonly #gets = new Map<string, unknown>()

  constructor(http: FastifyGuard, checks: OwnChecks<FastifyRequest>) {
    this.#http = http
    this.#checks = checks
  }

  /**
   * Reads a route when it is registered. What is known of it travels in its own `config`.
   *
   * @throws TypeError when two levels of its url name one parameter.
   */
  see(instance: object, route: SeenRoute): void {
    this.#http.assertParams(canonicalPattern(route.url) ?? '/')
    const first: unknown = Array.isArray(route.onRequest) ? route.onRequest[0] : route.onRequest
    const own = this.#checks.of(first)
    const bound = this.#bind(route, own, first)
    const carried: Carried = { ...bound, url: route.url, method: String(route.method) }
    route.config = { ...route.config, [this.#carrier]: carried }
    for (const check of this.#rowsOf(route, own, bound.first, this.#gets)) this.#entries.push({ instance, check })
  }

  /** The route that was dispatched. Bound by its own `config` object, never by a url. */
  of(request: FastifyRequest): BoundRoute {
    const { config } = request.routeOptions
    const known = this.#bound.get(config)
    if (known !== undefined) return known
    const carried = (config as unknown as Record<symbol, Carried | undefined>)[this.#carrier]
    const bound = carried !== undefined && isOf(carried, config) ? carried : this.#derive(request)
    this.#bound.set(config, bound)
    return bound
  }

  /** The check of a handler of ours that stands elsewhere than first, for the route that was dispatched. */
  extra(request: FastifyRequest, own: OwnCheck<FastifyRequest>): RouteCheck<FastifyRequest> {
    return this.#http.route(this.#factsOf(registrationOf(request), own))
  }

  rows(app: Printable): RouteRow[] {
    return this.#http.rows(this.#under(app))
  }

  verify(app: Printable): void {
    this.#http.verify(this.#under(app))
  }

  /** A route that was registered before `protect`: whatever it says of itself does not count. */
  #derive(request: FastifyRequest): BoundRoute {
    return this.#bind(registrationOf(request), undefined, undefined)
  }

  #bind(route: Registration, own: OwnCheck<FastifyRequest> | undefined, first: unknown): BoundRoute {
    const check = this.#http.route(this.#factsOf(route, own))
    const context = check.own?.context ?? this.#http.options.context
    const deferred = context !== undefined || typeof check.own?.action === 'function'
    return {
      check,
      open: own?.kind === 'open',
      deferred,
      keepsParams: deferred || route.schema !== undefined,
      first: own === undefined ? undefined : first,
    }
  }

  #factsOf(route: Registration, own: OwnCheck<FastifyRequest> | undefined): RouteFacts<FastifyRequest> {
    const methods = methodsOf(route)
    const method = methods.length === 1 ? (methods[0] as string) : 'ALL'
    const facts = { method, spelled: spelledUrl(route), own }
    const pattern = route.url === undefined ? undefined : canonicalPattern(route.url)
    if (pattern === undefined) return { ...facts, pattern, problem: UNREADABLE }
    try {
      this.#http.assertParams(pattern)
      return { ...facts, pattern }
    } catch (error) {
      return { ...facts, pattern: undefined, problem: error instanceof Error ? error.message : UNREADABLE }
    }
  }

  /**
   * A route of several methods has a row for each. The HEAD route that Fastify makes of a GET route has none.
   *
   * @param gets The checks that come first in the GET routes so far, by their url.
   */
  #rowsOf(
    route: Registration,
    own: OwnCheck<FastifyRequest> | undefined,
    first: unknown,
    gets: Map<string, unknown>,
  ): RouteCheck<FastifyRequest>[] {
    const methods = methodsOf(route)
    if (ALL.every((method) => methods.includes(method))) return [this.#http.route(this.#factsOf(route, own))]
    const spelled = spelledUrl(route)
    if (methods.includes('GET')) gets.set(spelled, first)
    return methods
      .filter((method) => method !== 'HEAD' || !gets.has(spelled) || gets.get(spelled) !== first)
      .map((method) => this.#http.route(this.#factsOf({ ...route, method }, own)))
  }

  #under(app: Printable): RouteCheck<FastifyRequest>[] {
    const earlier = this.#earlier(app)
    const later = this.#entries.filter(({ instance }) => isWithin(app, instance)).map(({ check }) => check)
    return [...earlier, ...later]
  }

  #earlier(app: Printable): RouteCheck<FastifyRequest>[] {
    const seen = new Set<object>()
    const gets = new Map<string, unknown>()
    const found: RouteCheck<FastifyRequest>[] = []
    for (const { path, store } of listed(app)) {
      const { server, config, prefixTrailingSlash } = store
      const route: Registration = { ...config, prefix: server.prefix, prefixTrailingSlash }
      if (seen.has(config) || this.#carrier in config || !isWithin(app, server) || spelledUrl({ ...route, url: path }) !== path)
        continue
      seen.add(config)
      found.push(...this.#rowsOf(route, undefined, undefined, gets))
    }
    return found
  }
}

const UNREADABLE =
  'its url has no name that an action could be derived from (a literal colon, a parameter that is no word, or text glued to an expression). Declare its action.'

const ALL = ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS']

function methodsOf({ method = ALL }: Registration): readonly string[] {
  return typeof method === 'string' ? [method] : method
}

/** The `/` of a plugin with a prefix is served with and without its slash; it is named without. */
function spelledUrl({ url, prefix = '', prefixTrailingSlash }: Registration): string {
  if (url === undefined) return '(not found)'
  return prefix !== '' && url === `${prefix}/` && prefixTrailingSlash !== 'slash' ? prefix : url
}

function registrationOf(request: FastifyRequest): Registration {
  const { config, prefixTrailingSlash, schema } = request.routeOptions as Registration & { config: Registration }
  return { url: config.url, method: config.method, prefix: request.server.prefix, prefixTrailingSlash, schema }
}

function isOf(carried: Carried, { url, method }: Registration): boolean {
  return String(method) === carried.method && (url === carried.url || url === `${carried.url}/`)
}

function isWithin(app: object, instance: object): boolean {
  return app === instance || Object.prototype.isPrototypeOf.call(app, instance)
}

/** A route as the router keeps it. */
interface ListedRoute {
  readonly path: string
  readonly store: {
    readonly server: { readonly prefix: string }
    readonly prefixTrailingSlash: string
    readonly config: Registration
  }
}

/**
 * Every route that the router holds. Fastify hands them out in one place only: to the function that describes a route in
 * `printRoutes`. Used for the table, never to decide.
 */
function listed(app: Printable): readonly ListedRoute[] {
  const routes: ListedRoute[] = []
  const describe = (route: ListedRoute) => {
    routes.push(route)
    return {}
  }
  const options = Object.defineProperty({ includeMeta: ['meshguard'] }, 'buildPrettyMeta', { get: () => describe, set() {} })
  app.printRoutes(options as never)
  return routes
}
