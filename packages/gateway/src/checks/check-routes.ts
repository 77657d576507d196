import { AuthenticationError } from '@meshguard/core'
import { bearerOf, isPromise } from '@meshguard/core/http'
import { type Context, Hono } from 'hono'
import { badRequest, RequestError } from '../http/errors.js'
import { readBody } from '../http/read-json.js'
import type { GatewayEnv, ServiceCaller, Services } from '../services.js'
import { decideBatch } from './batch.js'
import { callerOf } from './caller.js'
import { checksEnvelope } from './check-schemas.js'
import { answerOf } from './decision-answer.js'
import { statementOf } from './statement.js'

const CHECK = '/proxy/check'
const MAX_BATCH_BYTES = 1024 * 1024
const JSON_HEADERS = Object.freeze({ 'content-type': 'application/json; charset=utf-8', 'cache-control': 'no-store' })

/**
 * `GET /proxy/check`, which asks for the agent that presents its token, and `POST /v1/checks`, by which a service asks for many
 * agents at once. To be mounted before the proxy, which answers every other spelling of the first.
 */
export function checkRoutes(services: Services): Hono<GatewayEnv> {
  const app = new Hono<GatewayEnv>()
  app.get(CHECK, (c) => check(services, c))
  app.post('/v1/checks', (c) => checkMany(services, c))
  return app
}

/** What an agent states here is its own word, a cooperative check: the entry says `claimed`. */
async function check(services: Services, c: Context<GatewayEnv>): Promise<Response> {
  const { headers, url } = c.env.incoming
  if (url !== CHECK) throw badRequest(`The path of a check is exactly ${CHECK}, without a query`)
  const found = callerOf(services, headers.authorization)
  const { who, refuse, sentToken } = isPromise(found) ? await found : found
  const traceId = c.get('traceId')
  const ip = c.get('ip')
  const stated = refuse === undefined ? statementOf(headers) : NOTHING
  if (stated.action === undefined && refuse === undefined) {
    throw badRequest('X-MeshGuard-Action is required', [{ path: 'X-MeshGuard-Action', message: 'is required' }])
  }
  const decision = await services.decide({
    who,
    refuse,
    request: { action: stated.action ?? '', resource: stated.resource, context: stated.context, traceId },
    entry: { claimed: true, method: 'GET', route: CHECK, ip },
  })
  const { status, headers: answered, body } = answerOf(decision, sentToken, headers.accept)
  return new Response(body, { status, headers: answered })
}

/** Nothing of a request is looked at whose credential is not good. */
const NOTHING = Object.freeze({ action: undefined, resource: undefined, context: undefined })

async function checkMany(services: Services, c: Context<GatewayEnv>): Promise<Response> {
  const service = await deciderOf(services, c.env.incoming.headers.authorization)
  const { text } = await readBody(c, { limit: MAX_BATCH_BYTES })
  const answers = await decideBatch(services, checksIn(text), service, c.var.traceId)
  return new Response(`{"decisions":[${answers.join(',')}]}`, { status: 200, headers: JSON_HEADERS })
}

/**
 * The service that asks.
 *
 * @throws AuthenticationError without a good service token; RequestError 403 for one without the scope `decide`.
 */
async function deciderOf({ identity }: Services, authorization: string | undefined): Promise<ServiceCaller> {
  const token = authorization === undefined ? undefined : bearerOf(authorization)
  if (token === undefined) {
    throw new AuthenticationError('No service token was presented', { sentToken: authorization !== undefined })
  }
  const service = await identity.serviceOf(token)
  if (service.scopes.includes('decide')) return service
  throw new RequestError(403, 'Forbidden', 'The service token lacks the scope "decide"')
}

/**
 * The checks of a batch. Only that there are 1 to 64 objects is looked at here: each is read on its own.
 *
 * @throws RequestError 400.
 */
function checksIn(text: string): readonly unknown[] {
  let body: unknown
  try {
    body = JSON.parse(text)
  } catch {
    throw badRequest('The body is not JSON')
  }
  const { success, data } = checksEnvelope.safeParse(body)
  if (success) return data.checks
  throw badRequest('The body must be {"checks": [...]} with 1 to 64 checks, each an object', [
    { path: 'checks', message: 'must be a list of 1 to 64 objects' },
  ])
}
