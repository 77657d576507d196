import type { Identified, Outcome, OwnCheck, OwnChecks, RouteCheck } from '@meshguard/core/http'
import { holdAnswer, isPromise } from '@meshguard/core/http'
import type { FastifyReply, FastifyRequest } from 'fastify'
import { refuse } from './answer.js'
import type { Passage, Passages } from './passage.js'
import type { FastifyGuard, Routes } from './routes.js'

/** How a hook says that the next one may run. It is never called for a request that is refused. */
export type Done = (error?: Error) => void

/** The hooks of one `protect`, in callback form: a decision that is at hand makes no promise. */
export class Hooks {
  readonly #http: FastifyGuard
  readonly #routes: Routes
  readonly #passages: Passages

  constructor(http: FastifyGuard, routes: Routes, passages: Passages) {
    this.#http = http
    this.#routes = routes
    this.#passages = passages
  }

  /** Runs behind the router and in front of the body parser: the check of the route that was dispatched. */
  readonly onRequest = (request: FastifyRequest, reply: FastifyReply, done: Done) => {
    const passage = this.#passages.take(request, reply)
    if (passage.entered) return done()
    passage.entered = true
    if (request.is404) {
      if (request.method !== 'OPTIONS') this.#hold(passage)
      return done()
    }
    const bound = this.#routes.of(request)
    passage.bound = bound
    if (bound.keepsParams) passage.params = { ...(request.params as object) }
    if (!bound.open) return this.#begin(bound.check, bound.deferred, passage, done)
    passage.covered = true
    done()
  }

  /** The decision of a route whose caller is known already. */
  readonly preHandler = (request: FastifyRequest, reply: FastifyReply, done: Done) => {
    const passage = this.#passages.take(request, reply)
    if (request.is404) {
      if (!passage.covered) this.#hold(passage)
      return done()
    }
    if (!passage.entered) return this.onRequest(request, reply, () => this.preHandler(request, reply, done))
    const { waiting } = passage
    if (waiting === undefined) return done()
    passage.waiting = undefined
    this.#decide(waiting, passage, done)
  }

  /** The last net, for what answers before the check: an earlier hook, or the error handler behind one. */
  readonly onSend = (request: FastifyRequest, reply: FastifyReply, _payload: unknown, done: Done) => {
    const passage = this.#passages.of(request)
    if (passage === undefined || !passage.covered) this.#net(request, reply)
    done()
  }

  /** The hook that one `protect('verb:object')` is. The root hook has done it already where it comes first on its route. */
  own(check: OwnCheck<FastifyRequest>, checks: OwnChecks<FastifyRequest>) {
    const known = new WeakMap<object, RouteCheck<FastifyRequest>>()
    const hook = (request: FastifyRequest, reply: FastifyReply, third: unknown, fourth?: unknown) => {
      const done = (fourth ?? third) as Done
      const passage = this.#passages.take(request, reply)
      if (passage.bound?.first === hook) return done()
      if (check.kind !== 'check') {
        if (request.is404) passage.covered = true
        return done()
      }
      const { config } = request.routeOptions
      const route = known.get(config) ?? this.#routes.extra(request, check)
      known.set(config, route)
      this.#begin(route, false, passage, done)
    }
    return checks.mark(hook, check)
  }

  #begin(route: RouteCheck<FastifyRequest>, deferred: boolean, passage: Passage, done: Done) {
    const identified = this.#http.identify(route, passage.request)
    if (!isPromise(identified)) return this.#identified(identified, deferred, passage, done)
    identified
      .then((known) => this.#identified(known, deferred, passage, done))
      .catch((error: unknown) => abandon(passage, error))
  }

  #identified(identified: Identified<FastifyRequest>, deferred: boolean, passage: Passage, done: Done) {
    passage.agent = identified.call.agent
    if (!deferred || identified.outcome !== undefined) return this.#decide(identified, passage, done)
    if (passage.over) return
    passage.waiting = identified
    this.#hold(passage)
    done()
  }

  #decide(identified: Identified<FastifyRequest>, passage: Passage, done: Done) {
    const outcome = this.#http.decide(identified)
    if (!isPromise(outcome)) return this.#conclude(outcome, identified, passage, done)
    outcome
      .then((settled) => this.#conclude(settled, identified, passage, done))
      .catch((error: unknown) => abandon(passage, error))
  }

  /** The one place where a request goes on or ends. */
  #conclude(outcome: Outcome, { call }: Identified<FastifyRequest>, passage: Passage, done: Done) {
    passage.record(outcome)
    if (passage.over) return
    if (!outcome.pass) return refuse(outcome, passage, this.#http.options.onDenied, call.guard.timeoutMs)
    const { reply } = passage
    if (outcome.decision !== undefined) this.#http.announce(outcome.decision, (name, value) => reply.header(name, value))
    done()
  }

  #net(request: FastifyRequest, reply: FastifyReply) {
    const passage = this.#passages.take(request, reply)
    const isOption = request.method === 'OPTIONS'
    if (!passage.entered && (isOption || (!request.is404 && this.#routes.of(request).open))) return
    if (isOption && request.is404) return
    this.#hold(passage)
  }

  /** Holds the answer back: below 400 it is replaced, unless something has covered it by then. */
  #hold(passage: Passage) {
    if (passage.held) return
    passage.held = true
    const { request } = passage
    holdAnswer(passage.reply.raw, (status) => {
      if (status >= 400 || passage.covered) return undefined
      const outcome = this.#http.unmapped(request, pathOf(request))
      passage.record(outcome)
      return outcome.pass ? undefined : outcome
    })
  }
}

/** Without its query, which may hold secrets. */
function pathOf({ raw }: FastifyRequest): string {
  const url = raw.url ?? ''
  const query = url.indexOf('?')
  return (query === -1 ? url : url.slice(0, query)).slice(0, 256)
}

/** What must not happen has happened, while nobody but the socket could be told. */
function abandon({ reply }: Passage, error: unknown): void {
  reply.log.error({ err: error }, 'MeshGuard: the request was given up')
  reply.raw.destroy()
}
