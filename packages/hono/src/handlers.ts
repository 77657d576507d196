import { isPromise, type Outcome, type OwnCheck, type OwnChecks, type RouteCheck } from '@meshguard/core/http'
import type { Context, Next } from 'hono'
import type { RouterRoute } from 'hono/types'
import { COMPOSED_HANDLER } from 'hono/utils/constants'
import { announced, denied, type HonoGuard, held, heldError, type Step } from './answer.js'
import { noteOf } from './note.js'
import { NOWHERE, type RoutePattern, readPattern } from './pattern.js'

/** One entry of Hono's router that has a check in front of it. */
export interface Entry {
  readonly check: RouteCheck<Context>
  readonly open: boolean
  /** It is matched in one way: for one path, its parameters have one value. */
  readonly once: boolean
  readonly params: RoutePattern['params']
}

/** What stands in front of a handler. */
interface Check {
  readonly own: OwnCheck<Context> | undefined
  /** The same for all handlers of one registration. Absent for a check that is asked in addition: nothing follows it. */
  readonly registration?: object | undefined
  /** Its check runs only when that of its registration has not. */
  readonly follows?: boolean | undefined
}

/** A handler of ours. */
export interface Ours {
  /** Absent where nothing is checked, and only the answer is held back. */
  readonly entryOf?: ((route: RouterRoute | undefined) => Entry) | undefined
  readonly follows: boolean
}

/** Makes the handlers that Hono is given in place of the application's, and knows them again. */
export class Handlers {
  readonly #ours = new WeakMap<object, Ours>()

  constructor(
    readonly http: HonoGuard,
    readonly checks: OwnChecks<Context>,
  ) {}

  /** What is known of a handler, if it is one of ours, whatever was wrapped around it. */
  of(handler: unknown): Ours | undefined {
    const ours = unwrapped(handler).find((inner) => this.#ours.has(inner))
    return ours === undefined ? undefined : this.#ours.get(ours)
  }

  /** The route's own check that a handler is, unless it has been put in its place already. */
  ownOf(handler: unknown): OwnCheck<Context> | undefined {
    const known = unwrapped(handler).find((inner) => this.#ours.has(inner))
    return this.checks.of(known)
  }

  /** Whether a handler has been put in its place. */
  isPlaced(handler: unknown): boolean {
    return this.of(handler) !== undefined && this.ownOf(handler) === undefined
  }

  /** Puts a check in front of a handler. */
  guard(handler: Step, { own, registration, follows = false }: Check): Step {
    const { http } = this
    const entryOf = entriesOf(http, own, (route) => unwrapped(route.handler).includes(guarded))
    const guarded: Step = (c, next) => {
      const note = noteOf(c)
      const route = c.req.matchedRoutes[c.req.routeIndex]
      const entry = entryOf(route)
      const passed = registration !== undefined && note.passed === registration
      if (passed && (follows || (entry.once && note.route === route))) return announced(http, c, note, handler, next)
      if (entry.open) {
        note.open = true
        note.passed = registration ?? note.passed
        return handler(c, next)
      }
      note.params = entry.params
      const outcome = http.check(entry.check, c)
      if (!isPromise(outcome)) return settle(c, next, outcome, route)
      const { finalized } = c
      return outcome.then((late) =>
        isTooLate(c, late, finalized) ? new Response(null, { status: 499 }) : settle(c, next, late, route),
      )
    }
    const settle = (c: Context, next: Next, outcome: Outcome, route: RouterRoute | undefined): unknown => {
      const note = noteOf(c)
      note.agent = outcome.agent
      note.decision = outcome.decision
      if (!outcome.pass) return denied(http, c, outcome)
      note.passed = registration ?? note.passed
      note.route = route
      return announced(http, c, note, handler, next)
    }
    return this.#remember(guarded, handler, { entryOf, follows })
  }

  /** Holds back what a middleware answers below 400 to a request that nobody decided on. */
  net(middleware: Step): Step {
    const { http } = this
    const netted: Step = (c, next) => {
      try {
        const answer = middleware(c, next)
        if (!isPromise(answer)) return held(http, c, answer)
        return answer.then(
          (settled) => held(http, c, settled),
          (error) => heldError(http, c, error),
        )
      } catch (error) {
        return heldError(http, c, error)
      }
    }
    return this.#remember(netted, middleware, { follows: false })
  }

  /** A middleware that was declared open: what it answers itself is let go, what comes from behind it is held back. */
  open(middleware: Step, own: OwnCheck<Context>): Step {
    const { http } = this
    const covered: Step = async (c, next) => {
      let below: unknown
      const answer = await middleware(c, async () => {
        await next()
        await held(http, c, undefined)
        below = c.finalized ? c.res : undefined
      })
      if ((c.finalized ? c.res : answer) !== below) noteOf(c).open = true
      return answer
    }
    return this.#remember(covered, middleware, { entryOf: entriesOf(http, own, () => true), follows: false })
  }

  #remember(step: Step, handler: Step, ours: Ours): Step {
    Object.defineProperty(step, COMPOSED_HANDLER, { value: handler })
    this.#ours.set(step, ours)
    return step
  }
}

/** Whether the client left, or something else answered it, while the outcome was waited for: there is nobody to run a handler for. */
function isTooLate(c: Context, outcome: Outcome, wasFinalized: boolean): boolean {
  return outcome.pass && (c.req.raw.signal?.aborted === true || (c.finalized && !wasFinalized))
}

/** A handler, and what Hono or an adapter has wrapped in it, the outermost first. */
export function unwrapped(handler: unknown): object[] {
  return typeof handler === 'function' ? [handler, ...unwrapped(Reflect.get(handler, COMPOSED_HANDLER))] : []
}

/**
 * The entries of one handler, one for each place it was mounted at, read when first asked for.
 *
 * @param isDispatched Whether it is this handler that Hono runs for the entry. Where it is not, because other code calls it,
 * there is no pattern to derive an action from.
 */
function entriesOf(
  http: HonoGuard,
  own: OwnCheck<Context> | undefined,
  isDispatched: (route: RouterRoute) => boolean,
): (route: RouterRoute | undefined) => Entry {
  const declared = own?.kind === 'check' && own.action !== undefined
  const read = (route: RouterRoute | undefined): Entry => {
    const known = route !== undefined && (declared || isDispatched(route)) ? route : undefined
    const { canonical, params, problem } = known === undefined ? NOWHERE : readPattern(known.path)
    const facts = { method: known?.method ?? 'ALL', pattern: canonical, spelled: known?.path, own, problem }
    return { check: http.route(facts), open: own?.kind === 'open', once: known?.path.endsWith('?') === false, params }
  }
  const entries = new WeakMap<RouterRoute, Entry>()
  const nowhere = read(undefined)
  let last: RouterRoute | undefined
  let entry = nowhere
  return (route) => {
    if (route === last) return entry
    entry = route === undefined ? nowhere : (entries.get(route) ?? read(route))
    last = route
    if (route !== undefined) entries.set(route, entry)
    return entry
  }
}
