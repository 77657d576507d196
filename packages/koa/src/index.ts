/**
 * MeshGuard for Koa: every route of an application or of a router of @koa/router is checked before its handlers run.
 *
 * @module
 */
export type { DynamicRouteOptions, RouteRow } from '@meshguard/core/http'
export type { AnyApplication } from './application.js'
export { createProtect, type Protect, type ProtectOptions, type RouteGuard, type RouteOptions } from './protect.js'
export { type AnyContext, agentOf, decisionOf, type Handler } from './request.js'
export type { AnyRouter } from './router.js'
