import type { Code, Decision, Limit } from './types.js'

/**
 * How much a refused agent is told: `minimal` nothing, `reason` the action and the policy author's own words, `full` the
 * policy and rule as well.
 */
export type Disclose = 'minimal' | 'reason' | 'full'

/** The parts of a decision that a refusal is written from. */
export type Refused = Pick<
  Decision,
  'action' | 'code' | 'policy' | 'rule' | 'reason' | 'resource' | 'retryAfter' | 'limit' | 'traceId'
>

/** The body of a refusal; the members of RFC 9457 are added by {@link problemBody}. */
export interface RefusalBody {
  error: string
  message: string
  traceId: string
  [member: string]: unknown
}

const STATUS: Readonly<Record<Code, number>> = {
  allowed: 200,
  bypassed: 200,
  denied: 403,
  no_match: 403,
  unmapped: 403,
  rate_limited: 429,
  unauthenticated: 401,
  unavailable: 503,
  invalid_action: 400,
}

/** Seconds after which to come back when nobody knows better. */
const RETRY_UNAVAILABLE_S = 1

const INVALID_TOKEN = ', error="invalid_token"'

/** The HTTP status that a code is answered with. */
export function statusOf(code: Code): number {
  return STATUS[code]
}

/**
 * The headers of a refusal: `Cache-Control: no-store` always, `X-MeshGuard-Trace-ID` where there is one, `WWW-Authenticate` (RFC 6750) with
 * a 401, `Retry-After` (RFC 9110) with a 429 or 503, `RateLimit` and `RateLimit-Policy` (draft-ietf-httpapi-ratelimit-headers)
 * with a 429 whose limit is known.
 *
 * @param sentToken Whether the caller sent a credential at all: only then is the error named.
 */
export function refusalHeaders(refused: Refused, sentToken: boolean): Record<string, string> {
  const { code, traceId, limit, retryAfter = RETRY_UNAVAILABLE_S } = refused
  const headers: Record<string, string> = { 'cache-control': 'no-store' }
  if (traceId !== '') headers['x-meshguard-trace-id'] = traceId
  if (code === 'unauthenticated') headers['www-authenticate'] = `Bearer realm="meshguard"${sentToken ? INVALID_TOKEN : ''}`
  if (code === 'rate_limited' || code === 'unavailable') headers['retry-after'] = String(retryAfter)
  if (limit !== undefined) {
    headers['ratelimit'] = `"default";r=0;t=${retryAfter}`
    headers['ratelimit-policy'] = `"default";q=${limit.requests};w=${Math.round(limit.windowMs / 1000)}`
  }
  return headers
}

/**
 * The body of a refusal. Under `minimal` and `reason` a rule's deny and no rule at all look the same, unless the policy's
 * author wrote a `reason`.
 */
export function refusalBody(refused: Refused, disclose: Disclose): RefusalBody {
  const { code, traceId } = refused
  switch (code) {
    case 'unauthenticated':
      return { error: 'unauthorized', message: 'Invalid or expired token', traceId }
    case 'rate_limited':
      return rateLimitedBody(refused, disclose)
    case 'unavailable':
      return { error: 'unavailable', message: 'No decision could be made', traceId }
    case 'invalid_action':
      return { error: 'bad_request', message: refused.reason ?? 'The request is malformed', traceId }
    default:
      return { error: 'Forbidden', ...deniedBody(refused, disclose), traceId }
  }
}

function deniedBody(refused: Refused, disclose: Disclose): { message: string; [member: string]: unknown } {
  const { action } = refused
  if (disclose === 'full') return { message: fullReason(refused), action, ...decidedBy(refused) }
  return disclose === 'minimal' || action === '' ? { message: 'Access denied' } : { message: toldReason(refused), action }
}

/** The same body with the members of RFC 9457 (`application/problem+json`). */
export function problemBody(body: RefusalBody, status: number): RefusalBody {
  return { type: 'about:blank', title: TITLE[status] ?? 'Error', status, detail: body.message, ...body }
}

const TITLE: Readonly<Record<number, string>> = {
  400: 'Bad Request',
  401: 'Unauthorized',
  403: 'Forbidden',
  429: 'Too Many Requests',
  503: 'Service Unavailable',
}

function rateLimitedBody(refused: Refused, disclose: Disclose): RefusalBody {
  return {
    error: 'rate_limited',
    code: refused.code,
    message: 'Rate limit exceeded',
    retry_after: refused.retryAfter ?? RETRY_UNAVAILABLE_S,
    ...(refused.limit === undefined || disclose === 'minimal' ? {} : { limit: limitInWords(refused.limit) }),
    ...(disclose === 'full' ? decidedBy(refused) : {}),
    traceId: refused.traceId,
  }
}

/** The units that limits are written in, the longest first, and the ms of each. */
export const UNITS: ReadonlyArray<readonly [number, string]> = [
  [86_400_000, 'day'],
  [3_600_000, 'hour'],
  [60_000, 'minute'],
  [1000, 'second'],
]

/** A limit as people say it: `30 requests per minute`, `5 requests per 10 seconds`. */
function limitInWords({ requests, windowMs }: Limit): string {
  const [unitMs, unit] = UNITS.find(([ms]) => windowMs % ms === 0) ?? [1, 'millisecond']
  const units = windowMs / unitMs
  return `${requests} request${requests === 1 ? '' : 's'} per ${units === 1 ? unit : `${units} ${unit}s`}`
}

/** The limit that {@link limitInWords} put in words; `undefined` for other words. */
export function limitOf(words: string): Limit | undefined {
  const [, requests, units = '1', named] = /^(\d{1,9}) requests? per (?:(\d{1,9}) )?([a-z]+?)s?$/.exec(words) ?? []
  const unitMs = UNITS.find(([, unit]) => unit === named)?.[0]
  return unitMs === undefined ? undefined : { requests: Number(requests), windowMs: Number(units) * unitMs }
}

/** Only an author's own words may leave: what the evaluator writes by itself would tell a deny from no rule. */
function toldReason({ action, code, rule, reason }: Refused): string {
  return code === 'denied' && rule !== undefined && reason !== undefined ? reason : `Action ${action} is not allowed`
}

function fullReason({ policy, rule, reason, action }: Refused): string {
  if (reason !== undefined) return reason
  return policy === undefined ? `Action ${action} is not allowed` : `Denied by rule: ${rule}`
}

function decidedBy({ code, policy, rule, resource }: Refused): Record<string, unknown> {
  return { code, policy, rule, resource }
}
