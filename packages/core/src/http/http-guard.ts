import { paramNames } from '../action.js'
import { printable } from '../audit-line.js'
import { messageOf, UnavailableError } from '../errors.js'
import { createGuard, type Guard } from '../guard.js'
import { isPromise } from '../settle.js'
import type { Decision } from '../types.js'
import { Call, decideCall, identify, isPreflight, readAddress } from './check.js'
import { type ProtectOptions, type ReadOptions, readProtectOptions } from './options.js'
import { exposedHeaders, type Outcome, type RequestReader } from './outcome.js'
import { compileRoute, methodOfRoute, problemsOf, type RouteCheck, type RouteFacts, type RouteRow, rowsOf } from './route.js'

/** A guard, or how to find the one of a request (on Workers, by its `env`). */
export type AdapterGuard<R> = Guard | ((request: R) => Guard)

/** A caller that is known, or was refused; what is left is to decide. */
export interface Identified<R> {
  readonly call: Call<R>
  /** Set when it was refused, or needs no decision. */
  readonly outcome: Outcome | undefined
}

/** Checks requests for one adapter. Made by {@link createHttpGuard}. */
export interface HttpGuard<R, D extends readonly unknown[]> {
  readonly options: ReadOptions<R, D>
  /** Reads a route once, when it is registered or first dispatched. Never throws: what cannot be read is unmapped. */
  route(facts: RouteFacts<R>): RouteCheck<R>
  /**
   * Refuses a pattern in which two levels name one parameter, as the inner would hide the outer.
   *
   * @throws TypeError
   */
  assertParams(pattern: string): void
  /** The whole check. Never throws, never rejects; synchronous where everything it needs is at hand. */
  check(route: RouteCheck<R>, request: R): Outcome | Promise<Outcome>
  /** The first half of a check: who calls. */
  identify(route: RouteCheck<R>, request: R): Identified<R> | Promise<Identified<R>>
  /** The second half: may they. */
  decide(identified: Identified<R>): Outcome | Promise<Outcome>
  /** The last net: an answer below 400 for which no decision was recorded. Reported once a path on stderr. */
  unmapped(request: R, path: string): Outcome
  /** Whether an OPTIONS request is a CORS preflight as a browser sends it. */
  isPreflight(request: R): boolean
  /** Gives the headers that an answer to a verified agent carries. */
  announce(decision: Decision, set: (name: string, value: string) => void): void
  /** The route table. */
  rows(routes: readonly RouteCheck<R>[]): RouteRow[]
  /**
   * Refuses routes that would be denied for want of an action, and overrides that match no route.
   *
   * @throws Error that lists everything that is wrong.
   */
  verify(routes: readonly RouteCheck<R>[], problems?: readonly string[]): void
}

/** Reported paths that are remembered, so that a flood of paths fills no memory. */
const MAX_REPORTED = 1000
const MAX_SHOWN = 1024

/**
 * Makes the framework-agnostic half of an adapter.
 *
 * @throws TypeError naming the option that is wrong.
 */
export function createHttpGuard<R, D extends readonly unknown[]>(
  guard: AdapterGuard<R>,
  given: ProtectOptions<R, D>,
  reader: RequestReader<R>,
): HttpGuard<R, D> {
  if (typeof guard !== 'function' && typeof guard?.decide !== 'function') {
    throw new TypeError('createProtect: the first argument must be a guard made by createGuard')
  }
  const options = readProtectOptions(given)
  const guardOf = typeof guard === 'function' ? finder(guard) : () => guard
  const reported = new Set<string>()
  const route = (facts: RouteFacts<R>) => compileRoute(facts, options)
  const identified = (call: Call<R>): Identified<R> => {
    call.pause()
    return { call, outcome: call.outcome }
  }
  const net = route({ method: 'ALL', pattern: undefined, spelled: '(no route)' })

  return {
    options,
    route,
    assertParams,
    check(of, request) {
      const call = identify(guardOf(request), of, request, reader, options)
      return isPromise(call) ? call.then(decideCall) : decideCall(call)
    },
    identify(of, request) {
      const call = identify(guardOf(request), of, request, reader, options)
      return isPromise(call) ? call.then(identified) : identified(call)
    },
    decide({ call }) {
      call.resume()
      return decideCall(call)
    },
    unmapped(request, path) {
      const call = new Call(guardOf(request), net, methodOfRoute(net, ''), request, reader, options)
      void readAddress(call)
      const outcome =
        call.outcome ?? call.refuse('unmapped', 'The answer came from something that is not a route and was not declared open')
      if (!reported.has(path) && reported.size < MAX_REPORTED) {
        reported.add(path)
        console.error(
          `MeshGuard: ${reader.method(request)} ${printable(JSON.stringify(path.slice(0, MAX_SHOWN)))} was answered without a decision. ` +
            `${outcome.pass ? 'It was let through' : 'It was replaced by 403'}. Put protect('verb:object') or protect.open(reason) in front of what answers it.`,
        )
      }
      return outcome
    },
    isPreflight: (request) => isPreflight(request, reader),
    announce(decision, set) {
      set('x-meshguard-trace-id', decision.traceId)
      if (!options.exposeDecision) return
      for (const [name, value] of Object.entries(exposedHeaders(decision))) set(name, value)
    },
    rows: (routes) => routes.flatMap(rowsOf),
    verify(routes, problems = []) {
      const known = new Set(routes.flatMap(({ facts }) => keysOf(facts)))
      const stray = [...options.actions.keys()]
        .filter((key) => !known.has(key))
        .map((key) => `The key ${JSON.stringify(key)} in "actions" matches no route.`)
      const all = [...problems, ...routes.flatMap(problemsOf), ...stray]
      if (all.length > 0) throw new Error(`${all.length} route(s) need attention:\n${all.map((one) => `- ${one}`).join('\n')}`)
    },
  }
}

/** Stands in for a guard that cannot be found: whoever has a credential is told that no decision could be made. */
const NO_GUARD = createGuard({
  source: {
    name: 'none',
    authenticates: true,
    decide: () => {
      throw new UnavailableError('There is no guard for this request')
    },
  },
})

/** Finds the guard of a request, whatever the application's function does; reported once on stderr. */
function finder<R>(find: (request: R) => Guard): (request: R) => Guard {
  let reported = false
  return (request) => {
    let why = 'the function given to createProtect answered none'
    try {
      const guard = find(request)
      if (typeof guard?.decide === 'function' && typeof guard.refuse === 'function') return guard
    } catch (error) {
      why = messageOf(error, why)
    }
    if (!reported) console.error(`MeshGuard: no guard for a request: ${printable(why)}`)
    reported = true
    return NO_GUARD
  }
}

function assertParams(pattern: string): void {
  const names = paramNames(pattern) ?? []
  const twice = names.find((name, i) => names.indexOf(name) !== i)
  if (twice === undefined) return
  throw new TypeError(`${pattern}: two levels name the parameter ":${twice}", so that one hides the other. Rename one of them.`)
}

/** The keys by which `actions` may name a route. */
function keysOf({ method, pattern, spelled }: RouteFacts<never>): string[] {
  const path = spelled ?? pattern
  return method === 'ALL' ? METHODS.map((one) => `${one} ${path}`) : [`${method} ${path}`, `ALL ${path}`]
}

const METHODS = ['ALL', 'GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS']
