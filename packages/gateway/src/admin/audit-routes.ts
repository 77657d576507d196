import { Hono } from 'hono'
import { tooLarge } from '../http/errors.js'
import { readJson } from '../http/read-json.js'
import type { GatewayEnv, Services } from '../services.js'
import { exportAudit } from './audit-export.js'
import {
  auditExportQuery,
  auditPeriod,
  auditQuery,
  auditStatsQuery,
  auditStreamQuery,
  auditTraceQuery,
  shipment,
} from './audit-schemas.js'
import { streamAudit } from './audit-stream.js'
import { operatorOf, serviceWith } from './authenticate.js'
import { traceId } from './common-schemas.js'
import { invalid, readQueryWith, readWith } from './read-request.js'

const MAX_SHIPPED = 1000
const MAX_TRACE = 1000
const MAX_SHIPMENT = 1024 * 1024

/** The audit log, to be read. */
export function auditReadRoutes(services: Services): Hono<GatewayEnv> {
  const { audit, store, now } = services
  const routes = new Hono<GatewayEnv>()

  routes.get('/', async (c) => {
    const { items, nextCursor } = await audit.query(readQueryWith(c, auditQuery))
    return c.json({ entries: items, nextCursor })
  })

  routes.get('/stats', async (c) => {
    const { period } = readQueryWith(c, auditStatsQuery)
    const { allowed, denied, topDenied } = await store.audit.stats(now() - readWith(auditPeriod, { period }).period)
    return c.json({ total: allowed + denied, allowed, denied, period, topDenied })
  })

  routes.get('/traces/:traceId', async (c) => {
    const asked = readWith(traceId, c.req.param('traceId'))
    const { limit = MAX_TRACE, cursor } = readQueryWith(c, auditTraceQuery)
    const { items, nextCursor } = await audit.query({ traceId: asked, order: 'oldest', limit, cursor })
    return c.json({ entries: items, nextCursor })
  })

  routes.get('/export', async (c) => exportAudit(services, readQueryWith(c, auditExportQuery)))

  routes.get('/stream', async (c) => {
    const { headers } = c.req.raw
    const lastEventId = headers.get('last-event-id') ?? undefined
    if (lastEventId !== undefined && !/^[\x21-\x7e]{1,128}$/.test(lastEventId)) {
      throw invalid(['Last-Event-ID'], 'expected the id of an entry')
    }
    return streamAudit(services, {
      filter: readQueryWith(c, auditStreamQuery),
      lastEventId,
      stillMay: () => operatorOf(services, headers, 'audit:read'),
    })
  })

  routes.get('/verify', async (c) => c.json(await audit.verify()))

  return routes
}

/** `POST /v1/audit`: entries that services recorded themselves. */
export function auditRoutes(services: Services): Hono<GatewayEnv> {
  const routes = new Hono<GatewayEnv>()
  routes.post('/', async (c) => {
    const service = await serviceWith(services, c, 'audit:write')
    const body = await readJson(c, { limit: MAX_SHIPMENT })
    const { entries } = Object(body) as { entries?: unknown }
    if (Array.isArray(entries) && entries.length > MAX_SHIPPED) throw tooLarge(`At most ${MAX_SHIPPED} entries at a time`)
    const accepted = await services.audit.ship(service.id, readWith(shipment, body).entries)
    return c.json({ accepted }, 202)
  })
  return routes
}
