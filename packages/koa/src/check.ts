import type { OwnCheck, RouteCheck } from '@meshguard/core/http'
import type { Context } from 'koa'
import { type Answering, conclude } from './answer.js'
import { canonicalPattern } from './pattern.js'
import { type Handler, stateOf } from './request.js'

/** What the pattern of a route is, as the router spells it: its layer's `path`. */
export type Spelled = string | RegExp | undefined

/** What a check knows before the first request. */
export interface CheckFacts {
  /** The one method of its route, or `ALL`. */
  readonly method: string
  readonly own?: OwnCheck<Context> | undefined
  /** The path is used as an expression, however it is written: no action is derived from it. */
  readonly expression?: boolean | undefined
  /** It does not stand in a router, so that what an earlier router matched says nothing. */
  readonly outside?: boolean | undefined
}

/**
 * Makes a check that reads the pattern of the very layer that Koa's router is running, which that layer has just set: the full
 * pattern, prefixes and nesting included. One router under two mounts shares its checks, and has two patterns.
 */
export function createCheck(parts: Answering, facts: CheckFacts): Handler {
  if (facts.own?.kind === 'open') return createOpen()
  const routes = new Map<Spelled, RouteCheck<Context>>()
  const routeOf = (spelled: Spelled): RouteCheck<Context> => {
    const known = routes.get(spelled)
    if (known !== undefined) return known
    const route = parts.http.route(routeFacts(facts, facts.method, spelled))
    routes.set(spelled, route)
    return route
  }
  return function check(ctx, next) {
    const outcome = parts.http.check(routeOf(facts.outside === true ? undefined : ctx['_matchedRoute']), ctx)
    return 'pass' in outcome
      ? conclude(parts, outcome, ctx, next)
      : outcome.then((settled) => conclude(parts, settled, ctx, next))
  }
}

/** The facts of one method of a route. */
export function routeFacts(facts: CheckFacts, method: string, spelled: Spelled, shared = false) {
  const expression = facts.expression === true || typeof spelled !== 'string'
  return {
    method,
    pattern: expression ? undefined : canonicalPattern(spelled),
    spelled: spelled === undefined ? '(no route)' : String(spelled),
    own: facts.own,
    problem: expression ? EXPRESSION : undefined,
    shared,
  }
}

const EXPRESSION =
  'no action can be derived from an expression. Put protect(\'verb:object\') in front of it, or name it in "actions".'

function createOpen(): Handler {
  return function open(ctx, next) {
    stateOf(ctx).open = true
    return next?.()
  }
}
