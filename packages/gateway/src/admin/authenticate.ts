import { AuthenticationError } from '@meshguard/core'
import { bearerOf } from '@meshguard/core/http'
import type { Context, MiddlewareHandler } from 'hono'
import { RequestError } from '../http/errors.js'
import type { GatewayEnv, ServiceCaller, Services } from '../services.js'
import type { Scope } from '../store/store.js'

type Operator = NonNullable<GatewayEnv['Variables']['operator']>

/**
 * Lets operators pass: `X-Admin-Token`, `Bearer msat_…`, or a service token with the scope `admin`; for reading, one with another
 * scope that is enough.
 */
export function operatorsOnly(services: Services, enough?: Scope): MiddlewareHandler<GatewayEnv> {
  return async function authenticateOperator(c, next) {
    c.set('operator', await operatorOf(services, c.req.raw.headers, enough))
    await next()
  }
}

/**
 * The operator that calls. Where there are two credentials `X-Admin-Token` is the one that counts, so that what is recorded names
 * the one that was looked at.
 *
 * @throws AuthenticationError without a good credential; RequestError 403 for one that may not.
 */
export async function operatorOf({ identity }: Services, headers: Headers, enough?: Scope): Promise<Operator> {
  const header = headers.has('x-admin-token') ? 'x-admin-token' : 'authorization'
  const credential = headers.get(header) ?? ''
  const token = header === 'authorization' ? bearerOf(credential) : credential
  if (token === undefined) throw new AuthenticationError('No operator credential', { sentToken: credential !== '' })
  const isOperator = await identity.isOperator(new Headers([[header, credential]]))
  if (!token.startsWith(SERVICE)) {
    if (isOperator) return { name: 'admin token' }
    throw new AuthenticationError('Not an operator credential')
  }
  const service = await identity.serviceOf(token)
  if (!isOperator && !(enough !== undefined && service.scopes.includes(enough))) throw lacking(enough ?? 'admin')
  return { name: service.name, tokenId: service.id }
}

/**
 * The service that calls, if it has a scope.
 *
 * @throws AuthenticationError, RequestError 403.
 */
export async function serviceWith(services: Services, c: Context<GatewayEnv>, scope: Scope): Promise<ServiceCaller> {
  const token = bearerOf(c.req.header('authorization') ?? '')
  if (token === undefined) throw new AuthenticationError('No service token', { sentToken: false })
  if (!token.startsWith(SERVICE)) throw new AuthenticationError('Not a service token')
  const service = await services.identity.serviceOf(token)
  if (!service.scopes.includes(scope)) throw lacking(scope)
  return service
}

const SERVICE = 'msvc_'

/** RFC 6750, 3.1. */
function lacking(scope: Scope): RequestError {
  return new RequestError(403, 'Forbidden', `This needs a service token with the scope "${scope}"`, {
    headers: { 'www-authenticate': `Bearer realm="meshguard", error="insufficient_scope", scope="${scope}"` },
  })
}
