import { Hono, type MiddlewareHandler } from 'hono'
import { cors } from 'hono/cors'
import { adminRoutes, auditRoutes } from '../admin/admin-routes.js'
import { authzenRoutes } from '../authzen/authzen-routes.js'
import { bundleRoutes } from '../bundle/bundle-routes.js'
import { checkRoutes } from '../checks/check-routes.js'
import { FailedAuthentications } from '../identity/failed-authentications.js'
import { openApiRoutes } from '../openapi/openapi-routes.js'
import { proxyRoutes } from '../proxy/proxy-routes.js'
import type { GatewayEnv, Services } from '../services.js'
import { addressOf } from './address.js'
import { errorHandler } from './answer-error.js'
import { base } from './base.js'
import { notFoundHandler } from './not-found.js'
import { statusRoutes } from './status-routes.js'

/**
 * All routes of the gateway. They are matched on the path as it was sent: nothing is decoded and no dot segment resolved before.
 *
 * @param tracing Runs around every request, where traces are configured.
 */
export function createApp(services: Services, tracing?: MiddlewareHandler<GatewayEnv>): Hono<GatewayEnv> {
  const { config, log } = services
  const app = new Hono<GatewayEnv>({ getPath: rawPathOf as (request: Request) => string })
  app.onError(errorHandler(log))
  app.notFound(notFoundHandler(app))
  if (tracing !== undefined) app.use(tracing)
  app.use(base(addressOf(config.trustedProxies), new FailedAuthentications(config.rateLimitRpm)))
  if (config.corsOrigin !== undefined) app.use(crossOrigin(config.corsOrigin))
  app.route('/', checkRoutes(services))
  app.route('/', proxyRoutes(services))
  app.route('/admin', adminRoutes(services))
  app.route('/api/v1/admin', adminRoutes(services))
  app.route('/v1/audit', auditRoutes(services))
  app.route('/', bundleRoutes(services))
  app.route('/', authzenRoutes(services))
  app.route('/', openApiRoutes())
  app.route('/', statusRoutes(services))
  return app
}

function rawPathOf(_request: Request, { env }: { env: GatewayEnv['Bindings'] }): string {
  const { url = '' } = env.incoming
  const query = url.indexOf('?')
  return query < 0 ? url : url.slice(0, query)
}

/** For browsers of the origins in `CORS_ORIGIN`; credentials are headers, never cookies. */
function crossOrigin(origins: string): MiddlewareHandler<GatewayEnv> {
  return cors({
    origin: origins.split(',').map((origin) => origin.trim()),
    allowMethods: ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE'],
    exposeHeaders: [
      'ETag',
      'Retry-After',
      'RateLimit',
      'RateLimit-Policy',
      'X-MeshGuard-Agent-Id',
      'X-MeshGuard-Decision',
      'X-MeshGuard-Origin',
      'X-MeshGuard-Policy',
      'X-MeshGuard-Trace-ID',
    ],
    maxAge: 600,
  })
}
