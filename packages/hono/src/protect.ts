import type { Action, Guard } from '@meshguard/core'
import {
  type DynamicRouteOptions as CoreDynamicRouteOptions,
  type ProtectOptions as CoreProtectOptions,
  type RouteOptions as CoreRouteOptions,
  createHttpGuard,
  OwnChecks,
  type RequestReader,
  type RouteCheck,
  type RouteRow,
  readOpen,
  readOwnCheck,
} from '@meshguard/core/http'
import type { Context, Hono, MiddlewareHandler } from 'hono'
import type { RouterRoute } from 'hono/types'
import type { HonoGuard, Step } from './answer.js'
import { Handlers } from './handlers.js'
import { noteOf } from './note.js'
import { Registrations } from './registration.js'

/** Options of {@link createProtect}. Callbacks are given Hono's context; `onDenied` returns the `Response` to send. */
export type ProtectOptions = CoreProtectOptions<Context, [Context]>

/** What a route says of itself: `protect('delete:contacts', { resource, context, mode })`. */
export type RouteOptions = CoreRouteOptions<Context>

/** `protect({ action: (c) => …, dynamic: true })`: the action is known only at the request. */
export type DynamicRouteOptions = CoreDynamicRouteOptions<Context>

/** Any Hono app, whatever its types. */
export type HonoApp = Pick<Hono, 'router' | 'routes'>

/** Puts a guard on the routes of Hono apps. Made by {@link createProtect}. */
export interface Protect {
  /**
   * Protects every route to come of an app, and of what its methods return. Twice is harmless.
   *
   * @returns The app itself, typed as it was: `protect(new Hono()).get(…)` still infers for RPC clients.
   * @throws TypeError when the app has routes already: they can no longer be guarded.
   */
  <A extends HonoApp>(app: A): A
  /**
   * The check of one route, said by hand. As the first handler of a registration it stands alone, anywhere else, and in
   * `use`, it is added to the derived one. It also guards a route of an app that is not protected.
   *
   * @throws TypeError for what is not an action, or an unknown option.
   */
  (action: Action, options?: RouteOptions): MiddlewareHandler
  /** The check of one route whose action is known only at the request, as in GraphQL or JSON-RPC. */
  (options: DynamicRouteOptions): MiddlewareHandler
  /** The derived check of one route. */
  (options?: RouteOptions): MiddlewareHandler
  /**
   * Declares a route public, with the reason: `app.get('/health', protect.open('liveness probe'), handler)`.
   *
   * @throws TypeError without a reason.
   */
  open(reason: string): MiddlewareHandler
  /**
   * Declares open what one middleware, or one application given to `mount`, answers:
   * `app.use(protect.open('assets', serveStatic({ root: 'public' })))`. Routes behind it keep their checks.
   */
  open<F extends (...args: never[]) => unknown>(reason: string, handler: F): F
  /** The route table of an app, sub-apps included. */
  routes(app: HonoApp): RouteRow[]
  /**
   * Repeats every check of the routes; for tests and before the app is served.
   *
   * @throws Error that lists every route that is not guarded, has no action, or names a parameter twice, and every key of
   * `actions` that matches no route.
   */
  verify(app: HonoApp): void
}

/**
 * Makes the function that protects Hono apps with a guard.
 *
 * @param guard The guard, or a function that finds it by the environment: it is called once for each `c.env` object, which is
 * what Workers need. On Node and Deno `c.env` belongs to one request: give the guard itself. Say the type of its parameter to
 * have that of the environment: `createProtect((c: Context<{ Bindings: Env }>) => guardFor(c.env))`.
 * @throws TypeError naming the option that is wrong.
 *
 * @example
 * ```ts
 * const protect = createProtect(guard)
 * const app = protect(new Hono())
 * app.get('/contacts/:id', (c) => c.json({ id: c.req.param('id') })) // read:contacts on contacts/42
 * app.get('/health', protect.open('liveness probe'), (c) => c.text('ok'))
 * ```
 */
export function createProtect(guard: Guard | ((c: Context) => Guard), options: ProtectOptions = {}): Protect {
  const guardOf = typeof guard === 'function' ? oncePerEnv(guard) : () => guard
  const core = createHttpGuard(typeof guard === 'function' ? guardOf : guard, options, READER)
  const http: HonoGuard = { ...core, timeoutMs: (c) => guardOf(c).timeoutMs }
  const checks = new OwnChecks<Context>()
  const opened = new WeakMap<object, Step>()
  const handlers = new Handlers(http, checks)
  const registrations = new Registrations(handlers, opened)
  const ownCheck = (...args: Parameters<typeof readOwnCheck<Context>>) => {
    const own = readOwnCheck<Context>(...args)
    return checks.mark(handlers.guard(passOn, { own }), own)
  }
  const open = (reason: string, handler?: Step) => {
    const own = readOpen(reason)
    const step = checks.mark(handlers.guard(handler ?? passOn, { own }), own)
    if (handler !== undefined) opened.set(step, handler)
    return step
  }
  const protect = (first?: unknown, second?: RouteOptions) => {
    if (!isHono(first)) return ownCheck(first as Parameters<typeof ownCheck>[0], second)
    registrations.protect(first)
    return first
  }
  const members: Pick<Protect, 'routes' | 'verify'> = {
    routes: (app) => http.rows(checksOf(handlers, routesOf(app))),
    verify: (app) => http.verify(checksOf(handlers, routesOf(app)), strangersOf(handlers, app.routes)),
  }
  return Object.assign(protect as Protect, members, { open: open as Protect['open'] })
}

const passOn: Step = (_c, next) => next()

const READER: RequestReader<Context> = {
  method: (c) => c.req.method,
  header: (c, name) => c.req.raw.headers.get(name) ?? undefined,
  params: (c) => noteOf(c).params(c),
  signal: (c) => c.req.raw.signal,
  waitUntil(c, promise) {
    executionContextOf(c)?.waitUntil(promise)
  },
}

/** Hono throws where the runtime has none, as on Node. */
function executionContextOf(c: Context): Context['executionCtx'] | undefined {
  try {
    return c.executionCtx
  } catch {
    return undefined
  }
}

function oncePerEnv(find: (c: Context) => Guard): (c: Context) => Guard {
  const byEnv = new WeakMap<object, Guard>()
  let withoutEnv: Guard | undefined
  return (c) => {
    const env: unknown = c.env
    if (typeof env !== 'object' || env === null) {
      withoutEnv ??= assertGuard(find(c))
      return withoutEnv
    }
    const known = byEnv.get(env)
    if (known !== undefined) return known
    const guard = assertGuard(find(c))
    byEnv.set(env, guard)
    return guard
  }
}

function assertGuard(guard: Guard): Guard {
  if (typeof guard?.decide === 'function') return guard
  throw new TypeError('createProtect: the function must return a guard made by createGuard, not a promise of one')
}

function isHono(value: unknown): value is Hono {
  if (typeof value !== 'object' || value === null || !('routes' in value) || !('router' in value)) return false
  return Array.isArray(value.routes) && typeof Reflect.get(value.router as object, 'add') === 'function'
}

function routesOf(app: HonoApp): readonly RouterRoute[] {
  if (isHono(app)) return app.routes
  throw new TypeError('protect.routes and protect.verify: expected a Hono app')
}

/** The checks of the registered routes; a handler that is mounted at several places is marked as shared. */
function checksOf(handlers: Handlers, routes: readonly RouterRoute[]): RouteCheck<Context>[] {
  const heads = routes.flatMap((route) => {
    const ours = handlers.of(route.handler)
    return ours?.entryOf === undefined || ours.follows ? [] : [{ ours, check: ours.entryOf(route).check }]
  })
  return heads.map(({ ours, check }) => {
    const shared = heads.filter((other) => other.ours === ours).length > 1
    return shared ? handlers.http.route({ ...check.facts, shared }) : check
  })
}

function strangersOf(handlers: Handlers, routes: readonly RouterRoute[]): string[] {
  return routes
    .filter(({ handler }) => handlers.of(handler) === undefined)
    .map(({ method, path }) => `${method} ${path} is not guarded: it was registered on an app that protect was not called on.`)
}
