import type { Agent, Decision } from '@meshguard/core'
import type { Outcome } from '@meshguard/core/http'
import type { Request, Response } from 'express'
import type { Place } from './mount.js'

const PASSAGE = Symbol('meshguard.passage')

/** One request on its way. */
export class Passage {
  decision: Decision | undefined = undefined
  agent: Agent | undefined = undefined
  /** A decision was recorded, or the route is open, or the request is a CORS preflight: its answer may go out. */
  settled = false
  /** The request is inside a protected app, whose answers are held back until something was decided. */
  watched = false
  /** The router that is running. */
  place: Place | undefined = undefined
  /** The router that the next layer enters. */
  entering: Place | undefined = undefined
  #signal: AbortSignal | undefined

  constructor(readonly res: Response) {}

  /** Nobody waits for an answer any more, or one was written. */
  get over(): boolean {
    const { res } = this
    return res.headersSent || res.writableEnded || res.destroyed
  }

  /** Aborted when the client goes away. Made only where something is waited for. */
  get signal(): AbortSignal {
    this.#signal ??= closing(this.res)
    return this.#signal
  }

  record(outcome: Outcome): void {
    this.settled = true
    if (outcome.decision === undefined) return
    this.decision = outcome.decision
    this.agent = outcome.agent
  }
}

function closing(res: Response): AbortSignal {
  const controller = new AbortController()
  if (res.destroyed) controller.abort()
  else {
    res.once('close', () => {
      if (!res.writableFinished) controller.abort()
    })
  }
  return controller.signal
}

/** The passage of a request, if a guard has seen it. */
export function passageOf(req: object): Passage | undefined {
  return (req as Record<symbol, Passage | undefined>)[PASSAGE]
}

/** The passage of a request, begun where it has none. */
export function passageOn(req: Request, res: Response): Passage {
  const slots = req as unknown as Record<symbol, Passage | undefined>
  const known = slots[PASSAGE]
  if (known !== undefined) return known
  const passage = new Passage(res)
  slots[PASSAGE] = passage
  return passage
}

/**
 * The decision about a request, for handlers, logs and error handlers. Where several checks ran, the last one's.
 *
 * @returns `undefined` before the guard ran, and for a route that is open.
 *
 * @example
 * ```ts
 * app.get('/contacts/:id', (req, res) => {
 *   res.json({ traceId: decisionOf(req)?.traceId })
 * })
 * ```
 */
export function decisionOf(req: object): Decision | undefined {
  return passageOf(req)?.decision
}

/**
 * The agent that makes a request, once it is verified.
 *
 * @returns `undefined` before the guard ran, for a route that is open, and where the source itself verifies tokens.
 *
 * @example
 * ```ts
 * app.get('/me', (req, res) => {
 *   res.json({ id: agentOf(req)?.id })
 * })
 * ```
 */
export function agentOf(req: object): Agent | undefined {
  return passageOf(req)?.agent
}
