import type { Context, Hono } from 'hono'
import type { GatewayEnv } from '../services.js'
import { notFound, RequestError } from './errors.js'

const METHODS = ['GET', 'POST', 'PUT', 'PATCH', 'DELETE']

/**
 * What answers where no route does: 405 with `Allow` for a path that other methods have (RFC 9110, 15.5.6), otherwise 404.
 *
 * @throws RequestError
 */
export function notFoundHandler(app: Hono<GatewayEnv>): (c: Context<GatewayEnv>) => never {
  return (c) => {
    const { path } = c.req
    const allowed = METHODS.filter((method) => app.router.match(method, path)[0].some(([[, route]]) => route.method === method))
    if (allowed.length === 0) throw notFound('There is nothing at this path')
    if (allowed.includes('GET')) allowed.push('HEAD')
    throw new RequestError(405, 'method_not_allowed', `The path knows the methods ${allowed.join(', ')}`, {
      headers: { allow: allowed.join(', ') },
    })
  }
}
