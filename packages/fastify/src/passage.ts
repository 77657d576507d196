import type { Agent, Decision } from '@meshguard/core'
import type { Identified, Outcome } from '@meshguard/core/http'
import type { FastifyReply, FastifyRequest } from 'fastify'
import type { BoundRoute } from './routes.js'

const LATEST = Symbol('meshguard.passage')

/** One request on its way through one `protect`. */
export class Passage {
  /** The route that the root hook found; `undefined` before it ran, and where no route was dispatched. */
  bound: BoundRoute | undefined = undefined
  /** The root hook has taken charge of the request. */
  entered = false
  /** A decision was recorded, or the route is open, or this is a CORS preflight: an answer may go out. */
  covered = false
  /** The answer is held back until something covers it. */
  held = false
  decision: Decision | undefined = undefined
  agent: Agent | undefined = undefined
  /** Who calls, until the first `preHandler` decides. */
  waiting: Identified<FastifyRequest> | undefined = undefined
  /** The parameters as they were routed, where validation may turn them into other types. */
  params: FastifyRequest['params'] | undefined = undefined
  #signal: AbortSignal | undefined

  constructor(
    readonly request: FastifyRequest,
    readonly reply: FastifyReply,
  ) {}

  /** Aborted when the client goes away. */
  get signal(): AbortSignal {
    this.#signal ??= closing(this.reply)
    return this.#signal
  }

  /** Nobody waits for an answer any more, or one was written. */
  get over(): boolean {
    const { sent, raw } = this.reply
    return sent || raw.destroyed || raw.headersSent
  }

  record(outcome: Outcome): void {
    this.covered = true
    this.decision = outcome.decision
  }
}

function closing({ raw }: FastifyReply): AbortSignal {
  const controller = new AbortController()
  if (raw.destroyed) controller.abort()
  else raw.once('close', () => controller.abort())
  return controller.signal
}

/** Remembers passages on their requests. One for each `createProtect`. */
export class Passages {
  readonly #key = Symbol('meshguard.passage')

  of(request: FastifyRequest): Passage | undefined {
    return (request as unknown as Record<symbol, Passage | undefined>)[this.#key]
  }

  /** The passage of a request, begun if there is none. */
  take(request: FastifyRequest, reply: FastifyReply): Passage {
    const slots = request as unknown as Record<symbol, Passage | undefined>
    const known = slots[this.#key]
    if (known !== undefined) return known
    const passage = new Passage(request, reply)
    slots[this.#key] = passage
    slots[LATEST] = passage
    return passage
  }
}

function latestOf(request: object): Passage | undefined {
  return (request as Record<symbol, Passage | undefined>)[LATEST]
}

/**
 * The decision about a request, for handlers, logs and error handlers.
 *
 * @returns `undefined` before the guard ran, and for a route that is open.
 *
 * @example
 * ```ts
 * app.get('/contacts/:id', async (request) => ({ traceId: decisionOf(request)?.traceId }))
 * ```
 */
export function decisionOf(request: object): Decision | undefined {
  return latestOf(request)?.decision
}

/**
 * The agent that makes a request, once its token was verified.
 *
 * @returns `undefined` before the guard ran, for a route that is open, and where the source itself verifies tokens.
 *
 * @example
 * ```ts
 * app.get('/me', async (request) => ({ id: agentOf(request)?.id }))
 * ```
 */
export function agentOf(request: object): Agent | undefined {
  return latestOf(request)?.agent
}
