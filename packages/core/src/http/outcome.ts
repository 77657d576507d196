import type { Params } from '../action.js'
import { type Disclose, problemBody, refusalBody, refusalHeaders, statusOf } from '../refusal.js'
import type { Agent, Decision } from '../types.js'

/** How core reads what it needs from a framework's request. Given once, by the adapter. */
export interface RequestReader<R> {
  method(request: R): string
  /** By lower-case name. A header that was sent twice answers both values, joined with `, `. */
  header(request: R, name: string): string | undefined
  /** The parameters of the dispatched route, mounts included, decoded once. */
  params(request: R): Params
  /** The framework's own notion of the client's address. */
  ip?(request: R): string | undefined
  /** Aborted when the client goes away. Read only when something has to be waited for. */
  signal?(request: R): AbortSignal | undefined
  waitUntil?(request: R, promise: Promise<unknown>): void
}

/** What becomes of a request at a route. */
export type Outcome = Pass | Refusal

/** The handler may run. */
export interface Pass {
  readonly pass: true
  /** Absent for a CORS preflight. */
  readonly decision?: Decision | undefined
  /** Who was let through. */
  readonly agent?: Agent | undefined
}

/** The handler must not run; this is the answer. */
export interface Refusal {
  readonly pass: false
  readonly decision: Decision
  /** Who was refused, if that is known. */
  readonly agent?: Agent | undefined
  readonly status: number
  /** Lower-case names, `content-type` included. */
  readonly headers: Readonly<Record<string, string>>
  /** JSON. */
  readonly body: string
}

/** A CORS preflight to a handler for OPTIONS alone. */
export const PREFLIGHT: Pass = Object.freeze({ pass: true })

/** Writes the answer to a denial; `application/problem+json` (RFC 9457) when `Accept` prefers it. */
export function refusalOf(decision: Decision, sentToken: boolean, disclose: Disclose, accept: string | undefined): Refusal {
  const status = statusOf(decision.code)
  const body = refusalBody(decision, disclose)
  const problem = prefersProblem(accept)
  return {
    pass: false,
    decision,
    status,
    headers: {
      'content-type': problem ? 'application/problem+json' : 'application/json; charset=utf-8',
      ...refusalHeaders(decision, sentToken),
    },
    body: JSON.stringify(problem ? problemBody(body, status) : body),
  }
}

/** What `exposeDecision` adds to an answer, allowed or refused. */
export function exposedHeaders({ decision, agentId }: Decision): Record<string, string> {
  const exposed = { 'x-meshguard-decision': decision }
  return agentId === undefined ? exposed : { ...exposed, 'x-meshguard-agent-id': agentId }
}

/** Whether an `Accept` header prefers `application/problem+json` (RFC 9457) to `application/json`. */
export function prefersProblem(accept: string | undefined): boolean {
  const ranges = accept?.slice(0, MAX_ACCEPT).toLowerCase()
  if (ranges === undefined || !ranges.includes('problem+json')) return false
  const problem = qualityOf(ranges, 'application/problem+json') ?? 0
  const json = qualityOf(ranges, 'application/json') ?? qualityOf(ranges, 'application/*') ?? qualityOf(ranges, '*/*') ?? 0
  return problem > 0 && problem >= json
}

const MAX_ACCEPT = 1024

/** The weight of a media range in an `Accept` header (RFC 9110, 12.5.1); `undefined` when it is not listed. */
function qualityOf(ranges: string, type: string): number | undefined {
  for (const range of ranges.split(',')) {
    const [name, ...parameters] = range.split(';').map((part) => part.trim())
    if (name !== type) continue
    const weight = parameters.find((parameter) => parameter.startsWith('q='))
    const quality = weight === undefined ? 1 : Number(weight.slice(2))
    return Number.isNaN(quality) ? 0 : quality
  }
  return undefined
}
