import type { Agent, Decision } from '@meshguard/core'
import { type HttpGuard, joinedHeader, type RequestReader } from '@meshguard/core/http'
import type { Context, Next } from 'koa'
import { UNNAMED } from './pattern.js'

/** Whatever Koa runs: middleware, a handler of a route, a check. */
export type Handler = (ctx: Context, next: Next) => unknown

/** The framework-agnostic half, as Koa uses it. */
export type KoaGuard = HttpGuard<Context, readonly [Context]>

/** The part of a Koa context that tells it from its request and response, whatever its state and additions are. */
export interface AnyContext {
  readonly req: Context['req']
  readonly res: Context['res']
  readonly state: unknown
}

/** What is remembered of one request. */
export class RequestState {
  decision: Decision | undefined = undefined
  agent: Agent | undefined = undefined
  /** What answers now was declared open. */
  open = false
  /** What answers now is inside something that is protected. */
  covered = false
  /** The answer is held back until the last net has seen it. */
  held = false
  /** The method by which the last router dispatched. */
  method: string | undefined = undefined
  signal: AbortSignal | undefined = undefined
}

const STATE = Symbol('meshguard.request')

/** What is remembered of a request; made when it is first asked for. */
export function stateOf(ctx: AnyContext): RequestState {
  const holder = ctx as { [STATE]?: RequestState }
  holder[STATE] ??= new RequestState()
  return holder[STATE]
}

/**
 * The decision on a request: of the last check that ran, refusals included.
 *
 * @returns `undefined` before the guard ran, and for what is open.
 *
 * @example
 * ```ts
 * router.get('/contacts/:id', (ctx) => {
 *   ctx.body = { traceId: decisionOf(ctx)?.traceId }
 * })
 * ```
 */
export function decisionOf(ctx: AnyContext): Decision | undefined {
  return (ctx as { [STATE]?: RequestState })[STATE]?.decision
}

/**
 * The agent that calls.
 *
 * @returns `undefined` before the guard ran, and where the source itself verified the token.
 *
 * @example
 * ```ts
 * router.get('/me', (ctx) => {
 *   ctx.body = { id: agentOf(ctx)?.id }
 * })
 * ```
 */
export function agentOf(ctx: AnyContext): Agent | undefined {
  return (ctx as { [STATE]?: RequestState })[STATE]?.agent
}

/** Not a method: no action is derived for it. */
const REWRITTEN = '(rewritten)'

/** Reads what core needs from a Koa context. */
export const reader: RequestReader<Context> = {
  method(ctx) {
    const { method } = ctx
    const dispatched = stateOf(ctx).method
    return dispatched === undefined || dispatched === method ? method : REWRITTEN
  },
  header: (ctx, name) => joinedHeader(ctx.req, name),
  /** What the handler is given, a value that an earlier layer left under the same name included. */
  params(ctx) {
    const params: Record<string, string> = ctx['params'] ?? {}
    return params['0'] === undefined ? params : { ...params, [UNNAMED]: params['0'] }
  },
  ip(ctx) {
    const { ip } = ctx
    return ip === '' ? undefined : ip
  },
  signal(ctx) {
    const state = stateOf(ctx)
    state.signal ??= abortedOnClose(ctx.res)
    return state.signal
  },
}

function abortedOnClose(res: Context['res']): AbortSignal {
  const controller = new AbortController()
  if (res.destroyed) controller.abort()
  else res.once('close', () => controller.abort())
  return controller.signal
}
