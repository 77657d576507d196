/** Runs in workerd: a guard that all requests of an isolate share, asking a gateway and shipping its audit there. */
import { auditToGateway, createGuard, fromGateway } from '@meshguard/core'
import { createProtect } from '@meshguard/hono'
import { type Context, Hono } from 'hono'

interface Env {
  readonly GATEWAY: string
}

const protect = createProtect((c: Context<{ Bindings: Env }>) => {
  const gateway = { url: c.env.GATEWAY, token: 'msvc_service' }
  return createGuard({ source: fromGateway({ ...gateway, timeoutMs: 2000 }), timeoutMs: 3000, audit: auditToGateway(gateway) })
})

export default protect(new Hono<{ Bindings: Env }>()).get('/contacts/:id', (c) => c.json({ id: c.req.param('id') }))
