import { AuthenticationError, UnavailableError, ValidationError } from '@meshguard/core'
import { isTraceId, newTraceId } from '@meshguard/core/http'
import { errorOf, objectOf } from './answers.js'
import type { CallOptions } from './options.js'
import type { Settings } from './settings.js'
import { type GatewayRequest, readAnswer, Transport } from './transport.js'

/** What a request carries. */
export interface Content {
  readonly json?: unknown
  readonly body?: BodyInit | undefined
  readonly headers?: Readonly<Record<string, string | undefined>> | undefined
}

/** The gateway as its operator sees it, and what every request to it has. */
export class Gateway {
  readonly transport: Transport
  readonly #settings: Settings

  constructor(settings: Settings) {
    this.#settings = settings
    this.transport = new Transport(settings)
  }

  get timeoutMs(): number {
    return this.#settings.timeoutMs
  }

  /** The trace ID of one call: a new one in place of what no gateway would take. */
  traceId({ traceId = this.#settings.traceId }: CallOptions): string {
    return isTraceId(traceId) ? traceId : newTraceId()
  }

  /** @throws AuthenticationError when the client has no agent's token. */
  agentHeaders(traceId: string, headers?: HeadersInit): Headers {
    const { agentToken } = this.#settings
    if (agentToken === undefined) throw missing('agentToken', 'MESHGUARD_AGENT_TOKEN', traceId)
    const all = new Headers(headers)
    all.set('authorization', `Bearer ${agentToken}`)
    all.set('x-meshguard-trace-id', traceId)
    return all
  }

  /**
   * Asks the administration; resolves with the JSON object of the answer, an empty one for an empty answer.
   *
   * @throws the error of what the gateway answered instead.
   */
  async operate(
    method: string,
    path: string,
    options: CallOptions,
    content: Content = {},
  ): Promise<Readonly<Record<string, unknown>>> {
    const request = this.#operatorRequest(method, path, options, content)
    const answer = await this.transport.ask(request)
    if (answer.status < 200 || answer.status >= 300) throw errorOf(answer, askedBy(request))
    return answer.text === '' ? {} : objectOf(answer)
  }

  /** As {@link operate}, for an answer that is streamed. */
  async operateStream(path: string, options: CallOptions, content: Content): Promise<ReadableStream<Uint8Array>> {
    const request = this.#operatorRequest('GET', path, options, content)
    const response = await this.transport.open(request)
    if (response.status !== 200) throw errorOf(await readAnswer(response), askedBy(request))
    if (response.body === null) throw new UnavailableError('The gateway answered with nothing to read')
    return response.body
  }

  #operatorRequest(method: string, path: string, options: CallOptions, content: Content): GatewayRequest {
    const traceId = this.traceId(options)
    const { adminToken } = this.#settings
    if (adminToken === undefined) throw missing('adminToken', 'MESHGUARD_ADMIN_TOKEN', traceId)
    const headers = new Headers({ 'x-admin-token': adminToken, 'x-meshguard-trace-id': traceId })
    if (content.json !== undefined) headers.set('content-type', 'application/json')
    for (const [name, value] of Object.entries(content.headers ?? {})) if (value !== undefined) headers.set(name, value)
    const body = content.json === undefined ? content.body : JSON.stringify(content.json)
    return { method, path, headers, body, options, safe: method === 'GET' }
  }
}

/** What an error says of a request that asked for no action. */
export function askedBy({ headers }: GatewayRequest) {
  return { action: '', traceId: headers.get('x-meshguard-trace-id') ?? '' }
}

function missing(option: string, name: string, traceId: string): AuthenticationError {
  return new AuthenticationError(`This call needs ${option}: give the option, or set ${name}`, { traceId, sentToken: false })
}

/** One segment of a path: what would lead somewhere else is refused. */
export function segment(what: string, value: string): string {
  const encoded = typeof value === 'string' && value.isWellFormed() ? encodeURIComponent(value) : ''
  if (encoded !== '' && encoded !== '.' && encoded !== '..') return encoded
  throw new ValidationError([{ message: `${JSON.stringify(value)} is no ${what}`, path: [] }])
}

/** `?a=1&b=2` of what is there; times as ISO 8601. */
export function query(parameters: Readonly<Record<string, string | number | Date | undefined>>): string {
  const search = new URLSearchParams()
  for (const [name, value] of Object.entries(parameters)) {
    if (value !== undefined) search.set(name, value instanceof Date ? value.toISOString() : String(value))
  }
  return search.size === 0 ? '' : `?${search}`
}

/** The list in a member of an answer. */
export function listIn<T>(body: Readonly<Record<string, unknown>>, member: string): T[] {
  const list = body[member]
  if (Array.isArray(list)) return list as T[]
  throw new UnavailableError(`The gateway's answer has no list "${member}"`)
}
