/**
 * A Worker that decides by the signed bundle of a gateway. It goes on from KV while the gateway is away, and ships what it decided
 * behind its answers. Nothing is fetched or timed at import.
 */
import { auditToGateway, createGuard, fromBundle, type Guard } from '@meshguard/core'
import { cacheInKv, type KeyValueNamespace } from '@meshguard/core/bundle'
import { agentOf, createProtect } from '@meshguard/hono'
import { type Context, Hono } from 'hono'

/** What wrangler binds. */
export interface Env {
  readonly GATEWAY_URL: string
  /** A service token with the scopes `bundle` and `audit:write`. */
  readonly GATEWAY_TOKEN: string
  /** The gateway's key for bundles, as a JWK: the one whose `typ` is `meshguard-bundle+jws` at `/.well-known/jwks.json`. */
  readonly BUNDLE_KEY: string
  /** Keeps the last good bundle for all isolates. */
  readonly BUNDLES: KeyValueNamespace
}

type Bindings = { Bindings: Env }

/** Called once for each `env`. */
function guardFor({ GATEWAY_URL: url, GATEWAY_TOKEN: token, BUNDLE_KEY, BUNDLES }: Env): Guard {
  return createGuard({
    source: fromBundle({ url, token, publicKeys: [JSON.parse(BUNDLE_KEY)], cache: cacheInKv(BUNDLES) }),
    audit: auditToGateway({ url, token }),
  })
}

const protect = createProtect((c: Context<Bindings>) => guardFor(c.env))

const app = protect(new Hono<Bindings>())
  .get('/health', protect.open('liveness probe'), (c) => c.json({ status: 'ok' }))
  .get('/shipments/:id', (c) => c.json({ id: c.req.param('id'), seenBy: agentOf(c)?.id }))
  .delete('/shipments/:id', (c) => c.json({ deleted: c.req.param('id') }))

export default app
