import { Hono, type MiddlewareHandler } from 'hono'
import type { Logger } from 'pino'
import type { GatewayConfig } from '../config.js'
import { FailedAuthentications } from '../identity/failed-authentications.js'
import type { GatewayEnv } from '../services.js'
import { addressOf } from './address.js'
import { errorHandler } from './answer-error.js'
import { base } from './base.js'
import { notFoundHandler } from './not-found.js'

/**
 * An app without routes, and with what goes before and after every route. They are matched on the path as it was sent: nothing is
 * decoded and no dot segment resolved before.
 *
 * @param tracing Runs around every request, where traces are configured.
 */
export function bareApp(
  log: Logger,
  { trustedProxies, rateLimitRpm }: Pick<GatewayConfig, 'trustedProxies' | 'rateLimitRpm'>,
  tracing?: MiddlewareHandler<GatewayEnv>,
): Hono<GatewayEnv> {
  const app = new Hono<GatewayEnv>({ getPath: rawPathOf as (request: Request) => string })
  app.onError(errorHandler(log))
  app.notFound(notFoundHandler(app))
  if (tracing !== undefined) app.use(tracing)
  app.use(base(addressOf(trustedProxies), new FailedAuthentications(rateLimitRpm)))
  return app
}

function rawPathOf(_request: Request, { env }: { env: GatewayEnv['Bindings'] }): string {
  const { url = '' } = env.incoming
  const query = url.indexOf('?')
  return query < 0 ? url : url.slice(0, query)
}
