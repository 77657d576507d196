import type { Decision } from '@meshguard/core'
import { type HttpGuard, isPromise, type Refusal } from '@meshguard/core/http'
import type { Context, Next } from 'hono'
import { isCovered, type Note, noteOf } from './note.js'

/** Core's half of the adapter, for Hono. */
export interface HonoGuard extends HttpGuard<Context, [Context]> {
  /** The time-out of the guard that a request is checked by. */
  timeoutMs(c: Context): number
}

/** A handler or middleware of Hono. */
export type Step = (c: Context, next: Next) => unknown

/** By its shape: on Node, answers of `fetch` are of another class than those made by the application. */
function isResponse(value: unknown): value is Response {
  return (
    typeof value === 'object' && value !== null && 'headers' in value && 'status' in value && typeof value.status === 'number'
  )
}

/** Whether `onDenied` gave an answer that a server can send: no plain object, no `Response.error()`, none that was sent before. */
function isSendable(value: unknown): value is Response {
  return (
    isResponse(value) &&
    typeof value.headers?.get === 'function' &&
    value.status >= 200 &&
    value.status <= 599 &&
    value.bodyUsed === false
  )
}

/** The answer to a denial: that of `onDenied` if it gives one, else core's. */
export function denied(http: HonoGuard, c: Context, refusal: Refusal): Response | Promise<Response> {
  const { onDenied } = http.options
  const standard = () => new Response(refusal.body, { status: refusal.status, headers: { ...refusal.headers } })
  const chosen = (own: unknown) => (isSendable(own) ? own : standard())
  const failed = (error: unknown) => {
    console.error('MeshGuard: onDenied failed, the default answer is sent:', error)
    return standard()
  }
  if (onDenied === undefined) return standard()
  try {
    const answer = onDenied(refusal.decision, c)
    if (isPromise(answer)) return within(http.timeoutMs(c), answer).then(chosen, failed)
    return chosen(answer)
  } catch (error) {
    return failed(error)
  }
}

/** What a promise comes to, or `undefined` when the time is up. What comes later is ignored. */
function within(ms: number, promise: Promise<unknown>): Promise<unknown> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => resolve(undefined), ms)
    promise.then(resolve, reject).finally(() => clearTimeout(timer))
  })
}

/** Runs what was let through and puts the headers of the decision on its answer, that of an error included. */
export function announced(http: HonoGuard, c: Context, note: Note, handler: Step, next: Next): unknown {
  const onAnswer = (answer: unknown) => announceOn(http, c, note, answer)
  const onError = (error: unknown): never => {
    announceOn(http, c, note, undefined)
    throw error
  }
  let answer: unknown
  try {
    answer = handler(c, next)
  } catch (error) {
    return onError(error)
  }
  return isPromise(answer) ? answer.then(onAnswer, onError) : onAnswer(answer)
}

/** Once for each decision: where several handlers were let through by one, the innermost has done it. */
function announceOn(http: HonoGuard, c: Context, note: Note, answer: unknown): unknown {
  const { decision } = note
  if (decision === undefined || note.announced === decision) return answer
  note.announced = decision
  const given = isResponse(answer)
  if (!given || c.finalized) http.announce(decision, (name, value) => c.header(name, value))
  return given ? withHeaders(http, decision, answer) : answer
}

/** The answer with the headers of the decision: a copy where its own cannot be changed, as with an answer of `fetch`. */
function withHeaders(http: HonoGuard, decision: Decision, answer: Response): Response {
  try {
    http.announce(decision, (name, value) => answer.headers.set(name, value))
    return answer
  } catch (error) {
    if (!(error instanceof TypeError)) throw error
    if (answer.status < 200) return answer
    const copy = new Response(answer.body, answer)
    http.announce(decision, (name, value) => copy.headers.set(name, value))
    return copy
  }
}

/** Whether something is, or may become, an answer below 400. */
function isBelow400(answer: unknown): boolean {
  return answer !== undefined && answer !== null && !(isResponse(answer) && answer.status >= 400)
}

/**
 * The last net: what has been answered below 400 although nobody decided on the request is replaced. Answers what Hono is to
 * be given instead.
 *
 * @param answer What a middleware, error handler or not-found handler came to.
 */
export function held(http: HonoGuard, c: Context, answer: unknown): unknown {
  if (isCovered(c) || c.req.method === 'OPTIONS') return answer
  if (!isBelow400(answer) && !(c.finalized && isBelow400(c.res))) return answer
  const outcome = http.unmapped(c, c.req.path)
  noteOf(c).decision = outcome.decision
  if (outcome.pass) return answer
  const replacement = denied(http, c, outcome)
  return isPromise(replacement) ? replacement.then((own) => replaced(c, own)) : replaced(c, replacement)
}

function replaced(c: Context, replacement: Response): Response {
  if (!c.finalized) return replacement
  c.res = undefined
  c.res = replacement
  return c.res
}

/**
 * What {@link held} does for a middleware that throws its answer, as an `HTTPException` can. Hono sends what `getResponse()`
 * answers, whatever status the error itself names.
 */
export function heldError(http: HonoGuard, c: Context, error: unknown): unknown {
  if (isCovered(c) || typeof error !== 'object' || error === null || !('getResponse' in error)) throw error
  if (typeof error.getResponse !== 'function') throw error
  const answer: unknown = error.getResponse()
  if (!isBelow400(answer)) throw error
  return held(http, c, answer)
}
