/**
 * MeshGuard for Hono, on every runtime that Hono runs on: guards each route where it is dispatched.
 *
 * @module
 */

export type { RouteRow } from '@meshguard/core/http'
export { agentOf, decisionOf } from './note.js'
export {
  createProtect,
  type DynamicRouteOptions,
  type HonoApp,
  type Protect,
  type ProtectOptions,
  type RouteOptions,
} from './protect.js'
