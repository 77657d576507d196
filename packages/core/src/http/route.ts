import { compileResource, deriveAction, MAPPED_METHODS, type Params, paramNames } from '../action.js'
import type { RequestInfo } from '../types.js'
import type { CoreOptions } from './options.js'
import type { CheckOfRoute, OwnCheck } from './own-check.js'

/** What an adapter knows of a route when it is registered or first dispatched. */
export interface RouteFacts<R> {
  /** `GET`, …, or `ALL` for a handler of all methods. */
  readonly method: string
  /** The full pattern in canonical form, mounts included: text, `:name`, `*name`, optional `:name?`. `undefined`: has none. */
  readonly pattern: string | undefined
  /** The full pattern as the framework spells it. Default: `pattern`. */
  readonly spelled?: string | undefined
  /** The route's own `protect(…)`. */
  readonly own?: OwnCheck<R> | undefined
  /** Why the route cannot be derived, for the message of `protect.verify`. */
  readonly problem?: string | undefined
  /** The same route is reached through several mounts, each with its own action. */
  readonly shared?: boolean | undefined
}

/** A row of the route table that `protect.routes(app)` answers. */
export interface RouteRow {
  readonly method: string
  /** As the framework spells it. */
  readonly pattern: string
  /** Absent for a route that is open or unmapped, and for one whose action is known only at the request. */
  readonly action?: string | undefined
  /** The reason of `protect.open(reason)`. */
  readonly open?: string | undefined
  /** The action was said by hand. */
  readonly declared?: boolean | undefined
  /** The action is known only at the request. */
  readonly dynamic?: boolean | undefined
  /** The same route is reached through several mounts. */
  readonly shared?: boolean | undefined
}

/** What is known of one method of a route: nothing of this is computed per request. */
export interface RouteMethod<R> {
  /** `undefined` is unmapped. */
  readonly action: CheckOfRoute<R>['action']
  readonly declared: boolean
  readonly info: RequestInfo
}

/** A route, ready to be checked. */
export interface RouteCheck<R> {
  readonly facts: RouteFacts<R>
  readonly own: CheckOfRoute<R> | undefined
  /** By the method of the request; for a route of one method, its own (HEAD is its GET route). */
  readonly methods: ReadonlyMap<string, RouteMethod<R>>
  /** For methods that have no entry: unmapped. */
  readonly otherwise: RouteMethod<R>
  /** `undefined` where the pattern cannot be read: then there is no resource. */
  readonly resource: ((params: Params) => string | undefined) | undefined
}

/** Reads a route once. */
export function compileRoute<R>(facts: RouteFacts<R>, options: CoreOptions<R>): RouteCheck<R> {
  const own = facts.own?.kind === 'check' ? facts.own : undefined
  const route = facts.spelled ?? facts.pattern ?? '?'
  const methodOf = (method: string): RouteMethod<R> => ({ ...actionOf(facts, own, method, options), info: { method, route } })
  const methods = new Map<string, RouteMethod<R>>()
  for (const method of facts.method === 'ALL' ? [...MAPPED_METHODS, 'OPTIONS'] : [facts.method]) {
    methods.set(method, methodOf(method === 'HEAD' ? 'GET' : method))
  }
  return {
    facts,
    own,
    methods,
    otherwise: methodOf('ALL'),
    resource: facts.pattern === undefined ? undefined : compileResource(facts.pattern, options.prefix),
  }
}

/** What is known for the method of a request. A route of one method answers with that, whatever the request says. */
export function methodOfRoute<R>(route: RouteCheck<R>, method: string): RouteMethod<R> {
  if (route.facts.method !== 'ALL') return route.methods.get(route.facts.method) as RouteMethod<R>
  return route.methods.get(method) ?? route.otherwise
}

function actionOf<R>(
  facts: RouteFacts<R>,
  own: CheckOfRoute<R> | undefined,
  method: string,
  { actions, prefix }: CoreOptions<R>,
): Pick<RouteMethod<R>, 'action' | 'declared'> {
  if (own?.action !== undefined) return { action: own.action, declared: true }
  const spelled = facts.spelled ?? facts.pattern
  const declared = actions.get(`${method} ${spelled}`) ?? actions.get(`ALL ${spelled}`)
  if (declared !== undefined) return { action: declared, declared: true }
  const action = facts.pattern === undefined ? undefined : deriveAction({ method, pattern: facts.pattern, prefix })
  return { action, declared: false }
}

/** The rows of one route in the table: a route for all methods has one for each method that has an action. */
export function rowsOf<R>(route: RouteCheck<R>): RouteRow[] {
  const { facts } = route
  const pattern = facts.spelled ?? facts.pattern ?? '?'
  const base = { pattern, ...(facts.shared === true ? { shared: true } : {}) }
  if (facts.own?.kind === 'open') return [{ method: facts.method, ...base, open: facts.own.reason }]
  if (facts.method !== 'ALL' || route.own?.action !== undefined)
    return [rowOf(facts.method, base, methodOfRoute(route, facts.method))]
  return [...route.methods]
    .filter(([method, { action }]) => method !== 'HEAD' && action !== undefined)
    .map(([method, of]) => rowOf(method, base, of))
}

function rowOf<R>(method: string, base: { pattern: string }, { action, declared }: RouteMethod<R>): RouteRow {
  return {
    method,
    ...base,
    ...(typeof action === 'string' ? { action } : {}),
    ...(declared ? { declared } : {}),
    ...(typeof action === 'function' ? { dynamic: true } : {}),
  }
}

/**
 * What is wrong with a route, in words that say what to do; empty when nothing is. A handler for OPTIONS alone needs no action
 * to answer preflights.
 */
export function problemsOf<R>(route: RouteCheck<R>): string[] {
  const { facts } = route
  if (facts.own?.kind === 'open') return []
  const problems: string[] = []
  const name = `${facts.method} ${facts.spelled ?? facts.pattern ?? '?'}`
  const methods = facts.method === 'ALL' ? [...route.methods.values()] : [methodOfRoute(route, facts.method)]
  if (facts.problem !== undefined && !methods.some((method) => method.declared)) problems.push(`${name}: ${facts.problem}`)
  else if (facts.method !== 'OPTIONS' && methods.every((method) => method.action === undefined)) {
    problems.push(`${name} has no action and is denied. Declare one: protect('verb:object') in front of it, or in "actions".`)
  }
  const names = facts.pattern === undefined ? [] : (paramNames(facts.pattern) ?? [])
  const twice = names.find((param, i) => names.indexOf(param) !== i)
  if (twice !== undefined)
    problems.push(`${name} names the parameter ":${twice}" twice, so that one hides the other. Rename one.`)
  return problems
}
