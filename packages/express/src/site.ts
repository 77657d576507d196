import {
  type CheckOfRoute,
  decorate,
  isDecoratorCall,
  type OpenRoute,
  type RouteCheck,
  type RouteFacts,
} from '@meshguard/core/http'
import type { NextFunction, Request, Response } from 'express'
import { type Core, enforce } from './enforce.js'
import { type Chain, ROOT, UNKNOWN } from './mount.js'
import { type Passage, passageOn } from './passage.js'
import { joinPatterns, joinSpelled } from './pattern.js'
import { type Handler, isForAllMethods, type RouterShape, type RouteShape } from './shapes.js'

/** Where a check stands: one registration, reached through one mount chain or several. */
export class Site {
  readonly #checks = new Map<Chain, RouteCheck<Request>>()

  constructor(
    readonly core: Core,
    /** Upper case, or `ALL`. */
    readonly method: string,
    readonly path: unknown,
    readonly own: CheckOfRoute<Request> | OpenRoute | undefined,
  ) {}

  /** What is known of the route where it is reached by `chain`. */
  facts(chain: Chain, shared = false): RouteFacts<Request> {
    return {
      method: this.method,
      pattern: joinPatterns(chain.pattern, this.path),
      spelled: joinSpelled(chain.spelled, this.path) || '/',
      own: this.own,
      shared,
    }
  }

  /** The check of one chain, made when it is first needed. */
  at(chain: Chain): RouteCheck<Request> {
    const known = this.#checks.get(chain)
    if (known !== undefined) return known
    const check = this.core.http.route(this.facts(chain))
    this.#checks.set(chain, check)
    return check
  }

  /** The handler that checks here: it stands in a stack of `router`, and knows no other way to be reached. */
  handlerIn(router: RouterShape): Handler {
    if (this.own?.kind === 'open') return openHandler
    return (req, res, next) => {
      const passage = passageOn(req, res)
      const { place } = passage
      const chain = place !== undefined && place.router === router ? place.chain : UNKNOWN
      return enforce(this.core, this.at(chain), passage, req, next)
    }
  }
}

/** Lets everybody through, and remembers that. */
export const openHandler: Handler = (req, res, next) => {
  passageOn(req, res).settled = true
  next()
}

/** Closes again what {@link openHandler} opened, behind an opaque mount that passed on. */
export const closeHandler: Handler = (req, res, next) => {
  const passage = passageOn(req, res)
  passage.settled = passage.decision !== undefined
  next()
}

/**
 * What `protect('verb:object')` answers: a handler, or a decorator. It finds out by itself where it stands; on a protected
 * router it is replaced by one that knows.
 */
export function ownHandler(core: Core, own: CheckOfRoute<Request>): (...args: unknown[]) => unknown {
  const sites = new SitesOfRoutes(core, own)
  const handler = (...args: unknown[]): unknown => {
    if (isDecoratorCall(args)) return decorate(args, (method) => checkedMethod(core, own, method))
    const [req, res, next] = args as [Request, Response, NextFunction]
    const passage = passageOn(req, res)
    return enforce(core, sites.checkFor(req, passage, handler), passage, req, next)
  }
  core.plain.add(handler)
  return core.checks.mark(handler, own)
}

/** A method of a controller with its check in front. */
function checkedMethod<M extends (this: unknown, ...args: never[]) => unknown>(
  core: Core,
  own: CheckOfRoute<Request>,
  method: M,
): (this: unknown, ...args: never[]) => unknown {
  const sites = new SitesOfRoutes(core, own)
  const checked = function (this: unknown, ...args: never[]): unknown {
    const [req, res] = args as unknown as [Request, Response]
    const passage = passageOn(req, res)
    return enforce(core, sites.checkFor(req, passage), passage, req, () => method.apply(this, args))
  }
  return core.checks.mark(checked, own)
}

/** Finds the site of a check that was not told it: by the route that Express says it is running. */
class SitesOfRoutes {
  readonly #sites = new WeakMap<RouteShape, Map<string, Site>>()
  readonly #nowhere: Site

  constructor(
    readonly core: Core,
    readonly own: CheckOfRoute<Request>,
  ) {
    this.#nowhere = new Site(core, 'ALL', '', own)
  }

  /** @param handler Where it is given it must be in the stack of the route: Express keeps the last route on the request. */
  checkFor(req: Request, { place }: Passage, handler?: Handler): RouteCheck<Request> {
    const route: RouteShape | undefined = req.route
    const method = route === undefined ? undefined : methodOf(route, req.method, handler)
    if (route === undefined || method === undefined) return this.#nowhere.at(UNKNOWN)
    const baseUrl = req.baseUrl ?? ''
    if (place !== undefined) return this.#siteOf(route, method).at(place.baseUrl === baseUrl ? place.chain : UNKNOWN)
    return this.#siteOf(route, method).at(baseUrl === '' ? ROOT : UNKNOWN)
  }

  #siteOf(route: RouteShape, method: string): Site {
    const ofRoute = this.#sites.get(route) ?? new Map<string, Site>()
    this.#sites.set(route, ofRoute)
    const site = ofRoute.get(method) ?? new Site(this.core, method, route.path, this.own)
    ofRoute.set(method, site)
    return site
  }
}

/** The method of the registration that runs, or `undefined` if `handler` is not in the route. */
function methodOf(route: RouteShape, requested: string, handler: Handler | undefined): string | undefined {
  const asked = requested.toLowerCase()
  const method = asked === 'head' && route.methods['head'] !== true ? 'get' : asked
  if (handler !== undefined) {
    const stands = ({ handle, method: of }: RouteShape['stack'][number]) =>
      handle === handler && (of === undefined || of === method)
    if (!route.stack.some(stands)) return undefined
  }
  return isForAllMethods(route) ? 'ALL' : method.toUpperCase()
}
