import type { MiddlewareHandler } from 'hono'
import type { FailedAuthentications } from '../identity/failed-authentications.js'
import type { GatewayEnv } from '../services.js'
import type { AddressOf } from './address.js'
import { answerError } from './answer-error.js'
import { RequestError } from './errors.js'
import { checkRawRequest } from './raw-request.js'
import { traceIdOf } from './trace-id.js'

/**
 * What goes before every route: the trace ID, the caller's address, what no request may be, and, behind it, the limit of failed
 * authentications. The trace ID is on every answer, and whose it is; what is not under `/proxy/` is not to be stored, unless a route says so.
 */
export function base(addressOf: AddressOf, failures: FailedAuthentications): MiddlewareHandler<GatewayEnv> {
  return async function base(c, next) {
    const { incoming, outgoing } = c.env
    const { headers } = incoming
    const traceId = traceIdOf(headers)
    const ip = addressOf(incoming.socket.remoteAddress, headers['x-forwarded-for'] as string | undefined)
    c.set('traceId', traceId)
    c.set('ip', ip)
    outgoing.setHeader('x-meshguard-trace-id', traceId)
    outgoing.setHeader('x-meshguard-origin', 'gateway')
    if (!incoming.url?.startsWith('/proxy/')) {
      outgoing.setHeader('cache-control', 'no-store')
      outgoing.setHeader('x-content-type-options', 'nosniff')
    }
    checkRawRequest(incoming)
    await next()
    if (c.res.status !== 401 || c.res.headers.get('x-meshguard-origin') === 'upstream') return
    const seconds = await failures.count(ip, `${headers.authorization} ${headers['x-admin-token']}`)
    if (seconds === undefined) return
    // Hono copies the headers of the answer that is there to the one that replaces it, unless that is taken away first.
    c.res = undefined
    c.res = answerError(tooManyFailures(seconds), c)
  }
}

function tooManyFailures(seconds: number): RequestError {
  return new RequestError(429, 'rate_limited', 'Too many failed authentications', {
    code: 'too_many_requests',
    headers: { 'retry-after': String(seconds) },
  })
}
