import type { ServerResponse } from 'node:http'
import type { Decision } from '@meshguard/core'
import { isPromise } from '@meshguard/core/http'
import { type Context, Hono } from 'hono'
import { type Caller, callerOf } from '../checks/caller.js'
import { announce, refusalAnswer } from '../checks/decision-answer.js'
import { statementOf } from '../checks/statement.js'
import { notFound, RequestError, tooLarge } from '../http/errors.js'
import { admitBody } from '../http/read-json.js'
import type { Asked, GatewayEnv, Services } from '../services.js'
import { type CanonicalTarget, readTarget } from './canonical-path.js'
import { Exchange } from './exchange.js'
import { requestFilter } from './header-filter.js'
import { type ActionOf, derivedActions, type ProxyAction } from './proxy-action.js'
import { hasBody, RequestBody } from './request-body.js'
import { mappedActions } from './route-map.js'
import { isTraceparent, traceparentOf } from './traceparent.js'
import { openUpstream, type Upstream } from './upstream.js'

/** What a proxy works with; made once. */
interface Proxy {
  readonly services: Services
  readonly upstream: Upstream
  readonly actionOf: ActionOf
  readonly filter: (rawHeaders: readonly string[]) => string[]
}

/** A request, as far as it is known what it does. */
interface Asking {
  readonly target: CanonicalTarget
  /** `undefined` is unmapped. */
  readonly does: ProxyAction | undefined
  /** What it does for an upstream to which capitals and small letters of a path are the same; absent with `PROXY_ROUTES`. */
  readonly spelled?: ProxyAction | undefined
}

/**
 * Everything under `/proxy/` but the check: forwards what an agent may do to `PROXY_TARGET`, byte for byte as it was authorised.
 * To be mounted behind the check.
 */
export function proxyRoutes(services: Services): Hono<GatewayEnv> {
  const app = new Hono<GatewayEnv>()
  const { target, routes, timeoutMs, headers, forwardAuthorization, forwardHeaders: forward } = services.config.proxy
  if (target === undefined) {
    app.all('/proxy/*', () => {
      throw notFound('This gateway has no upstream. Set PROXY_TARGET to make it a proxy')
    })
    return app
  }
  const proxy: Proxy = {
    services,
    upstream: openUpstream(target, timeoutMs),
    actionOf: routes === undefined ? derivedActions() : mappedActions(routes),
    filter: requestFilter({ headers, forwardAuthorization, forward }),
  }
  app.all('/proxy/*', (c) => handle(proxy, c))
  return app
}

async function handle(proxy: Proxy, c: Context<GatewayEnv>): Promise<Response> {
  const { services } = proxy
  const { headers } = c.env.incoming
  const found = callerOf(services, headers.authorization)
  const caller = isPromise(found) ? await found : found
  const asking = read(proxy, c)
  const decision = await services.decide(questionOf(proxy, c, caller, asking))
  if ('problem' in asking || !decision.allowed) {
    const { status, headers: refused, body } = refusalAnswer(decision, caller.sentToken, headers.accept)
    return new Response(body, { status, headers: { ...refused, 'x-meshguard-origin': 'gateway' } })
  }
  const status = await forward(proxy, c, asking, decision)
  return answered(c, status)
}

/**
 * Stands for an answer that was written already: with its status, for whoever counts and traces. Hono's server would write it
 * again, so that the two functions it does that with do nothing more. More of them would be too many members for an object that
 * V8 reads quickly, and a response in its slow form outlives its request until the next full collection.
 */
function answered(c: Context<GatewayEnv>, status: number): Response {
  const { outgoing } = c.env
  outgoing.writeHead = itself
  outgoing.end = itself
  return new Response(null, { status, headers: { 'x-meshguard-origin': 'upstream' } })
}

function itself(this: ServerResponse): ServerResponse {
  return this
}

/** What a request does, or why that cannot be told. */
function read({ actionOf, services }: Proxy, c: Context<GatewayEnv>): Asking | { readonly problem: string } {
  const { url = '', method = '' } = c.env.incoming
  const { routes } = services.config.proxy
  const target = readTarget(url)
  if ('problem' in target) return target
  if (isCheck(target)) return { problem: 'The check is GET /proxy/check, spelled exactly so and without a query' }
  const does = actionOf(method, target.segments)
  if (does !== undefined && does.resource === undefined) return { problem: 'A parameter of the path is too long or malformed' }
  if (routes !== undefined) return { target, does }
  const small = target.segments.map((segment) => segment.toLowerCase())
  const isSmall = small.every((segment, i) => segment === target.segments[i])
  // Many servers, Express among them, find the handler of `/admin` for `/Admin` too.
  return { target, does, spelled: isSmall ? does : actionOf(method, small) }
}

/** Whether an upstream, or a reader of a log, might take a path for the check. */
function isCheck({ segments: [first = '', second, third] }: CanonicalTarget): boolean {
  return third === undefined && (second ?? '') === '' && first.normalize('NFKC').toLowerCase() === 'check'
}

/**
 * What is asked and recorded.
 *
 * @throws RequestError 400 for a declared resource or context that is malformed, 413 for a body that says it is too long.
 */
function questionOf(
  { services }: Proxy,
  c: Context<GatewayEnv>,
  { who, refuse }: Caller,
  asking: ReturnType<typeof read>,
): Asked {
  const { incoming } = c.env
  const { method = '', url = '', headers } = incoming
  const traceId = c.get('traceId')
  const ip = c.get('ip')
  const { does, spelled } = 'problem' in asking ? NOTHING : asking
  const info = { method: method === 'HEAD' ? 'GET' : method, route: does?.route ?? '', ip }
  const asked: Asked = {
    who,
    refuse: refuse ?? refusalOf(asking),
    spelled: spelled && { action: spelled.action, resource: spelled.resource, request: { ...info, route: spelled.route } },
    request: { action: does?.action ?? '', resource: does?.resource, request: info, traceId },
    entry: { method, path: pathIn(url), ip },
  }
  if (asked.refuse !== undefined || does === undefined) return asked
  if (Number(headers['content-length'] ?? 0) > services.config.proxy.maxBody) throw bodyTooLong(services)
  const { action = does.action, resource = does.resource, context } = statementOf(headers)
  const isDeclared = action !== does.action || resource !== does.resource || context !== undefined
  return isDeclared ? { ...asked, declared: { action, resource, context } } : asked
}

const NOTHING: Pick<Asking, 'does' | 'spelled'> = { does: undefined }

function refusalOf(asking: ReturnType<typeof read>): Asked['refuse'] {
  if ('problem' in asking) return { code: 'invalid_action', reason: asking.problem }
  return asking.does === undefined ? UNMAPPED : undefined
}

const UNMAPPED: Asked['refuse'] = { code: 'unmapped', reason: 'The proxy knows no action for this method and path' }

function bodyTooLong({ config }: Services): RequestError {
  return tooLarge(`The body is longer than the ${config.proxy.maxBody} bytes that the proxy forwards`)
}

function pathIn(url: string): string {
  const query = url.indexOf('?')
  return query < 0 ? url : url.slice(0, query)
}

const CLIENT_CLOSED = 499

/** Forwards a request that is allowed. Resolves with the status when its answer is written, with 499 when the client is gone. */
async function forward(proxy: Proxy, c: Context<GatewayEnv>, { target, does }: Asking, decision: Decision): Promise<number> {
  const { services, upstream } = proxy
  const { incoming, outgoing } = c.env
  const { timeoutMs, maxBody } = services.config.proxy
  if (outgoing.destroyed) return CLIENT_CLOSED
  const path = upstream.pathOf(target.path) + target.query
  const method = incoming.method as string
  const said: Record<string, string> = { 'x-meshguard-origin': 'upstream' }
  announce(decision, said)
  if (services.config.corsOrigin !== undefined) shareWithOrigin(c, said)
  const headers = forwardedHeaders(proxy, c, does, decision)
  const started = performance.now()
  const exchange = new Exchange(outgoing, { headers: said, timeoutMs })
  admitBody(c)
  const body = hasBody(incoming) ? new RequestBody(incoming, maxBody) : null
  upstream.pool.dispatch({ path, method, headers, body }, exchange)
  const traceId = c.get('traceId')
  try {
    const { status = CLIENT_CLOSED, error } = await exchange.ended
    if (error !== undefined) services.log.warn({ err: error, traceId }, 'an answer of the upstream broke off')
    services.metrics.proxied(status, (performance.now() - started) / 1000)
    return status
  } catch (error) {
    if (!(error instanceof RequestError)) throw error
    services.metrics.proxied(error.status, (performance.now() - started) / 1000)
    if (error.status >= 500) services.log.warn({ err: error.cause, traceId }, error.message)
    throw error
  }
}

/** What CORS has said of this request goes with the upstream's answer, which is not written through Hono. */
function shareWithOrigin(c: Context<GatewayEnv>, headers: Record<string, string>): void {
  for (const [name, value] of c.res.headers) if (name.startsWith('access-control-') || name === 'vary') headers[name] = value
}

/** The headers for the upstream: those of the client that pass, and what the gateway says of who does what. */
function forwardedHeaders(
  { filter }: Proxy,
  c: Context<GatewayEnv>,
  does: ProxyAction | undefined,
  decision: Decision,
): string[] {
  const { rawHeaders, headers: given } = c.env.incoming
  const traceId = c.get('traceId')
  const ip = c.get('ip')
  const headers = filter(rawHeaders)
  const parent = given['traceparent'] as string | undefined
  const state = given['tracestate'] as string | undefined
  if (given['content-length'] !== undefined) headers.push('content-length', given['content-length'])
  if (decision.agentId !== undefined) headers.push('x-meshguard-agent-id', decision.agentId)
  if (does !== undefined) headers.push('x-meshguard-action', does.action, 'x-meshguard-resource', does.resource as string)
  headers.push('x-meshguard-decision', 'allow', 'x-meshguard-trace-id', traceId)
  headers.push('traceparent', traceparentOf(parent, traceId), 'x-forwarded-for', ip, 'via', '1.1 meshguard')
  if (state !== undefined && isTraceparent(parent)) headers.push('tracestate', state)
  return headers
}
