import {
  dropLateAnswers,
  HEADERS_OF_A_BODY,
  type HttpGuard,
  holdAnswer,
  type Outcome,
  type OwnChecks,
  type Refusal,
  type RouteCheck,
} from '@meshguard/core/http'
import type { Request, Response } from 'express'
import type { Passage } from './passage.js'
import type { Done } from './shapes.js'

/** What the parts of one `createProtect` share. */
export interface Core {
  readonly http: HttpGuard<Request, readonly [Request, Response]>
  readonly checks: OwnChecks<Request>
  /** The handlers that `protect(…)` and `protect.open` made: where a route is known they are replaced by one that knows it. */
  readonly plain: WeakSet<object>
  /** How long `onDenied` may take, in ms. */
  readonly timeoutMs: number
}

/**
 * Checks a request and goes on if it may. What is refused is answered, and nothing else runs.
 *
 * @returns What `proceed` returns, or a promise of it where the check had to wait.
 */
export function enforce(
  core: Core,
  route: RouteCheck<Request>,
  passage: Passage,
  req: Request,
  proceed: () => unknown,
): unknown {
  const outcome = core.http.check(route, req)
  if (isPending(outcome)) return outcome.then((settled) => settle(core, settled, passage, req, proceed))
  return settle(core, outcome, passage, req, proceed)
}

function isPending(outcome: Outcome | Promise<Outcome>): outcome is Promise<Outcome> {
  return 'then' in outcome
}

function settle(core: Core, outcome: Outcome, passage: Passage, req: Request, proceed: () => unknown): unknown {
  passage.record(outcome)
  if (passage.over) return undefined
  const { res } = passage
  if (!outcome.pass) return refuse(core, outcome, req, passage)
  if (outcome.decision !== undefined) core.http.announce(outcome.decision, (name, value) => res.setHeader(name, value))
  return proceed()
}

function refuse(core: Core, refusal: Refusal, req: Request, passage: Passage): void {
  const { onDenied } = core.http.options
  const { res } = passage
  if (onDenied === undefined) {
    answer(res, refusal)
    return
  }
  const byDefault = () => {
    if (passage.over) return
    answer(res, refusal)
    dropLateAnswers(res)
  }
  const failed = (error: unknown) => {
    console.error(
      'MeshGuard: onDenied failed;',
      res.headersSent ? 'its answer was cut short.' : 'the default answer was sent.',
      error,
    )
    if (res.headersSent) res.end()
    else byDefault()
  }
  const timer = setTimeout(byDefault, core.timeoutMs).unref()
  res.once('close', () => clearTimeout(timer))
  try {
    Promise.resolve(onDenied(refusal.decision, req, res)).catch(failed)
  } catch (error) {
    failed(error)
  }
}

function answer(res: Response, { status, headers, body }: Refusal): void {
  for (const name of HEADERS_OF_A_BODY) res.removeHeader(name)
  res.statusCode = status
  if (res.statusMessage) res.statusMessage = ''
  for (const name of Object.keys(headers)) res.setHeader(name, headers[name] as string)
  res.setHeader('content-length', Buffer.byteLength(body))
  res.end(body)
}

/**
 * The last net of an app: holds its answers back until something was decided. An answer from 400 on is left alone, and so is
 * what answers OPTIONS as Express itself or CORS middleware does.
 *
 * @param done Where the app is inside of something else: what that answers later is not held back.
 * @returns What to call instead of `done`.
 */
export function watch(core: Core, passage: Passage, req: Request, done: Done | undefined): Done | undefined {
  passage.watched = true
  holdAnswer(passage.res, (status) => {
    if (passage.settled || !passage.watched || status >= 400) return undefined
    if (req.method === 'OPTIONS' && saysOnlyWhatIsAllowed(core, req, passage.res, status)) return undefined
    const outcome = core.http.unmapped(req, (req.originalUrl ?? req.url).split('?', 1)[0] as string)
    passage.record(outcome)
    return outcome.pass ? undefined : outcome
  })
  if (done === undefined) return undefined
  return (error) => {
    passage.watched = false
    done(error)
  }
}

/** An answer to OPTIONS as Express gives it, or CORS middleware: with `Allow`, without a body, or to a preflight. */
function saysOnlyWhatIsAllowed({ http }: Core, req: Request, res: Response, status: number): boolean {
  if (status === 204 || res.hasHeader('allow') || Number(res.getHeader('content-length') ?? -1) === 0) return true
  return http.isPreflight(req) && res.hasHeader('access-control-allow-methods')
}
