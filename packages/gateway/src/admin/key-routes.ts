import { Hono } from 'hono'
import { conflict } from '../http/errors.js'
import type { GatewayEnv, Services } from '../services.js'
import { record } from './changes.js'
import { keyRotation } from './key-schemas.js'
import { readOptionalBodyWith } from './read-request.js'

/** The keys that sign agents' tokens and bundles. */
export function keyRoutes(services: Services): Hono<GatewayEnv> {
  const { keys, config, bundles } = services
  const routes = new Hono<GatewayEnv>()

  routes.post('/rotate', async (c) => {
    if (config.jwtSecret !== undefined) {
      throw conflict('Tokens are signed with JWT_SECRET: change it and restart the gateway')
    }
    const { key } = await readOptionalBodyWith(c, keyRotation)
    const before = kidsOf(services)
    await record(services, c, { action: 'admin:keys/rotate', resource: `keys/${key}`, before: { kids: before } })
    await keys.rotate(key)
    bundles.changed()
    return c.json({ keys: kidsOf(services) })
  })

  return routes
}

function kidsOf({ keys }: Services): string[] {
  return keys.published().keys.flatMap(({ kid }) => (kid === undefined ? [] : [kid]))
}
