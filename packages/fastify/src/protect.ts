import type { Action } from '@meshguard/core'
import {
  type AdapterGuard,
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
import type { FastifyReply, FastifyRequest } from 'fastify'
import { type Done, Hooks } from './hooks.js'
import { Passages } from './passage.js'
import { WILDCARD } from './pattern.js'
import { type Printable, Routes, type SeenRoute } from './routes.js'

/** Options of {@link createProtect}. */
export type ProtectOptions = CoreProtectOptions<FastifyRequest, readonly [FastifyRequest, FastifyReply]>

/** What a route says of itself: `protect('delete:contacts', { resource, context, mode })`. */
export type RouteOptions = CoreRouteOptions<FastifyRequest>

/** `protect({ action: (request) => …, dynamic: true })`. The action may read the body: it is decided in the first `preHandler`. */
export type DynamicRouteOptions = CoreDynamicRouteOptions<FastifyRequest>

/** A Fastify instance of any server, logger and type provider. */
export interface ProtectableInstance extends Printable {
  addHook(...args: never[]): unknown
  after(...args: never[]): unknown
}

/** A hook, for a route's `onRequest` or wherever Fastify takes one that runs before the handler. */
export interface ProtectHook {
  (request: object, reply: object, done: Done): void
  (request: object, reply: object, payload: unknown, done: Done): void
}

/** Puts a guard on routes. Made by {@link createProtect}. */
export interface Protect {
  /**
   * Protects every route of an instance and of the plugins in it, there already or to come. Answers its argument.
   *
   * Hooks that were added before this call run before the check: they must not load data or answer.
   *
   * @throws TypeError once the instance is ready.
   */
  <T extends ProtectableInstance>(app: T): T
  /** A route's own check, as the first of its `onRequest`. Anywhere else it runs in addition to the derived one. */
  (action: Action, options?: RouteOptions): ProtectHook
  /** A route's own check whose action is known only at the request. */
  (options: DynamicRouteOptions): ProtectHook
  /** The derived check, with options of its own. */
  (options?: RouteOptions): ProtectHook
  /**
   * Makes a route public, as the first of its `onRequest`; or what a not-found handler answers, as its `preHandler`.
   *
   * @throws TypeError without a reason.
   */
  open(reason: string): ProtectHook
  /** The route table. Complete after `await app.ready()`. */
  routes(app: ProtectableInstance): RouteRow[]
  /**
   * Refuses routes that would be denied for want of an action, and overrides that match no route. Call it after
   * `await app.ready()`, in a test or before `listen`.
   *
   * @throws Error that lists everything that is wrong.
   */
  verify(app: ProtectableInstance): void
}

/**
 * Makes the `protect` of an application.
 *
 * @throws TypeError naming the option that is wrong.
 *
 * @example
 * ```ts
 * const protect = createProtect(guard)
 * const app = protect(Fastify())
 * app.get('/contacts/:id', handler)                                            // read:contacts
 * app.delete('/contacts/:id', { onRequest: protect('remove:contacts') }, handler)
 * app.get('/health', { onRequest: protect.open('liveness probe') }, handler)
 * ```
 */
export function createProtect(guard: AdapterGuard<FastifyRequest>, options: ProtectOptions = {}): Protect {
  const passages = new Passages()
  const http = createHttpGuard(guard, options, readerOf(passages))
  const checks = new OwnChecks<FastifyRequest>()
  const routes = new Routes(http, checks)
  const hooks = new Hooks(http, routes, passages)
  const instances = new WeakSet<object>()

  const protect = (first?: unknown, second?: RouteOptions): unknown => {
    if (isInstance(first)) return install(first, instances, routes, hooks)
    return hooks.own(readOwnCheck(first as Action | DynamicRouteOptions | RouteOptions, second), checks)
  }
  const known = (app: ProtectableInstance): ProtectableInstance => {
    if (isInstance(app) && isProtected(app, instances)) return app
    throw new TypeError('protect.routes and protect.verify: the instance is not protected; call protect(app) first')
  }
  return Object.assign(protect, {
    open: (reason: string) => hooks.own(readOpen(reason), checks),
    routes: (app: ProtectableInstance) => routes.rows(known(app)),
    verify: (app: ProtectableInstance) => routes.verify(known(app)),
  }) as Protect
}

interface Instance extends Printable {
  addHook(name: string, hook: unknown): unknown
  after(then: () => void): unknown
}

function isInstance(value: unknown): value is ProtectableInstance {
  return typeof value === 'object' && value !== null && 'addHook' in value && 'printRoutes' in value && 'after' in value
}

/** Whether an instance or one that it lives in is protected. Fastify makes instances with their parent as prototype. */
function isProtected(app: object, instances: WeakSet<object>): boolean {
  for (let at: object | null = app; at !== null; at = Object.getPrototypeOf(at)) if (instances.has(at)) return true
  return false
}

function install(app: ProtectableInstance, instances: WeakSet<object>, routes: Routes, hooks: Hooks): ProtectableInstance {
  if (isProtected(app, instances)) return app
  const instance = app as unknown as Instance
  const { addHook } = instance
  try {
    addHooks(instance, addHook, hooks)
  } catch (cause) {
    throw new TypeError('protect: the instance is ready and takes no more hooks; call protect(app) before ready or listen', {
      cause,
    })
  }
  instances.add(app)
  addHook.call(instance, 'onSend', hooks.onSend)
  addHook.call(instance, 'onRoute', function (this: object, route: SeenRoute) {
    routes.see(this, route)
  })
  goFirst(instance, addHook, hooks)
  return app
}

function addHooks(instance: object, addHook: Instance['addHook'], hooks: Hooks): void {
  addHook.call(instance, 'onRequest', hooks.onRequest)
  addHook.call(instance, 'preHandler', hooks.preHandler)
}

/**
 * Hooks take effect in the order in which plugins load: those of a plugin that was registered before `protect` and is not
 * loaded yet would come before ours. Until ours are in place, whoever adds a hook gets ours in front of it.
 */
function goFirst(instance: Instance, addHook: Instance['addHook'], hooks: Hooks): void {
  let inPlace = false
  const done = new WeakSet<object>([instance])
  instance.addHook = function (this: object, name, hook) {
    if (!inPlace && !done.has(this)) {
      done.add(this)
      addHooks(this, addHook, hooks)
    }
    return addHook.call(this, name, hook)
  }
  instance.after(() => {
    inPlace = true
  })
}

function readerOf(passages: Passages): RequestReader<FastifyRequest> {
  return {
    method: (request) => request.method,
    header: (request, name) => joinedHeader(request.raw, name),
    params: (request) => {
      const passage = passages.of(request)
      const params = (passage?.params ?? request.params) as Record<string, string>
      if (passage?.bound === undefined) return asText(params)
      return '*' in params ? withWildcard(params, passage.bound.check.facts.spelled) : params
    },
    ip: (request) => request.ip,
    signal: (request) => passages.of(request)?.signal,
  }
}

/** The `*` of a bare `*` begins with the slash of the path. */
function withWildcard(params: Record<string, string>, url: string | undefined): Record<string, string> {
  const rest = params['*'] as string
  return { ...params, [WILDCARD]: url === '*' ? rest.slice(1) : rest }
}

/** Where a check stands alone behind validation, numbers may have been made of the parameters. */
function asText(params: Record<string, string>): Record<string, string> {
  return withWildcard(Object.fromEntries(Object.entries(params).map(([name, value]) => [name, String(value)])), undefined)
}
