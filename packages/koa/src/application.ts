import type { RouteCheck } from '@meshguard/core/http'
import type { Context, Next } from 'koa'
import { holdUndecided } from './answer.js'
import { createCheck } from './check.js'
import { type Handler, stateOf } from './request.js'
import { assertDeclared, guardDispatch, override, protectRouter, type RouterParts, routerOf, routesOf } from './router.js'

/** What is used of a Koa application, whatever its type parameters are. */
export interface AnyApplication {
  readonly middleware: readonly unknown[]
  callback(): unknown
  use(...args: never[]): unknown
}

/** Whether a value is a Koa application. */
export function isApplication(value: unknown): value is AnyApplication {
  if (typeof value !== 'object' || value === null) return false
  const { middleware, callback, use } = value as Record<string, unknown>
  return Array.isArray(middleware) && typeof callback === 'function' && typeof use === 'function'
}

/**
 * Protects an application in place: every router given to `use`, before or after, and the last net around everything. Call it
 * before `callback()` or `listen()`, at which Koa takes its middleware for good: there, what was put into the list past `use` is
 * guarded too.
 */
export function protectApplication<T extends AnyApplication>(parts: RouterParts, app: T): T {
  if (parts.protectedOnes.has(app)) return app
  const net = lastNet(parts)
  const guardAll = () => {
    const middleware = app.middleware as Handler[]
    const guarded = middleware.filter((handler) => handler !== net).map((handler) => guardMiddleware(parts, handler))
    middleware.splice(0, middleware.length, net, ...guarded)
  }
  guardAll()
  parts.protectedOnes.add(app)
  override(app, 'use', (use) => (handler) => use(guardMiddleware(parts, handler as Handler)))
  override(app, 'callback', (callback) => () => {
    guardAll()
    return callback()
  })
  return app
}

/** A router is protected in turn; a check of ours is told that it stands outside of any; the rest is left alone. */
function guardMiddleware(parts: RouterParts, handler: Handler): Handler {
  const router = routerOf(handler)
  if (router !== undefined) {
    protectRouter(parts, router)
    return guardDispatch(parts, handler)
  }
  const own = parts.checks.of(handler)
  if (own === undefined || !parts.pure.has(handler)) return handler
  assertDeclared(parts, handler)
  return createCheck(parts, { method: 'ALL', own, outside: true })
}

function lastNet(parts: RouterParts): Handler {
  return function meshguard(ctx: Context, next: Next) {
    const state = stateOf(ctx)
    state.covered = true
    if (!state.held) holdUndecided(parts.http, ctx, state)
    return next()
  }
}

/** The routes of every router that an application was given. */
export function applicationRoutes(parts: RouterParts, app: AnyApplication): RouteCheck<Context>[] {
  const seen = new Set<object>()
  return app.middleware.map(routerOf).flatMap((router) => (router === undefined ? [] : routesOf(parts, router, seen)))
}
