import { STATUS_CODES } from 'node:http'
import { AuthenticationError, PolicyDeniedError, RateLimitError, UnavailableError, ValidationError } from '@meshguard/core'
import { prefersProblem, problemBody, refusalBody, refusalHeaders, refusalOf } from '@meshguard/core/http'
import type { Context } from 'hono'
import type { Logger } from 'pino'
import type { GatewayEnv } from '../services.js'
import { RequestError } from './errors.js'

/** What a refusal is made of, before it is known which form the caller prefers. */
interface Refusal {
  readonly status: number
  readonly headers?: Readonly<Record<string, string>> | undefined
  readonly body: Readonly<Record<string, unknown>> & { readonly error: string; readonly message: string }
}

/**
 * The answer to a request that threw. Whoever calls is told what it did wrong, and of everything else only that it failed: that
 * is logged, with the trace ID.
 */
export function errorHandler(log: Logger): (error: Error, c: Context<GatewayEnv>) => Response {
  return (error, c) => {
    if (error instanceof UnavailableError) log.error({ err: error, traceId: c.get('traceId') }, 'a request could not be served')
    else if (!isExpected(error)) log.error({ err: error, traceId: c.get('traceId') }, 'a request failed')
    return answerError(error, c)
  }
}

/** The answer that an error stands for: 500 for one that nobody meant to throw. RFC 9457 members where `Accept` prefers them. */
export function answerError(error: Error, c: Context<GatewayEnv>): Response {
  const traceId = c.get('traceId')
  const accept = c.req.header('accept')
  if (error instanceof PolicyDeniedError || error instanceof RateLimitError) {
    const { status, headers, body } = refusalOf({ ...error.decision, traceId }, true, 'full', accept)
    return new Response(body, { status, headers: { ...headers, 'x-meshguard-decision': 'deny' } })
  }
  return write(refusalFrom(error, c), traceId, accept)
}

function isExpected(error: Error): boolean {
  return [RequestError, AuthenticationError, ValidationError, PolicyDeniedError, RateLimitError].some(
    (one) => error instanceof one,
  )
}

function refusalFrom(error: Error, c: Context<GatewayEnv>): Refusal {
  const traceId = c.get('traceId')
  if (error instanceof RequestError) return fromRequestError(error)
  if (error instanceof AuthenticationError) {
    const sentToken = c.req.header('authorization') !== undefined || c.req.header('x-admin-token') !== undefined
    const refused = { action: '', code: 'unauthenticated', traceId } as const
    return { status: 401, headers: refusalHeaders(refused, sentToken), body: refusalBody(refused, 'full') }
  }
  if (error instanceof UnavailableError) {
    const refused = { action: '', code: 'unavailable', traceId } as const
    return { status: 503, headers: refusalHeaders(refused, false), body: refusalBody(refused, 'full') }
  }
  if (error instanceof ValidationError) {
    const issues = error.issues.map(({ path, ...issue }) => ({ path: path.join('.'), ...issue }))
    return { status: 400, body: { error: 'bad_request', message: error.message, issues } }
  }
  return { status: 500, body: { error: 'internal_error', message: 'The request could not be served' } }
}

function fromRequestError({ status, error, message, details: { issues, headers, code } }: RequestError): Refusal {
  const retryAfter = headers?.['retry-after']
  return {
    status,
    headers,
    body: {
      error,
      ...(code !== undefined && { code }),
      message,
      ...(retryAfter !== undefined && { retry_after: Number(retryAfter) }),
      ...(issues !== undefined && { issues }),
    },
  }
}

function write({ status, headers, body }: Refusal, traceId: string, accept: string | undefined): Response {
  const whole = { ...body, traceId }
  const problem = prefersProblem(accept)
  const written = problem ? { ...problemBody(whole, status), title: STATUS_CODES[status] } : whole
  return new Response(JSON.stringify(written), {
    status,
    headers: {
      'content-type': problem ? 'application/problem+json' : 'application/json; charset=utf-8',
      'cache-control': 'no-store',
      'x-meshguard-origin': 'gateway',
      ...headers,
    },
  })
}
