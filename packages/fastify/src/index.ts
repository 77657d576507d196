/**
 * Guards every route of a Fastify application: `protect(app)` derives an action from each registered url, asks the guard
 * before the body is parsed, and lets the handler run or answers 401, 403, 429 or 503.
 *
 * @module
 */
export type { RouteRow } from '@meshguard/core/http'
export { agentOf, decisionOf } from './passage.js'
export {
  createProtect,
  type DynamicRouteOptions,
  type Protect,
  type ProtectableInstance,
  type ProtectHook,
  type ProtectOptions,
  type RouteOptions,
} from './protect.js'
