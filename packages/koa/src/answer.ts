import { dropLateAnswers, HEADERS_OF_A_BODY, holdAnswer, type Outcome, type Refusal } from '@meshguard/core/http'
import type { Context, Next } from 'koa'
import { type KoaGuard, type RequestState, stateOf } from './request.js'

/** What writes the outcome of a check onto a context. */
export interface Answering {
  readonly http: KoaGuard
  /** How long an `onDenied` may take, in milliseconds. */
  readonly timeoutMs: number
}

/** Remembers the outcome of a check and acts on it: goes on, or answers. Never both. */
export function conclude(parts: Answering, outcome: Outcome, ctx: Context, next: Next | undefined): unknown {
  const state = stateOf(ctx)
  if (outcome.decision === undefined) state.open = true
  else {
    state.decision = outcome.decision
    state.agent = outcome.agent
  }
  if (ctx.res.headersSent || ctx.res.destroyed) {
    ctx.respond = false
    return undefined
  }
  if (!outcome.pass) return refuse(parts, outcome, ctx)
  if (outcome.decision !== undefined) parts.http.announce(outcome.decision, (name, value) => ctx.res.setHeader(name, value))
  return next?.()
}

function refuse(parts: Answering, refusal: Refusal, ctx: Context): unknown {
  const { onDenied } = parts.http.options
  if (onDenied === undefined) return answer(ctx, refusal)
  return answerWith(parts, onDenied, refusal, ctx)
}

function answer(ctx: Context, { status, headers, body }: Refusal): void {
  ctx.respond = true
  ctx.remove('content-type')
  for (const name of HEADERS_OF_A_BODY) ctx.remove(name)
  ctx.status = status
  ctx.body = body
  ctx.set({ ...headers })
}

type OnDenied = NonNullable<KoaGuard['options']['onDenied']>

/** Lets the application write the answer. It starts from the status and headers of the refusal, without a body. */
async function answerWith({ timeoutMs }: Answering, onDenied: OnDenied, refusal: Refusal, ctx: Context): Promise<void> {
  answer(ctx, refusal)
  ctx.remove('content-type')
  ctx.body = undefined
  ctx.status = refusal.status
  const untouched = () => !ctx.headerSent && ctx.body === undefined && ctx.status === refusal.status
  try {
    await within(timeoutMs, onDenied(refusal.decision, ctx))
    if (ctx.respond === false && !ctx.headerSent) await within(timeoutMs, closed(ctx))
    if (!untouched() && (ctx.respond !== false || ctx.headerSent)) return
  } catch (error) {
    ctx.app.emit('error', error instanceof Error ? error : new Error('onDenied failed', { cause: error }), ctx)
    if (ctx.headerSent) ctx.res.end()
  }
  if (ctx.headerSent) return
  if (ctx.respond === false) answerForGood(ctx, refusal)
  else answer(ctx, refusal)
}

/** Answers for an `onDenied` that took the raw response and did not use it in time. What it still writes is dropped. */
function answerForGood(ctx: Context, refusal: Refusal): void {
  const { res } = ctx
  holdAnswer(res, () => refusal)
  res.end()
  dropLateAnswers(res)
}

/** Settles with the value, or after so many milliseconds. */
async function within(ms: number, value: unknown): Promise<void> {
  let timer: ReturnType<typeof setTimeout> | undefined
  const late = new Promise<void>((resolve) => {
    timer = setTimeout(resolve, ms)
  })
  try {
    await Promise.race([value, late])
  } finally {
    clearTimeout(timer)
  }
}

function closed(ctx: Context): Promise<void> {
  return new Promise((resolve) => ctx.res.once('close', resolve))
}

/**
 * The last net: an answer below 400 for which no decision and no `open` was recorded is replaced by 403. A net, not the guard:
 * side effects have happened.
 */
export function holdUndecided(http: KoaGuard, ctx: Context, state: RequestState): void {
  state.held = true
  holdAnswer(ctx.res, (status) => {
    if (status >= 400) restoreTrace(http, ctx, state)
    if (status >= 400 || state.decision !== undefined || state.open || !state.covered) return undefined
    if (ctx.method === 'OPTIONS' && saysOnlyWhatIsAllowed(http, ctx, status)) return undefined
    const outcome = http.unmapped(ctx, ctx.path)
    state.decision = outcome.decision
    return outcome.pass ? undefined : outcome
  })
}

/** Koa drops all headers when a handler throws; the trace ID is what such an answer is looked up by. */
function restoreTrace(http: KoaGuard, { res }: Context, { decision }: RequestState): void {
  if (decision === undefined || res.hasHeader('x-meshguard-trace-id')) return
  http.announce(decision, (name, value) => res.setHeader(name, value))
}

/** An answer to OPTIONS as `allowedMethods()` and CORS middleware give it: without a body, or to a preflight. */
function saysOnlyWhatIsAllowed(http: KoaGuard, ctx: Context, status: number): boolean {
  if (status === 204 || Number(ctx.res.getHeader('content-length') ?? -1) === 0) return true
  return http.isPreflight(ctx) && ctx.res.hasHeader('access-control-allow-methods')
}
