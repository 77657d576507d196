import type { Agent, Decision, Params } from '@meshguard/core'
import type { Context } from 'hono'
import type { RouterRoute } from 'hono/types'

/** What is remembered of one request. */
export interface Note {
  decision: Decision | undefined
  agent: Agent | undefined
  /** Something that was declared open has answered, or is about to. */
  open: boolean
  /** The registration whose check passed last: its other handlers may run. */
  passed: object | undefined
  /** The route at which it passed. Hono's trie router dispatches it twice for a path that is its pattern, like `/x/:id`. */
  route: RouterRoute | undefined
  /** The decision whose headers are on the answer. */
  announced: Decision | undefined
  /** How to read the parameters of the route that is being checked. */
  params: (c: Context) => Params
}

const NOTE = Symbol.for('meshguard.hono')
type Noted = { [NOTE]?: Note | undefined }

const noParams = (): Params => ({})

/** The note of a request; made when it is first asked for. */
export function noteOf(c: Context): Note {
  const noted = c as Noted
  noted[NOTE] ??= {
    decision: undefined,
    agent: undefined,
    open: false,
    passed: undefined,
    route: undefined,
    announced: undefined,
    params: noParams,
  }
  return noted[NOTE]
}

/** Whether somebody decided on this request, or declared open what answers it. */
export function isCovered(c: Context): boolean {
  const note = (c as Noted)[NOTE]
  return note !== undefined && (note.decision !== undefined || note.open)
}

/**
 * The decision on a request; where several were made, the last one. `undefined` before a guard ran, and on open routes.
 *
 * @example
 * ```ts
 * app.get('/contacts/:id', (c) => c.json({ traceId: decisionOf(c)?.traceId }))
 * ```
 */
export function decisionOf(c: Context): Decision | undefined {
  return (c as Noted)[NOTE]?.decision
}

/**
 * The agent that calls. `undefined` before a guard ran, on open routes, and where the source alone knows the agent.
 *
 * @example
 * ```ts
 * app.get('/me', (c) => c.json({ id: agentOf(c)?.id }))
 * ```
 */
export function agentOf(c: Context): Agent | undefined {
  return (c as Noted)[NOTE]?.agent
}
