import { isAction } from '../action.js'
import { assertAgent, isAgent } from '../agent.js'
import { agentBehind } from '../conclude.js'
import { AuthenticationError, messageOf } from '../errors.js'
import type { Guard } from '../guard.js'
import { beforeDeadline, isPromise } from '../settle.js'
import { isTraceId, newTraceId, traceIdOfParent } from '../trace.js'
import type { Agent, Code, Decision, DecisionRequest, Mode, RequestInfo } from '../types.js'
import type { CoreOptions } from './options.js'
import { exposedHeaders, type Outcome, PREFLIGHT, type RequestReader, refusalOf } from './outcome.js'
import { methodOfRoute, type RouteCheck, type RouteMethod } from './route.js'

/**
 * One check under way. It is the question (`DecisionRequest`) and the way to ask it (`DecideOptions`) in one object, since
 * there is one of each a request.
 */
export class Call<R> implements DecisionRequest {
  action = ''
  agent: Agent | undefined = undefined
  token: string | undefined = undefined
  resource: string | undefined = undefined
  context: Readonly<Record<string, unknown>> | undefined = undefined
  request: RequestInfo
  readonly traceId: string
  readonly mode: Mode | undefined
  /** In ms since the epoch; set when something had to be waited for. */
  deadline: number | undefined = undefined
  /** What is left of the time-out while nothing of the guard's is waited for; in ms. */
  #left: number | undefined = undefined
  verified = false
  /** A credential was sent, good or bad. */
  sentToken = false
  /** Set when the outcome is known early. */
  outcome: Outcome | undefined = undefined

  constructor(
    readonly guard: Guard,
    readonly route: RouteCheck<R>,
    readonly of: RouteMethod<R>,
    readonly native: R,
    readonly reader: RequestReader<R>,
    readonly options: CoreOptions<R>,
  ) {
    this.request = of.info
    this.traceId = traceIdOf(native, reader)
    this.mode = route.own?.mode
    if (typeof of.action === 'string') this.action = of.action
  }

  get signal(): AbortSignal | undefined {
    return this.reader.signal?.(this.native)
  }

  waitUntil(promise: Promise<unknown>): void {
    this.reader.waitUntil?.(this.native, promise)
  }

  /** Stops the time-out between the halves of a check, where a body may be read. */
  pause(): void {
    if (this.deadline !== undefined) this.#left = this.deadline - Date.now()
  }

  resume(): void {
    if (this.#left !== undefined) this.deadline = Date.now() + this.#left
    this.#left = undefined
  }

  /** The outcome of a denial that no source was asked about. */
  refuse(code: Code, reason: string): Outcome {
    return this.conclude(this.guard.refuse(this, code, reason, this))
  }

  conclude(decision: Decision): Outcome {
    const agent = this.agent ?? agentBehind(decision)
    if (decision.allowed) return { pass: true, decision, agent }
    const { disclose, exposeDecision } = this.options
    const refusal = refusalOf(decision, this.sentToken, disclose, this.reader.header(this.native, 'accept'))
    return {
      ...refusal,
      agent,
      headers: exposeDecision ? { ...refusal.headers, ...exposedHeaders(decision) } : refusal.headers,
    }
  }
}

/** Begins a check: reads the trace ID, tells a CORS preflight, finds out who calls. The promise never rejects. */
export function identify<R>(
  guard: Guard,
  route: RouteCheck<R>,
  native: R,
  reader: RequestReader<R>,
  options: CoreOptions<R>,
): Call<R> | Promise<Call<R>> {
  const method = reader.method(native)
  const of = methodOfRoute(route, method)
  const call = new Call(
    guard,
    route,
    method === 'OPTIONS' && !of.declared ? { ...of, action: undefined } : of,
    native,
    reader,
    options,
  )
  if (method === 'OPTIONS' && route.facts.method === 'OPTIONS' && !of.declared && isPreflight(native, reader)) {
    call.outcome = PREFLIGHT
    return call
  }
  const addressed = readAddress(call)
  return isPromise(addressed) ? addressed.then(authenticate) : authenticate(addressed)
}

/** Finds out the client's address. The promise never rejects. */
export function readAddress<R>(call: Call<R>): Call<R> | Promise<Call<R>> {
  const { options, reader, native } = call
  if (options.ip === undefined && reader.ip === undefined) return call
  return attempt(call, 'The address', () => (options.ip === undefined ? reader.ip?.(native) : options.ip(native)), setAddress)
}

function setAddress<R>(call: Call<R>, ip: string | null | undefined): Call<R> {
  if (typeof ip === 'string') call.request = { method: call.of.info.method, route: call.of.info.route, ip }
  else if (ip !== undefined && ip !== null)
    call.outcome = call.refuse('unavailable', 'The address of the client is not a string')
  return call
}

function authenticate<R>(call: Call<R>): Call<R> | Promise<Call<R>> {
  if (call.outcome !== undefined) return call
  const { credentials } = call.options
  if (credentials === undefined) return withToken(call, call.reader.header(call.native, 'authorization'))
  return attempt(call, 'The credentials', () => credentials(call.native), withCredential)
}

/** Goes on with a check whose caller is known. Never throws, and the promise never rejects. */
export function decideCall<R>(call: Call<R>): Outcome | Promise<Outcome> {
  const failed = (error: unknown) => call.refuse('unavailable', `The check: ${messageOf(error, 'failed')}`)
  try {
    const outcome = withCaller(call)
    return isPromise(outcome) ? outcome.catch(failed) : outcome
  } catch (error) {
    return failed(error)
  }
}

function withCaller<R>(call: Call<R>): Outcome | Promise<Outcome> {
  if (call.outcome !== undefined) return call.outcome
  const { action } = call.of
  if (action === undefined) return call.refuse('unmapped', 'The route has no action')
  if (typeof action === 'string') return withAction(call)
  const found = attempt(
    call,
    'The action',
    () => action(call.native),
    (found, name: string) => {
      if (isAction(name)) found.action = name
      else found.outcome = found.refuse('invalid_action', 'The request names no action of the form verb:object')
      return found
    },
  )
  return isPromise(found) ? found.then(withAction) : withAction(found)
}

function withAction<R>(call: Call<R>): Outcome | Promise<Outcome> {
  if (call.outcome !== undefined) return call.outcome
  const { own, resource } = call.route
  if (own?.resource !== undefined) {
    const said = own.resource
    if (typeof said === 'string') call.resource = said
    else {
      const ready = attempt(call, 'The resource', () => said(call.native), setResource)
      if (isPromise(ready)) return ready.then(withResource)
    }
  } else if (resource !== undefined) {
    call.resource = resource(call.reader.params(call.native))
    if (call.resource === undefined)
      return call.refuse('invalid_action', 'A parameter of the path is empty, too long or malformed')
  }
  return withResource(call)
}

function withResource<R>(call: Call<R>): Outcome | Promise<Outcome> {
  if (call.outcome !== undefined) return call.outcome
  const context = call.route.own?.context ?? call.options.context
  if (context === undefined) return ask(call)
  const ready = attempt(call, 'The context', () => context(call.native), setContext)
  return isPromise(ready) ? ready.then(ask) : ask(ready)
}

function setResource<R>(call: Call<R>, resource: string): Call<R> {
  if (typeof resource === 'string') call.resource = resource
  else call.outcome = call.refuse('unavailable', 'The resource of the route is not a string')
  return call
}

function setContext<R>(call: Call<R>, context: Readonly<Record<string, unknown>>): Call<R> {
  call.context = context
  return call
}

function ask<R>(call: Call<R>): Outcome | Promise<Outcome> {
  if (call.outcome !== undefined) return call.outcome
  const decision = call.guard.decide(call, call)
  return isPromise(decision) ? decision.then((settled) => call.conclude(settled)) : call.conclude(decision)
}

/** Runs a callback of the application. What it throws is a denial; what it is waited for counts towards the deadline. */
function attempt<R, T>(
  call: Call<R>,
  what: string,
  run: () => T | Promise<T>,
  then: (call: Call<R>, value: T) => Call<R> | Promise<Call<R>>,
): Call<R> | Promise<Call<R>> {
  const failed = (error: unknown) => {
    const code = error instanceof AuthenticationError ? 'unauthenticated' : 'unavailable'
    call.outcome = call.refuse(code, `${what}: ${messageOf(error, 'failed')}`)
    return call
  }
  try {
    const value = run()
    if (!isPromise(value)) return then(call, value)
    call.deadline ??= Date.now() + call.guard.timeoutMs
    return beforeDeadline(value, call.deadline, what, call.signal)
      .then((settled) => then(call, settled))
      .catch(failed)
  } catch (error) {
    return failed(error)
  }
}

function withCredential<R>(call: Call<R>, credential: string | Agent | undefined): Call<R> | Promise<Call<R>> {
  if (credential === undefined || credential === null) return withoutCredential(call)
  if (typeof credential === 'string') return withBearer(call, credential)
  call.sentToken = true
  if (isAgent(credential)) call.agent = credential
  else call.outcome = call.refuse('unauthenticated', 'The credentials are neither a token nor a well-formed agent')
  return call
}

function withToken<R>(call: Call<R>, authorization: string | undefined): Call<R> | Promise<Call<R>> {
  if (authorization === undefined) return withoutCredential(call)
  const token = bearerOf(authorization)
  if (token !== undefined) return withBearer(call, token)
  call.sentToken = true
  call.outcome = call.refuse('unauthenticated', 'The Authorization header is not one Bearer token')
  return call
}

function withoutCredential<R>(call: Call<R>): Call<R> {
  if ((call.mode ?? call.guard.mode) !== 'bypass') call.outcome = call.refuse('unauthenticated', 'No credential was presented')
  return call
}

function withBearer<R>(call: Call<R>, token: string): Call<R> | Promise<Call<R>> {
  call.sentToken = true
  call.token = token
  const { authenticate } = call.guard
  return authenticate === undefined ? call : attempt(call, 'The token', () => authenticate(token), setAgent)
}

function setAgent<R>(call: Call<R>, agent: Agent): Call<R> {
  call.agent = assertAgent(agent)
  call.verified = true
  return call
}

/** The token of one `Bearer` credential (RFC 6750). Two that were joined hold a comma and are none. */
export function bearerOf(authorization: string): string | undefined {
  if (authorization.length < 8 || authorization.slice(0, 7).toLowerCase() !== 'bearer ') return undefined
  const token = authorization.slice(7).trim()
  return token === '' || token.includes(' ') || token.includes(',') ? undefined : token
}

/** A CORS preflight as a browser sends it (Fetch standard, 4.8): it asks for a method, and says for whom. */
export function isPreflight<R>(native: R, reader: RequestReader<R>): boolean {
  return reader.header(native, 'origin') !== undefined && reader.header(native, 'access-control-request-method') !== undefined
}

const TRACE_HEADERS = ['x-meshguard-trace-id', 'x-trace-id']

/** The caller's own trace ID if it is well formed, otherwise a new one. */
function traceIdOf<R>(native: R, reader: RequestReader<R>): string {
  for (const name of TRACE_HEADERS) {
    const own = reader.header(native, name)
    if (isTraceId(own)) return own
  }
  const parent = reader.header(native, 'traceparent')
  return (parent === undefined ? undefined : traceIdOfParent(parent)) ?? newTraceId()
}
