import { type Context, Hono } from 'hono'
import { serviceWith } from '../admin/authenticate.js'
import { conflict } from '../http/errors.js'
import type { GatewayEnv, ServiceCaller, Services } from '../services.js'
import { BundleStreams } from './bundle-streams.js'
import { acceptsGzip, gzipOf } from './gzip.js'

/**
 * `GET /v1/bundle`, the signed bundle that guards decide by where they are, and `GET /v1/bundle/stream`, which wakes them when
 * there is another one.
 */
export function bundleRoutes(services: Services): Hono<GatewayEnv> {
  const { bundles, metrics } = services
  const streams = new BundleStreams(services)
  const routes = new Hono<GatewayEnv>()

  routes.get('/v1/bundle', async (c) => {
    await readerOf(services, c)
    const bundle = await bundles.current()
    const isGzip = acceptsGzip(c.req.header('accept-encoding'))
    const isKnown = hasTag(c.req.header('if-none-match'), bundle.etag)
    metrics.bundleServed(isKnown ? 304 : 200)
    // RFC 9110, 8.8.1: other bytes have another strong ETag, or a weak one.
    const headers = { etag: isGzip ? `W/${bundle.etag}` : bundle.etag, vary: 'Accept-Encoding' }
    if (isKnown) return c.body(null, 304, headers)
    const bytes = isGzip ? await gzipOf(bundle) : bundle.bytes
    return c.body(bytes, 200, {
      ...headers,
      'content-type': 'application/jose',
      'content-length': String(bytes.length),
      ...(isGzip && { 'content-encoding': 'gzip' }),
    })
  })

  routes.get('/v1/bundle/stream', async (c) => {
    const caller = await readerOf(services, c)
    const stillMay = () => serviceWith(services, c, 'bundle')
    const stream = await streams.open({ caller, stillMay, outgoing: c.env.outgoing })
    return c.body(stream, 200, { 'content-type': 'text/event-stream; charset=utf-8', 'x-accel-buffering': 'no' })
  })

  return routes
}

/** @throws AuthenticationError; RequestError 403 without the scope, 409 where nobody could verify tokens by a bundle. */
async function readerOf(services: Services, c: Context<GatewayEnv>): Promise<ServiceCaller> {
  const caller = await serviceWith(services, c, 'bundle')
  if (services.config.jwtSecret === undefined) return caller
  throw conflict(
    'There are no bundles with JWT_SECRET: who verifies tokens with it can also make them. Start the gateway without it',
  )
}

/** RFC 9110, 13.1.2: by weak comparison. */
function hasTag(ifNoneMatch: string | undefined, etag: string): boolean {
  const tags = ifNoneMatch?.split(',').map((tag) => tag.trim().replace(/^W\//, ''))
  return tags?.some((tag) => tag === etag || tag === '*') ?? false
}
