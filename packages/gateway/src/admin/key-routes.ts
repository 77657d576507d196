import { Hono } from 'hono'
import { conflict } from '../http/errors.js'
import type { GatewayEnv, Services } from '../services.js'
import { record } from './changes.js'

/** The key that signs agents' tokens. */
export function keyRoutes(services: Services): Hono<GatewayEnv> {
  const { keys, config } = services
  const routes = new Hono<GatewayEnv>()

  routes.post('/rotate', async (c) => {
    if (config.jwtSecret !== undefined) {
      throw conflict('Tokens are signed with JWT_SECRET: change it and restart the gateway')
    }
    const before = kidsOf(services)
    await record(services, c, { action: 'admin:keys/rotate', resource: 'keys', before: { kids: before } })
    await keys.rotate()
    return c.json({ keys: kidsOf(services) })
  })

  return routes
}

function kidsOf({ keys }: Services): string[] {
  return keys.jwks().keys.flatMap(({ kid }) => (kid === undefined ? [] : [kid]))
}
