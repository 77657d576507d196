import { Hono } from 'hono'
import type { GatewayEnv, Services } from '../services.js'
import { agentRoutes } from './agent-routes.js'
import { auditReadRoutes } from './audit-routes.js'
import { operatorsOnly } from './authenticate.js'
import { delegationRoutes } from './delegation-routes.js'
import { keyRoutes } from './key-routes.js'
import { policyRoutes } from './policy-routes.js'
import { tokenRoutes } from './token-routes.js'

export { auditRoutes } from './audit-routes.js'

/** Everything under `/admin`, for operators alone; the scope `audit:read` is enough to read the audit log. */
export function adminRoutes(services: Services): Hono<GatewayEnv> {
  const routes = new Hono<GatewayEnv>()
  const isOfAudit = (path: string): boolean => /\/admin\/audit(?:\/|$)/.test(path)
  const anyOperator = operatorsOnly(services)
  const auditReader = operatorsOnly(services, 'audit:read')
  routes.use('*', (c, next) => (isOfAudit(c.req.path) ? auditReader(c, next) : anyOperator(c, next)))
  routes.route('/agents', agentRoutes(services))
  routes.route('/policies', policyRoutes(services))
  routes.route('/audit', auditReadRoutes(services))
  routes.route('/tokens', tokenRoutes(services))
  routes.route('/delegations', delegationRoutes(services))
  routes.route('/keys', keyRoutes(services))
  return routes
}
