import { type Check, type Decision, UnavailableError } from '@meshguard/core'
import { errorOf as errorOfDecision } from '@meshguard/core/http'
import { checkRequest, proxyRequest } from './agent-requests.js'
import { decisionOf, errorOf, objectOf } from './answers.js'
import { OperatorClient } from './operator-client.js'
import type { CallOptions, CheckOptions, ProxyOptions } from './options.js'
import type { GatewayInfo, Health } from './records.js'
import { readAnswer } from './transport.js'

/** A block that is governed: it was begun because the action was allowed. */
export interface GovernedScope extends AsyncDisposable {
  /** Stays usable after the block. */
  readonly decision: Decision
}

type Work<T> = (decision: Decision) => T | Promise<T>

/** How many checks of `checkMany` wait for an answer at a time. */
const CHECKS_AT_A_TIME = 8

/**
 * A gateway, for the agents that ask it and the operators that run it. Runs on Node and wherever there is `fetch`.
 *
 * Errors are those of `@meshguard/core`: `AuthenticationError`, `PolicyDeniedError`, `RateLimitError`, `ValidationError`,
 * `UnavailableError` with `ConnectionError` below it, all of them a `MeshGuardError`. They never hold a token.
 *
 * @example
 * ```ts
 * const client = new MeshGuardClient({ gatewayUrl: 'http://127.0.0.1:3100', agentToken })
 * const decision = await client.check('read:contacts', { resource: 'contacts/42' })
 * if (decision.allowed) console.log(`allowed by ${decision.policy}`)
 * const contacts = await (await client.get('/api/contacts', { action: 'read:contacts' })).json()
 * await client.close()
 * ```
 */
export class MeshGuardClient extends OperatorClient {
  /**
   * The decision, a denial and an exhausted limit included.
   *
   * @throws AuthenticationError for a token that is missing or not good, ValidationError for what is not an action,
   * ConnectionError or UnavailableError when there is no decision to be had.
   *
   * @example
   * ```ts
   * const { allowed, reason, traceId } = await client.check('write:email', { context: { to: 'ada@example.com' } })
   * ```
   */
  async check(action: string, options: CheckOptions = {}): Promise<Decision> {
    const { request, asked } = checkRequest(this.gateway, action, options)
    return decisionOf(await this.gateway.transport.ask(request), asked)
  }

  /**
   * The decision if it allows.
   *
   * @throws PolicyDeniedError or RateLimitError for one that does not, and what `check` throws.
   *
   * @example
   * ```ts
   * try {
   *   await client.enforce('delete:database')
   * } catch (error) {
   *   if (error instanceof PolicyDeniedError) console.log(error.reason, error.traceId)
   * }
   * ```
   */
  async enforce(action: string, options: CheckOptions = {}): Promise<Decision> {
    const decision = await this.check(action, options)
    if (!decision.allowed) throw errorOfDecision(decision, true)
    return decision
  }

  /**
   * Enforces, then runs the function and resolves with what it returned. Without a function it governs a block.
   *
   * @throws what `enforce` throws, and what the function throws.
   *
   * @example
   * ```ts
   * const contacts = await client.govern('read:contacts', ({ traceId }) => load(traceId))
   * {
   *   await using scope = await client.govern('write:email')
   *   await send(scope.decision.traceId)
   * }
   * ```
   */
  govern<T>(action: string, work: Work<T>, options?: CheckOptions): Promise<T>
  govern(action: string, options?: CheckOptions): Promise<GovernedScope>
  async govern<T>(action: string, work?: Work<T> | CheckOptions, options?: CheckOptions): Promise<T | GovernedScope> {
    if (typeof work === 'function') return work(await this.enforce(action, options))
    const decision = await this.enforce(action, work)
    return { decision, [Symbol.asyncDispose]: async () => {} }
  }

  /**
   * The decisions on many actions, in order, a few at a time. Each is a check of its own; who has a service token and needs one
   * version of the policies for all of them asks `guard.checkMany` over `fromGateway`. Rejects like `check` when one of them
   * cannot be had.
   *
   * @example
   * ```ts
   * const [read, write] = await client.checkMany([{ action: 'read:contacts' }, { action: 'write:contacts' }])
   * ```
   */
  async checkMany(checks: readonly Check[], options: CallOptions = {}): Promise<Decision[]> {
    const decisions: Decision[] = []
    const left = checks.entries()
    const work = async () => {
      for (const [i, { action, resource, context }] of left) {
        decisions[i] = await this.check(action, { ...options, resource, context })
      }
    }
    await Promise.all(Array.from({ length: Math.min(CHECKS_AT_A_TIME, checks.length) }, work))
    return decisions
  }

  /**
   * GET through the proxy. See {@link request}.
   *
   * @example
   * ```ts
   * const response = await client.get('/api/contacts?limit=10', { action: 'read:contacts' })
   * ```
   */
  async get(path: string, options: ProxyOptions = {}): Promise<Response> {
    return this.request('GET', path, options)
  }

  /**
   * POST through the proxy. See {@link request}.
   *
   * @example
   * ```ts
   * await client.post('/api/contacts', { action: 'write:contacts', json: { name: 'Ada' } })
   * ```
   */
  async post(path: string, options: ProxyOptions = {}): Promise<Response> {
    return this.request('POST', path, options)
  }

  /** PUT through the proxy. See {@link request}. */
  async put(path: string, options: ProxyOptions = {}): Promise<Response> {
    return this.request('PUT', path, options)
  }

  /** PATCH through the proxy. See {@link request}. */
  async patch(path: string, options: ProxyOptions = {}): Promise<Response> {
    return this.request('PATCH', path, options)
  }

  /** DELETE through the proxy. See {@link request}. */
  async delete(path: string, options: ProxyOptions = {}): Promise<Response> {
    return this.request('DELETE', path, options)
  }

  /**
   * Calls the API behind the gateway's proxy. Resolves with a standard `Response` as soon as its headers are there, whatever
   * its status: an upstream's own 401, 403 or 5xx is its answer. Redirects are not followed.
   *
   * @param path Behind `/proxy/`, with its query: `/api/contacts?limit=10`.
   * @throws the errors of `enforce` when the gateway itself refused (`X-MeshGuard-Origin: gateway`), TypeError for `json`
   * beside `body`.
   *
   * @example
   * ```ts
   * const response = await client.request('POST', '/api/reports', { action: 'write:reports', body: stream })
   * for await (const chunk of response.body ?? []) console.log(chunk.length)
   * ```
   */
  async request(method: string, path: string, options: ProxyOptions = {}): Promise<Response> {
    const { request, asked } = proxyRequest(this.gateway, method.toUpperCase(), path, options)
    const response = await this.gateway.transport.open(request)
    if (response.status < 400 || response.headers.get('x-meshguard-origin') !== 'gateway') return response
    throw errorOf(await readAnswer(response), asked)
  }

  /**
   * How the gateway is, also when it is not well. Needs no token.
   *
   * @throws ConnectionError when nobody answers, UnavailableError when it is no gateway that does.
   */
  async health(options: CallOptions = {}): Promise<Health> {
    return this.#anonymous('/health', 'status', options)
  }

  /** Whether the gateway answers and is `healthy`. Rejects for an aborted signal alone. */
  async isHealthy(options: CallOptions = {}): Promise<boolean> {
    try {
      return (await this.health(options)).status === 'healthy'
    } catch (error) {
      if (options.signal?.aborted) throw error
      return false
    }
  }

  /** What the gateway says of itself: its name, version and mode. Needs no token. */
  async info(options: CallOptions = {}): Promise<GatewayInfo> {
    return this.#anonymous('/', 'version', options)
  }

  /** Ends the calls that wait for an answer and the streams of the audit log, and refuses new ones. */
  async close(): Promise<void> {
    this.gateway.transport.close()
  }

  /** For `await using client = new MeshGuardClient()`. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  async #anonymous<T>(path: string, member: string, options: CallOptions): Promise<T> {
    const traceId = this.gateway.traceId(options)
    const headers = new Headers({ accept: 'application/json', 'x-meshguard-trace-id': traceId })
    const request = { method: 'GET', path, headers, options, safe: true }
    const body = objectOf(await this.gateway.transport.ask(request))
    if (typeof body[member] !== 'string')
      throw new UnavailableError(`What answers has no "${member}". Is it a MeshGuard gateway?`)
    return body as T
  }
}
