import type { Action, Guard } from '@meshguard/core'
import {
  bindController,
  createHttpGuard,
  type DecoratorArguments,
  type DynamicRouteOptions,
  decorate,
  isDecoratorCall,
  type OwnCheck,
  OwnChecks,
  type ProtectOptions as ProtectOptionsOf,
  type RouteOptions as RouteOptionsOf,
  type RouteRow,
  readOpen,
  readOwnCheck,
} from '@meshguard/core/http'
import type { Context, Next } from 'koa'
import { type AnyApplication, applicationRoutes, isApplication, protectApplication } from './application.js'
import { createCheck } from './check.js'
import { type AnyContext, type Handler, reader, stateOf } from './request.js'
import { type AnyRouter, isRouter, protectRouter, type RouterParts, routerOf, routesOf } from './router.js'

/** Options of {@link createProtect}. Callbacks are given Koa's context. */
export type ProtectOptions = ProtectOptionsOf<Context, readonly [Context]>

/** Options of one route: `protect('delete:contacts', { resource, context, mode })`. */
export type RouteOptions = RouteOptionsOf<Context>

/** A check for one route: middleware of Koa, and a decorator of a method, standard and legacy, or of a field, standard only. */
export interface RouteGuard {
  (ctx: AnyContext, next: Next): unknown
  <M extends (...args: never[]) => unknown>(method: M, context: { readonly kind: 'method' }): M
  (value: undefined, context: { readonly kind: 'field' }): <M>(method: M) => M
  (prototype: object, name: string | symbol, descriptor?: PropertyDescriptor): void
}

/** Puts a guard on routes. Made by {@link createProtect}. */
export interface Protect {
  /**
   * Every route of this application or router, there already or to come, and of the routers given to it.
   *
   * What Koa cannot see into (hand-made middleware, `koa-mount`, routers hidden in `koa-compose`) is not guarded, only its
   * answer is held back: one below 400 that no decision and no `open` covers is replaced by 403.
   *
   * @returns Its argument.
   * @throws TypeError for a check or a pattern that cannot be guarded as it is written.
   */
  <T extends AnyApplication | AnyRouter>(target: T): T
  /** One route, its action said by hand. First in its registration it replaces the derived check; anywhere else both run. */
  (action: Action, options?: RouteOptions): RouteGuard
  /** One route whose action is known only at the request. */
  (options: DynamicRouteOptions<Context>): RouteGuard
  /** One route, its action derived. */
  (options?: RouteOptions): RouteGuard
  /**
   * A route that is deliberately public.
   *
   * @throws TypeError without a reason, and when it is given to `use`.
   */
  open(reason: string): RouteGuard
  /**
   * One middleware that nothing can see into, deliberately public: covers what that one answers, if it did not call `next`.
   *
   * @example
   * ```ts
   * app.use(protect.open('assets', serve('public')))
   * ```
   */
  open<M extends (ctx: never, next: Next) => unknown>(reason: string, middleware: M): M
  /** The route table of a protected application or router. */
  routes(target: AnyApplication | AnyRouter): RouteRow[]
  /**
   * Repeats every check of a protected application or router; for tests, and before `listen`.
   *
   * @throws Error that lists the routes without an action, and overrides in `actions` that match no route.
   */
  verify(target: AnyApplication | AnyRouter): void
  /** A view of a controller whose decorated methods keep `this`: `router.get('/contacts', protect.bind(controller).list)`. */
  bind<C extends object>(controller: C): C
}

/**
 * Makes `protect` for Koa with @koa/router.
 *
 * Checks are bound to the layer that the router dispatches. Run *before* the check, and so must neither load data nor answer:
 * the application's and the router's middleware. A router mounted by `koa-mount` is seen without its mount path.
 *
 * @throws TypeError naming the option that is wrong.
 *
 * @example
 * ```ts
 * const protect = createProtect(guard)
 * const router = protect(new Router())
 * router.get('/contacts/:id', show) // read:contacts on contacts/42
 * router.get('/health', protect.open('liveness probe'), health)
 * protect(app).use(router.routes())
 * ```
 */
export function createProtect(guard: Guard, options: ProtectOptions = {}): Protect {
  const http = createHttpGuard(guard, options, reader)
  const parts: RouterParts = {
    http,
    timeoutMs: guard.timeoutMs,
    checks: new OwnChecks<Context>(),
    pure: new WeakSet(),
    protectedOnes: new WeakSet(),
    bound: new WeakMap(),
    dispatchers: new WeakSet(),
  }
  const protect = (first?: unknown, second?: RouteOptions): unknown => {
    if (isApplication(first)) return protectApplication(parts, first)
    if (!isRouter(first)) return createOwn(parts, readOwnCheck(first as Action | undefined, second))
    protectRouter(parts, first)
    return first
  }
  const routes = (target: AnyApplication | AnyRouter) => {
    if (!parts.protectedOnes.has(target)) throw new TypeError('protect.routes and protect.verify: call protect(app) first')
    return isApplication(target) ? applicationRoutes(parts, target) : routesOf(parts, target)
  }
  return Object.assign(protect, {
    open: (reason: string, middleware?: Handler) => open(parts, reason, middleware),
    routes: (target: AnyApplication | AnyRouter) => http.rows(routes(target)),
    verify: (target: AnyApplication | AnyRouter) => http.verify(routes(target)),
    bind: <C extends object>(controller: C) => bindController(controller, parts.checks),
  }) as Protect
}

/** A check of ours as the application writes it into a registration, or over a method. */
function createOwn(parts: RouterParts, own: OwnCheck<Context>): RouteGuard {
  const check = createCheck(parts, { method: 'ALL', own })
  const overMethod = (method: (...args: never[]) => unknown) => {
    const guarded = function (this: unknown, ctx: Context, next: Next): unknown {
      return check(ctx, async () => method.call(this, ...([ctx, next] as never[])))
    }
    return parts.checks.mark(guarded, own) as (...args: never[]) => unknown
  }
  const guard = (first: unknown, second: unknown, third?: unknown): unknown => {
    const args: DecoratorArguments = [first, second, third]
    if (typeof second !== 'function' && isDecoratorCall(args)) return decorate(args, overMethod)
    return check(first as Context, second as Next)
  }
  parts.pure.add(guard)
  return parts.checks.mark(guard, own) as RouteGuard
}

function open(parts: RouterParts, reason: string, middleware: Handler | undefined): unknown {
  const own = readOpen(reason)
  if (middleware === undefined) return createOwn(parts, own)
  if (typeof middleware !== 'function') throw new TypeError('protect.open: the second argument must be one middleware')
  if (routerOf(middleware) !== undefined || parts.checks.of(middleware) !== undefined) {
    throw new TypeError('protect.open: a router cannot be opened as a whole; open its routes one by one')
  }
  return function opened(ctx: Context, next: Next): unknown {
    const state = stateOf(ctx)
    const before = state.open
    state.open = true
    return middleware(ctx, () => {
      state.open = before
      return next()
    })
  }
}
