/** A Worker whose policies are data in its bundle. Nothing is fetched or timed at import. */
import { agentTokens, createGuard, fromPolicies, type Guard } from '@meshguard/core'
import { agentOf, createProtect } from '@meshguard/hono'
import { type Context, Hono } from 'hono'
import policies from './policies.js'

/** What wrangler binds. */
export interface Env {
  /** The public key of whoever makes the tokens, as a JWK. */
  readonly AGENT_PUBLIC_KEY: string
}

type Bindings = { Bindings: Env }

/** Called once for each `env`. */
function guardFor(env: Env): Guard {
  return createGuard({
    source: fromPolicies(policies),
    authenticate: agentTokens({ publicKey: JSON.parse(env.AGENT_PUBLIC_KEY) }),
  })
}

const protect = createProtect((c: Context<Bindings>) => guardFor(c.env))

const app = protect(new Hono<Bindings>())
  .get('/health', protect.open('liveness probe'), (c) => c.json({ status: 'ok' }))
  .get('/shipments/:id', (c) => c.json({ id: c.req.param('id'), seenBy: agentOf(c)?.id }))
  .post('/shipments/:id/hold', protect('hold:shipments'), (c) => c.json({ held: c.req.param('id') }))
  .delete('/shipments/:id', (c) => c.json({ deleted: c.req.param('id') }))

/** For `hc<AppType>()`: the chain keeps its types. */
export type AppType = typeof app

export default app
