import { assertAction } from '../action.js'
import { assertFunction, assertOneOf, assertOptions } from '../options.js'
import type { Action, Mode } from '../types.js'

/** What a route says of itself: `protect('delete:contacts', { resource, context, mode })`. */
export interface RouteOptions<R> {
  /** Default: the pattern with its parameters put back. */
  readonly resource?: string | ((request: R) => string) | undefined
  /** Replaces the adapter's `context` for this route. */
  readonly context?: ((request: R) => Context | Promise<Context>) | undefined
  /** Of this route alone. */
  readonly mode?: Mode | undefined
}

/** `protect({ action, dynamic: true })`: the action is known only at the request, as in GraphQL or JSON-RPC. */
export interface DynamicRouteOptions<R> extends RouteOptions<R> {
  /** Validated at every request; what is not an action is answered 400. */
  readonly action: (request: R) => string | Promise<string>
  readonly dynamic: true
}

type Context = Readonly<Record<string, unknown>>

/** What stands in front of a route instead of the derived check. */
export type OwnCheck<R> = CheckOfRoute<R> | OpenRoute | PassingMiddleware

/** A check said by hand. Without an action, the derived one. */
export interface CheckOfRoute<R> extends RouteOptions<R> {
  readonly kind: 'check'
  readonly action?: string | ((request: R) => string | Promise<string>) | undefined
}

/** Deliberately public. */
export interface OpenRoute {
  readonly kind: 'open'
  readonly reason: string
}

/** The application's word that a path-scoped middleware only passes on. */
export interface PassingMiddleware {
  readonly kind: 'middleware'
}

const ROUTE_OPTIONS = ['resource', 'context', 'mode']

/**
 * Reads the arguments of `protect(…)` on a route. A route in bypass mode is said on the console.
 *
 * @throws TypeError for what is not an action, an unknown option, or an action function without `dynamic: true`.
 */
export function readOwnCheck<R>(
  first?: Action | DynamicRouteOptions<R> | RouteOptions<R>,
  second?: RouteOptions<R>,
): CheckOfRoute<R> {
  const dynamic = typeof first === 'object' ? (first as DynamicRouteOptions<R>) : undefined
  const options: RouteOptions<R> = dynamic ?? second ?? {}
  assertOptions('protect', options, dynamic === undefined ? ROUTE_OPTIONS : [...ROUTE_OPTIONS, 'action', 'dynamic'])
  const { resource, context, mode } = options
  if (typeof resource !== 'string') assertFunction('protect', 'resource', resource)
  assertFunction('protect', 'context', context)
  if (mode !== undefined) assertOneOf('protect', 'mode', mode, ['enforce', 'audit', 'bypass'])
  const action = readAction(first, dynamic)
  if (mode === 'bypass') {
    const route = typeof action === 'string' ? `The route of "${action}"` : 'A route'
    console.warn(`MeshGuard: ${route} is in bypass mode: no policy is evaluated for it. For development only.`)
  }
  return Object.freeze({ kind: 'check', action, resource, context, mode })
}

function readAction<R>(first: unknown, dynamic: DynamicRouteOptions<R> | undefined): CheckOfRoute<R>['action'] {
  if (dynamic === undefined) return first === undefined ? undefined : assertAction(first)
  if (dynamic.action === undefined && dynamic.dynamic === undefined) return undefined
  if (typeof dynamic.action !== 'function' || dynamic.dynamic !== true) {
    throw new TypeError(
      'protect: write protect({ action: (request) => …, dynamic: true }) for an action known only at the request',
    )
  }
  return dynamic.action
}

/**
 * Reads the argument of `protect.open(reason)`.
 *
 * @throws TypeError when the reason is missing: whoever reads the route table wants to know why.
 */
export function readOpen(reason: unknown): OpenRoute {
  if (typeof reason === 'string' && reason.trim() !== '') return Object.freeze({ kind: 'open', reason })
  throw new TypeError('protect.open: needs a reason, like protect.open("liveness probe")')
}

/** Remembers which handlers are checks of ours, and what they say. One for each `createProtect`. */
export class OwnChecks<R> {
  readonly #checks = new WeakMap<object, OwnCheck<R>>()

  /** Marks a handler; answers it. */
  mark<F extends object>(handler: F, check: OwnCheck<R>): F {
    this.#checks.set(handler, check)
    return handler
  }

  /** What a handler says, if it is one of ours. */
  of(handler: unknown): OwnCheck<R> | undefined {
    return typeof handler === 'function' ? this.#checks.get(handler) : undefined
  }
}
