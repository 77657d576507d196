import { createHash, randomBytes } from 'node:crypto'
import { Hono } from 'hono'
import { notFound } from '../http/errors.js'
import type { GatewayEnv, Services } from '../services.js'
import type { TokenRecord } from '../store/store.js'
import { record } from './changes.js'
import { isoTime } from './common-schemas.js'
import { readBodyWith } from './read-request.js'
import { newServiceToken } from './token-schemas.js'

/** Service tokens: shown once, kept as a hash. */
export function tokenRoutes(services: Services): Hono<GatewayEnv> {
  const { store, now } = services
  const routes = new Hono<GatewayEnv>()

  routes.get('/', async (c) => c.json({ tokens: (await store.tokens.list()).map(tokenView) }))

  routes.post('/', async (c) => {
    const { expiresIn, ...given } = await readBodyWith(c, newServiceToken)
    const secret = `msvc_${randomBytes(32).toString('base64url')}`
    const createdAt = now()
    const token: TokenRecord = {
      id: `service_${randomBytes(9).toString('hex')}`,
      ...given,
      hash: createHash('sha256').update(secret).digest('hex'),
      createdAt,
      ...(expiresIn === undefined ? {} : { expiresAt: createdAt + expiresIn }),
    }
    await record(services, c, { action: 'admin:tokens/create', resource: `tokens/${token.id}`, after: tokenView(token) })
    await store.tokens.insert(token)
    return c.json({ ...tokenView(token), token: secret }, 201)
  })

  routes.delete('/:id', async (c) => {
    const id = c.req.param('id')
    const token = (await store.tokens.list()).find((one) => one.id === id)
    if (token === undefined) throw notFound(`There is no service token "${id}"`)
    await record(services, c, { action: 'admin:tokens/delete', resource: `tokens/${id}`, before: tokenView(token) })
    await store.tokens.delete(id)
    return c.body(null, 204)
  })

  return routes
}

function tokenView({ id, name, scopes, createdAt, expiresAt }: TokenRecord) {
  const shown = { id, name, scopes, createdAt: isoTime(createdAt) }
  return expiresAt === undefined ? shown : { ...shown, expiresAt: isoTime(expiresAt) }
}
