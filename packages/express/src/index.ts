/**
 * Guards the routes of an Express 5 application against what AI agents may not do.
 *
 * @module
 */
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Action, Guard } from '@meshguard/core'
import {
  bindController,
  type DynamicRouteOptions as CoreDynamicRouteOptions,
  type ProtectOptions as CoreProtectOptions,
  type RouteOptions as CoreRouteOptions,
  createHttpGuard,
  joinedHeader,
  OwnChecks,
  type RequestReader,
  type RouteRow,
  readOpen,
  readOwnCheck,
} from '@meshguard/core/http'
import type { Express, Request, Response, Router } from 'express'
import type { Core } from './enforce.js'
import { passageOf } from './passage.js'
import { protectTarget } from './protected-router.js'
import { type Handler, isApp, isErrorHandler, isRouter } from './shapes.js'
import { openHandler, ownHandler } from './site.js'
import { routesOf, verifyRoutes } from './table.js'

export type { RouteRow } from '@meshguard/core/http'
export { agentOf, decisionOf } from './passage.js'

/** Options of {@link createProtect}. Callbacks are given the Express request; `onDenied` the response as well. */
export type ProtectOptions = CoreProtectOptions<Request, readonly [Request, Response]>

/** What a route says of itself. */
export type RouteOptions = CoreRouteOptions<Request>

/** A route whose action is known only at the request. */
export type DynamicRouteOptions = CoreDynamicRouteOptions<Request>

/** A handler for any route, typed so that it leaves the types of the handlers behind it alone. */
export type ProtectHandler = (req: IncomingMessage, res: ServerResponse, next: (error?: unknown) => void) => void

type Method = (...args: never[]) => unknown

/** A check: a handler, and a decorator of methods (standard and legacy) and of fields (standard). */
export interface RouteProtect {
  <M extends Method>(method: M, context: ClassMethodDecoratorContext): M
  <F extends Method>(field: undefined, context: ClassFieldDecoratorContext<unknown, F>): (initial: F) => F
  <M extends Method>(target: object, name: string | symbol, method: TypedPropertyDescriptor<M>): TypedPropertyDescriptor<M>
  (req: IncomingMessage, res: ServerResponse, next: (error?: unknown) => void): void
}

/** Puts a guard on apps, routers and routes. Made by {@link createProtect}. */
export interface Protect {
  /**
   * Protects every route of an app or router, there already or to come, and of what is mounted in it.
   *
   * @returns Its argument.
   * @throws Error for what is there already and cannot be read, TypeError where another `createProtect` has got it
   * or something in it already.
   */
  <T extends Express | Router>(target: T): T
  /** A check of one route, said by hand. In front of a mount it is asked in addition to the checks inside. */
  (action: Action, options?: RouteOptions): RouteProtect
  /** A check of one route whose action is known only at the request. */
  (options: DynamicRouteOptions): RouteProtect
  /** A check of one route with the derived action. */
  (options?: RouteOptions): RouteProtect
  /** Opens one route, or one opaque `use(path, …)`, to everybody. The reason is in the route table. */
  open(reason: string): ProtectHandler
  /** Your word that a middleware only passes on, for `use(path, …)`. An answer below 400 that it sends is replaced by 403. */
  middleware<H extends Handler>(middleware: H): H
  /** The route table. */
  routes(target: Express | Router): RouteRow[]
  /**
   * Repeats every check, for tests and before `listen`.
   *
   * @throws Error that lists everything that is wrong.
   */
  verify(target: Express | Router): void
  /** A view of a controller whose methods keep their `this` and their checks. */
  bind<C extends object>(controller: C): C
}

/** What `req.ip` says. Where no proxy is trusted that is the socket's address, and cheaper to read. */
function addressOf(req: Request): string | undefined {
  return req.app?.enabled('trust proxy') === false ? req.socket.remoteAddress : req.ip
}

const reader: RequestReader<Request> = {
  method: (req) => req.method,
  header: joinedHeader,
  params: (req) => {
    const above = passageOf(req)?.place?.params
    return above === undefined ? req.params : { ...above, ...req.params }
  },
  ip: addressOf,
  signal: (req) => passageOf(req)?.signal,
}

/**
 * Makes `protect` for Express.
 *
 * The check of a route runs inside that route, right before its handler. Parameter callbacks (`app.param`) and the middleware
 * of a router run before it: they must not load data or answer. What writes to `res.socket` by itself, and WebSocket upgrades,
 * pass no route and are the application's.
 *
 * @throws TypeError naming the option that is wrong.
 *
 * @example
 * ```ts
 * const protect = createProtect(guard)
 * const app = protect(express())
 * app.get('/contacts/:id', handler) // read:contacts on contacts/42
 * app.delete('/contacts/:id', protect('purge:contacts'), handler)
 * app.get('/health', protect.open('liveness probe'), handler)
 * ```
 */
export function createProtect(guard: Guard, options: ProtectOptions = {}): Protect {
  const core: Core = {
    http: createHttpGuard(guard, options, reader),
    checks: new OwnChecks<Request>(),
    plain: new WeakSet(),
    timeoutMs: guard.timeoutMs,
  }
  const protect = (first?: unknown, second?: RouteOptions): unknown => {
    if (isApp(first) || isRouter(first)) {
      protectTarget(core, first)
      return first
    }
    return ownHandler(core, readOwnCheck<Request>(first as Action | RouteOptions | undefined, second))
  }
  return Object.assign(protect, {
    open: (reason: string) => markOpen(core, reason),
    middleware: <H extends Handler>(middleware: H) => markMiddleware(core, middleware),
    routes: (target: Express | Router) => routesOf(core, target),
    verify: (target: Express | Router) => verifyRoutes(core, target),
    bind: <C extends object>(controller: C) => bindController(controller, core.checks),
  }) as Protect
}

function markOpen(core: Core, reason: string): ProtectHandler {
  const handler: Handler = (req, res, next) => openHandler(req, res, next)
  core.plain.add(handler)
  return core.checks.mark(handler, readOpen(reason)) as ProtectHandler
}

function markMiddleware<H extends Handler>(core: Core, middleware: H): H {
  if (typeof middleware !== 'function' || isErrorHandler(middleware) || isApp(middleware) || isRouter(middleware)) {
    throw new TypeError(
      'protect.middleware: needs a middleware of (req, res, next); routers and apps are protected by themselves',
    )
  }
  const passing: Handler = (req, res, next) => middleware(req, res, next)
  return core.checks.mark(passing, { kind: 'middleware' }) as H
}
