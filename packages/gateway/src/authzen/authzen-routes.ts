import { AuthenticationError } from '@meshguard/core'
import { bearerOf } from '@meshguard/core/http'
import { type Context, Hono, type MiddlewareHandler } from 'hono'
import { callerOf } from '../checks/caller.js'
import { refusalAnswer } from '../checks/decision-answer.js'
import { isLoopback } from '../http/address.js'
import { badRequest, RequestError } from '../http/errors.js'
import { readJson } from '../http/read-json.js'
import type { GatewayEnv, Services } from '../services.js'
import { type Evaluation, evaluationRequest, evaluationsEnvelope } from './authzen-schemas.js'
import { type Asker, type Evaluated, evaluate, prepare } from './evaluate.js'
import { evaluateAll, parseWith } from './evaluations.js'

const EVALUATION = '/access/v1/evaluation'
const EVALUATIONS = '/access/v1/evaluations'
const MAX_BYTES = 64 * 1024
const MAX_BATCH_BYTES = 1024 * 1024
/** As deep as a context may be, and what is around it. */
const DEPTH = 8 + 1
const BATCH_DEPTH = 8 + 3

/**
 * The OpenID AuthZEN Authorization API 1.0: evaluation, evaluations and discovery. A deny is an answer like any other: 200.
 * Search is not offered.
 */
export function authzenRoutes(services: Services): Hono<GatewayEnv> {
  const app = new Hono<GatewayEnv>()
  app.use('/access/v1/*', echoRequestId)
  app.get('/.well-known/authzen-configuration', configurationOf)
  app.post(EVALUATION, async (c) => {
    const asker = await askerOf(services, c)
    if (asker instanceof Response) return asker
    const asked = parseWith(evaluationRequest, await readBody(c, MAX_BYTES, DEPTH))
    return answer(await evaluateOne(services, c, asked, asker))
  })
  app.post(EVALUATIONS, async (c) => {
    const asker = await askerOf(services, c)
    if (asker instanceof Response) return asker
    const body = await readBody(c, MAX_BATCH_BYTES, BATCH_DEPTH)
    const { evaluations = [], options, ...defaults } = parseWith(evaluationsEnvelope, body)
    if (evaluations.length === 0) {
      return answer(await evaluateOne(services, c, parseWith(evaluationRequest, defaults), asker))
    }
    const semantic = options?.evaluations_semantic ?? 'execute_all'
    const batch = { defaults, evaluations, semantic }
    return answer({ evaluations: await evaluateAll(services, batch, asker, c.var.traceId, entryOf(c)) })
  })
  return app
}

async function evaluateOne(services: Services, c: Context<GatewayEnv>, asked: Evaluation, asker: Asker): Promise<Evaluated> {
  return evaluate(services, await prepare(services, asked, asker, c.var.traceId), asker, entryOf(c))
}

function entryOf(c: Context<GatewayEnv>) {
  return { method: 'POST', route: c.req.path, ip: c.var.ip }
}

/**
 * Who asks, by an agent's token or a service's; or the answer to one who may not. Looked at before the body is.
 *
 * @throws AuthenticationError for a service token that is not good; RequestError 403 for one without the scope `decide`.
 */
async function askerOf(services: Services, c: Context<GatewayEnv>): Promise<Asker | Response> {
  const { authorization, accept } = c.env.incoming.headers
  const token = authorization === undefined ? undefined : bearerOf(authorization)
  if (token?.startsWith('msvc_')) {
    const service = await services.identity.serviceOf(token)
    if (service.scopes.includes('decide')) return { service }
    throw new RequestError(403, 'Forbidden', 'The service token lacks the scope "decide"')
  }
  const { who, refuse, sentToken } = await callerOf(services, authorization)
  if (refuse === undefined) return { who }
  const request = { action: '', traceId: c.var.traceId }
  const decision = await services.decide({ who: undefined, refuse, request, entry: entryOf(c) })
  if (decision.allowed) throw new AuthenticationError(refuse.reason, { traceId: c.var.traceId, sentToken })
  const { status, headers, body } = refusalAnswer(decision, sentToken, accept)
  return new Response(body, { status, headers })
}

/**
 * The specification answers 400 where a body is of another media type. JSON in a content coding, or whose type is malformed, is
 * 415 as anywhere.
 *
 * @throws RequestError 400, 413, 415.
 */
async function readBody(c: Context<GatewayEnv>, limit: number, depth: number): Promise<unknown> {
  try {
    return await readJson(c, { limit, depth })
  } catch (error) {
    const isJson = /^application\/json(?![\w.+-])/i.test(c.req.header('content-type') ?? '')
    if (error instanceof RequestError && error.status === 415 && !isJson) throw badRequest(error.message)
    throw error
  }
}

function answer(body: object): Response {
  const headers = { 'content-type': 'application/json', 'cache-control': 'no-store' }
  return new Response(JSON.stringify(body), { status: 200, headers })
}

/** On every answer, so that it is there on a refusal too. */
const echoRequestId: MiddlewareHandler<GatewayEnv> = async function echoRequestId(c, next) {
  const id = c.req.header('x-request-id')
  if (id !== undefined && /^[\x20-\x7e]{1,256}$/.test(id)) c.env.outgoing.setHeader('x-request-id', id)
  await next()
}

const HOST = /^(?:[A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(?::\d{1,5})?$/

/**
 * Where the endpoints are. The address is the one that the caller used: it is compared with that, and told to nobody else. The
 * scheme is `https` for every host but this machine's own, as a gateway that is reached over a network stands behind TLS.
 */
function configurationOf(c: Context<GatewayEnv>): Response {
  const host = c.env.incoming.headers.host ?? ''
  if (!HOST.test(host)) throw badRequest('The Host header is not a host', [{ path: 'Host', message: 'is not a host' }])
  const name = host.replace(/:\d+$/, '').replace(/^\[|\]$/g, '')
  const base = `${isLoopback(name) ? 'http' : 'https'}://${host}`
  return answer({
    policy_decision_point: base,
    access_evaluation_endpoint: base + EVALUATION,
    access_evaluations_endpoint: base + EVALUATIONS,
  })
}
