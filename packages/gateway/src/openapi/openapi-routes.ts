import { Hono } from 'hono'
import type { GatewayEnv } from '../services.js'

export function openApiRoutes(): Hono<GatewayEnv> {
  return new Hono<GatewayEnv>()
}
