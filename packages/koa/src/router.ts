import type { OwnChecks, RouteCheck } from '@meshguard/core/http'
import type { Context, Next } from 'koa'
import { type Answering, holdUndecided } from './answer.js'
import { type CheckFacts, createCheck, routeFacts, type Spelled } from './check.js'
import { canonicalPattern } from './pattern.js'
import { type Handler, stateOf } from './request.js'

/** What is used of @koa/router's `Layer`: a registered route, or middleware if it has no methods. */
export interface Layer {
  path: string | RegExp
  methods: readonly string[]
  stack: Handler[]
  opts?: { pathAsRegExp?: boolean } | undefined
}

/** What is used of @koa/router's `Router`, 13 to 15, whatever its type parameters are. */
export interface AnyRouter {
  readonly stack: readonly object[]
  routes(): unknown
  match(...args: never[]): unknown
  register(...args: never[]): unknown
}

/** Whether a value is a router. Told by its members, since several copies and versions of the package may be installed. */
export function isRouter(value: unknown): value is AnyRouter {
  if (typeof value !== 'object' || value === null) return false
  const { stack, match, register, routes } = value as Record<string, unknown>
  return Array.isArray(stack) && [match, register, routes].every((member) => typeof member === 'function')
}

/** The router behind the function that `routes()` answers. */
export function routerOf(handler: unknown): AnyRouter | undefined {
  const router: unknown = typeof handler === 'function' ? Reflect.get(handler, 'router') : undefined
  return isRouter(router) ? router : undefined
}

/** Everything that the routers under one `protect` share. */
export interface RouterParts extends Answering {
  readonly checks: OwnChecks<Context>
  /** Own checks that do nothing but check, and so can be replaced by one that knows its route. */
  readonly pure: WeakSet<object>
  readonly protectedOnes: WeakSet<object>
  /** The checks that stand first in a route, by what they know. */
  readonly bound: WeakMap<object, CheckFacts>
  /** The functions of `routes()` that were wrapped. */
  readonly dispatchers: WeakSet<object>
}

type Method = (...args: unknown[]) => unknown

/**
 * Guards every route of a router, there already or to come, in place. Each layer with methods gets a check as the first function
 * of its stack, parameter callbacks included; `match` is watched, so that no layer is dispatched without one, however it came
 * into the router.
 *
 * @throws TypeError for what cannot be guarded: a check without an action in `use`, `open` in `use`, equal parameter names.
 */
export function protectRouter(parts: RouterParts, router: AnyRouter): void {
  if (parts.protectedOnes.has(router)) return
  parts.protectedOnes.add(router)
  const swept =
    (original: Method) =>
    (...args: unknown[]) => {
      const result = original(...args)
      sweep(parts, router)
      return result
    }
  override(router, 'register', (register) => (...args) => {
    const layer = register(...args)
    if (layer !== router) guardLayer(parts, layer as Layer)
    if (layer !== router) assertLayer(parts, router, layer as Layer)
    return layer
  })
  override(router, 'use', (use) => {
    const sweeping = swept(use)
    return (...args) => {
      for (const arg of args) assertInUse(parts, router, arg)
      for (const nested of args.map(routerOf)) if (nested !== undefined) protectRouter(parts, nested)
      return sweeping(...args)
    }
  })
  for (const name of ['param', 'prefix']) override(router, name, swept)
  for (const name of ['routes', 'middleware']) override(router, name, (make) => () => guardDispatch(parts, make() as Handler))
  override(router, 'match', (match) => (...args) => {
    const matched = match(...args) as { pathAndMethod: readonly Layer[] }
    for (const layer of matched.pathAndMethod) guardLayer(parts, layer)
    return matched
  })
  sweep(parts, router)
}

/**
 * Replaces a method of one instance. It is not enumerable, since the router clones itself with `Object.assign`.
 *
 * @throws TypeError where there is no such method.
 */
export function override(target: object, name: string, make: (original: Method) => Method): void {
  const original: unknown = Reflect.get(target, name)
  if (typeof original !== 'function') throw new TypeError(`protect: there is no method ${name}()`)
  const value = make((...args) => original.apply(target, args))
  Object.defineProperty(target, name, { value, configurable: true, writable: true, enumerable: false })
}

/** All layers are guarded before the first complaint, so that what catches the error is left with nothing open. */
function sweep(parts: RouterParts, router: AnyRouter): void {
  const layers = router.stack as readonly Layer[]
  for (const layer of layers) guardLayer(parts, layer)
  for (const layer of layers) assertLayer(parts, router, layer)
}

/** Sees to it that a route begins with its check. */
function guardLayer(parts: RouterParts, layer: Layer): void {
  const { stack } = layer
  if (layer.methods.length === 0 || (stack[0] !== undefined && parts.bound.has(stack[0]))) return
  const there = stack.find((handler) => parts.bound.has(handler))
  const first = there ?? stack.find((handler) => !('param' in handler))
  const own = parts.checks.of(first)
  const check = there ?? bind(parts, layer, own === undefined ? undefined : first)
  const replaced = there ?? (own === undefined ? undefined : first)
  const at = replaced === undefined ? -1 : stack.indexOf(replaced)
  layer.stack = [check, ...stack.filter((_, i) => i !== at)]
  for (const nested of stack.map(routerOf)) if (nested !== undefined) protectRouter(parts, nested)
}

/** The router puts parameter callbacks behind what has a `param`; this is the name of none. */
const NOT_A_CALLBACK = { param: '(check)' }

/** The check of one route: derived, or its own, now knowing the method it is registered for. */
function bind(parts: RouterParts, layer: Layer, first: Handler | undefined): Handler {
  const own = parts.checks.of(first)
  const facts: CheckFacts = {
    method: methodsOf(layer).length === 1 ? (methodsOf(layer)[0] as string) : 'ALL',
    own,
    expression: layer.path instanceof RegExp || layer.opts?.pathAsRegExp === true,
  }
  const isMethod = first !== undefined && !parts.pure.has(first)
  const check: Handler = isMethod ? (ctx, next) => first(ctx, next) : createCheck(parts, facts)
  parts.bound.set(check, facts)
  return Object.assign(check, NOT_A_CALLBACK)
}

/** `router.all` registers some thirty-five methods, by the version of Node; a list with these was not written by hand. */
const OF_ALL = ['GET', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS', 'TRACE', 'PROPFIND']

/** The methods of a route as they were registered: `GET` without its `HEAD`, `ALL` for every method there is. */
function methodsOf({ methods }: Layer): readonly string[] {
  if (OF_ALL.every((method) => methods.includes(method))) return ['ALL']
  return [...new Set(methods)].filter((method) => method !== 'HEAD' || !methods.includes('GET'))
}

function assertLayer(parts: RouterParts, router: AnyRouter, layer: Layer): void {
  if (layer.methods.length === 0) for (const handler of layer.stack) assertInUse(parts, router, handler)
  const pattern = typeof layer.path === 'string' ? canonicalPattern(layer.path) : undefined
  if (pattern !== undefined) parts.http.assertParams(pattern)
}

function assertInUse(parts: RouterParts, router: AnyRouter, handler: unknown): void {
  assertDeclared(parts, handler)
  if (parts.checks.of(handler) !== undefined && Reflect.get(router, 'exclusive') === true) {
    throw new TypeError(
      'protect: an exclusive router does not run what is given to use(); put the check in front of each route',
    )
  }
}

/**
 * Refuses, in `use`, what only makes sense on a route.
 *
 * @throws TypeError
 */
export function assertDeclared({ checks }: Pick<RouterParts, 'checks'>, handler: unknown): void {
  const own = checks.of(handler)
  if (own?.kind === 'open') {
    throw new TypeError(
      'protect.open(reason) is for a route. To open one middleware, wrap it: use(protect.open("assets", serve("public")))',
    )
  }
  if (own?.kind === 'check' && own.action === undefined) {
    throw new TypeError('protect() derives its action from a route; in use() write protect("verb:object")')
  }
}

/** Wraps what `routes()` answers: remembers the method of the dispatch, and spans the last net over the router's own middleware. */
export function guardDispatch(parts: RouterParts, dispatch: Handler): Handler {
  if (parts.dispatchers.has(dispatch)) return dispatch
  const guarded = (ctx: Context, next: Next): unknown => {
    const state = stateOf(ctx)
    const { open, covered } = state
    state.method = ctx.method
    state.covered = true
    if (!state.held) holdUndecided(parts.http, ctx, state)
    return dispatch(ctx, () => {
      state.open = open
      state.covered = covered
      return next()
    })
  }
  parts.dispatchers.add(guarded)
  return Object.assign(guarded, { router: routerOf(dispatch) })
}

/** The routes of a router as they stand, those of routers inside included. */
export function routesOf(parts: RouterParts, router: AnyRouter, seen: Set<object> = new Set()): RouteCheck<Context>[] {
  if (seen.has(router)) return []
  seen.add(router)
  sweep(parts, router)
  const layers = (router.stack as readonly Layer[]).filter((layer) => layer.methods.length > 0 && !seen.has(layer))
  for (const layer of layers) seen.add(layer)
  const pathsOf = new Map<Handler, Set<Spelled>>()
  for (const { stack, path } of layers) {
    const check = stack[0] as Handler
    pathsOf.set(check, (pathsOf.get(check) ?? new Set()).add(path))
  }
  return layers.flatMap((layer) => {
    const check = layer.stack[0] as Handler
    const facts = parts.bound.get(check) as CheckFacts
    const shared = (pathsOf.get(check) as Set<Spelled>).size > 1
    const inside = layer.stack.map(routerOf).filter((nested) => nested !== undefined)
    return [
      ...methodsOf(layer).map((method) => parts.http.route(routeFacts(facts, method, layer.path, shared))),
      ...inside.flatMap((nested) => routesOf(parts, nested, seen)),
    ]
  })
}
