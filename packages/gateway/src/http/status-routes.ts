import { createHash } from 'node:crypto'
import { AuthenticationError } from '@meshguard/core'
import { bearerOf } from '@meshguard/core/http'
import { type Context, Hono } from 'hono'
import type { GatewayEnv, Services } from '../services.js'
import { VERSION } from '../version.js'
import { isLoopback } from './address.js'
import { RequestError } from './errors.js'

/** How long `/health` waits for the database. */
const PING_MS = 2000

/** What `/health` answers. */
interface Health {
  readonly status: 'healthy' | 'degraded'
  readonly timestamp: string
  readonly version: string
  readonly mode: string
  readonly uptimeSeconds: number
  readonly checks: { readonly database: 'ok' | 'failing'; readonly policies: 'ok' | 'failing' }
}

/** `/`, `/health`, `/.well-known/jwks.json` and `/metrics`. */
export function statusRoutes(services: Services): Hono<GatewayEnv> {
  const { config, keys, metrics, now } = services
  const startedAt = now()
  const app = new Hono<GatewayEnv>()
  app.get('/', async (c) => {
    if (!prefersHtml(c.req.header('accept'))) return c.json(identityOf(config.mode))
    return dashboard(await healthOf(services, startedAt))
  })
  app.get('/health', async (c) => {
    const health = await healthOf(services, startedAt)
    return c.json(health, health.checks.database === 'ok' ? 200 : 503)
  })
  app.get('/.well-known/jwks.json', async (c) => {
    await keys.refresh()
    return c.json(keys.published(), 200, { 'cache-control': 'public, max-age=300' })
  })
  app.get('/metrics', async (c) => {
    await assertMayReadMetrics(c, services)
    return c.body(await metrics.registry.metrics(), 200, { 'content-type': metrics.registry.contentType })
  })
  return app
}

function identityOf(mode: string): object {
  return { name: 'MeshGuard Gateway', version: VERSION, mode, docs: '/openapi.json' }
}

async function healthOf({ store, policies, config, log, now }: Services, startedAt: number): Promise<Health> {
  const database = await answersInTime(store.ping()).catch((error: unknown) => {
    log.error({ err: error }, 'the database does not answer')
    return false
  })
  const policiesOk = policies.problem() === undefined
  return {
    status: database && policiesOk ? 'healthy' : 'degraded',
    timestamp: new Date(now()).toISOString(),
    version: VERSION,
    mode: config.mode,
    uptimeSeconds: Math.floor((now() - startedAt) / 1000),
    checks: { database: database ? 'ok' : 'failing', policies: policiesOk ? 'ok' : 'failing' },
  }
}

async function answersInTime(ping: Promise<void>): Promise<boolean> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<boolean>((resolve) => {
    timer = setTimeout(() => resolve(false), PING_MS)
  })
  try {
    return await Promise.race([ping.then(() => true), late])
  } finally {
    clearTimeout(timer)
  }
}

/** From this machine, and not passed on by a proxy on it; or a service whose token has the scope `audit:read`. */
async function assertMayReadMetrics(c: Context<GatewayEnv>, { identity }: Services): Promise<void> {
  const isPassedOn = ['x-forwarded-for', 'forwarded', 'via'].some((name) => c.req.header(name) !== undefined)
  if (isLoopback(c.get('ip')) && !isPassedOn) return
  const token = bearerOf(c.req.header('authorization') ?? '')
  if (token === undefined) throw new AuthenticationError('Metrics are for this machine, or a service')
  const { scopes } = await identity.serviceOf(token)
  if (!scopes.includes('audit:read')) throw new RequestError(403, 'Forbidden', 'The token has not the scope audit:read')
}

function prefersHtml(accept: string | undefined): boolean {
  return accept?.slice(0, 1024).toLowerCase().includes('text/html') === true
}

const STYLE = 'body{font:16px/1.5 system-ui,sans-serif;max-width:40rem;margin:3rem auto;padding:0 1rem}dt{font-weight:600}'
const CSP = `default-src 'none'; style-src 'sha256-${createHash('sha256').update(STYLE).digest('base64')}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'`

/** A page without scripts. Everything in it is our own text: nothing of the request is. */
function dashboard({ status, version, mode, uptimeSeconds, checks }: Health): Response {
  const html = `<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><title>MeshGuard Gateway</title><style>${STYLE}</style></head>
<body>
<h1>MeshGuard Gateway</h1>
<dl>
<dt>Status</dt><dd>${status}</dd>
<dt>Mode</dt><dd>${mode}</dd>
<dt>Version</dt><dd>${version}</dd>
<dt>Up for</dt><dd>${uptimeSeconds} s</dd>
<dt>Database</dt><dd>${checks.database}</dd>
<dt>Policies</dt><dd>${checks.policies}</dd>
</dl>
<p><a href="/health">/health</a>, <a href="/openapi.json">/openapi.json</a>,
<a href="/.well-known/jwks.json">/.well-known/jwks.json</a>, <a href="/metrics">/metrics</a>.
Agents, policies and the audit log: <code>meshguard --help</code>.</p>
</body>
</html>
`
  return new Response(html, {
    headers: {
      'content-type': 'text/html; charset=utf-8',
      'content-security-policy': CSP,
      'x-frame-options': 'DENY',
      'referrer-policy': 'no-referrer',
    },
  })
}
