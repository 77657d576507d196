import { Hono } from 'hono'
import { etag } from 'hono/etag'
import type { GatewayEnv } from '../services.js'
import { openApiDocument } from './document.js'

/** `/openapi.json`: written when it is first asked for, the same for as long as the process lives. */
export function openApiRoutes(): Hono<GatewayEnv> {
  let text: string | undefined
  const routes = new Hono<GatewayEnv>()
  routes.get('/openapi.json', etag(), (c) => {
    text ??= JSON.stringify(openApiDocument())
    return c.body(text, 200, { 'content-type': 'application/json; charset=utf-8', 'cache-control': 'public, max-age=300' })
  })
  return routes
}
