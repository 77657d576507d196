import type { Hono, MiddlewareHandler } from 'hono'
import { cors } from 'hono/cors'
import { adminRoutes, auditRoutes } from '../admin/admin-routes.js'
import { authzenRoutes } from '../authzen/authzen-routes.js'
import { bundleRoutes } from '../bundle/bundle-routes.js'
import { checkRoutes } from '../checks/check-routes.js'
import { openApiRoutes } from '../openapi/openapi-routes.js'
import { proxyRoutes } from '../proxy/proxy-routes.js'
import type { GatewayEnv, Services } from '../services.js'
import { bareApp } from './bare-app.js'
import { statusRoutes } from './status-routes.js'

/**
 * All routes of the gateway.
 *
 * @param tracing Runs around every request, where traces are configured.
 */
export function createApp(services: Services, tracing?: MiddlewareHandler<GatewayEnv>): Hono<GatewayEnv> {
  const { config, log } = services
  const app = bareApp(log, config, tracing)
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
