/** Requests of an agent: checks, and calls through the proxy. */
import { type Issue, isAction, ValidationError } from '@meshguard/core'
import { assertOptions } from '@meshguard/core/http'
import type { Asked } from './answers.js'
import type { Gateway } from './gateway.js'
import type { CheckOptions, ProxyOptions } from './options.js'
import type { GatewayRequest } from './transport.js'

/** A request, and what an answer to it is about. */
export interface AgentRequest {
  readonly request: GatewayRequest
  readonly asked: Asked
}

const MAX_CONTEXT = 4096
const CHECK_OPTIONS = ['signal', 'timeoutMs', 'traceId', 'resource', 'context']
const PROXY_OPTIONS = [...CHECK_OPTIONS, 'action', 'json', 'body', 'headers']

/**
 * `GET /proxy/check`.
 *
 * @throws ValidationError for what no gateway would take, AuthenticationError without a token, TypeError for an option
 * that nobody knows, or text in its place: nothing is sent then.
 */
export function checkRequest(gateway: Gateway, action: string, options: CheckOptions): AgentRequest {
  assertOptions('MeshGuardClient: check', options, CHECK_OPTIONS)
  const traceId = gateway.traceId(options)
  const headers = gateway.agentHeaders(traceId)
  declare(headers, { ...options, action }, traceId)
  const request = { method: 'GET', path: '/proxy/check', headers, options, safe: true }
  return { request, asked: { action, resource: options.resource, traceId } }
}

/**
 * A call through `/proxy/`.
 *
 * @throws ValidationError for a path that would leave the proxy or a bad declaration, TypeError for `json` beside `body`, or an
 * option that nobody knows.
 */
export function proxyRequest(gateway: Gateway, method: string, path: string, options: ProxyOptions): AgentRequest {
  assertOptions(`MeshGuardClient: ${method.toLowerCase()}`, options, PROXY_OPTIONS)
  const traceId = gateway.traceId(options)
  const headers = gateway.agentHeaders(traceId, options.headers)
  declare(headers, options, traceId)
  const body = bodyOf(options, headers)
  const safe = ['GET', 'HEAD'].includes(method) && body === undefined
  const request = { method, path: `/proxy/${proxied(path, traceId)}`, headers, body, options, safe }
  return { request, asked: { action: options.action ?? '', resource: options.resource, traceId } }
}

/** Says in headers what the agent is about to do. */
function declare(headers: Headers, { action, resource, context }: ProxyOptions, traceId: string): void {
  const issues: Issue[] = []
  const set = (name: string, value: string) => headers.set(`x-meshguard-${name}`, value)
  if (action !== undefined) {
    if (isAction(action)) set('action', action)
    else
      issues.push({
        message: `${JSON.stringify(action)} is not an action: write verb:object, like read:contacts`,
        path: ['action'],
      })
  }
  if (resource !== undefined) {
    if (/^[\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?$/.test(resource)) set('resource', resource)
    else issues.push({ message: 'A resource is printable ASCII: encode the rest with encodeURIComponent', path: ['resource'] })
  }
  if (context !== undefined) {
    const json = asciiJson(context)
    if (json.length <= MAX_CONTEXT) set('context', json)
    else
      issues.push({ message: `A context is at most ${MAX_CONTEXT} bytes of JSON, this one ${json.length}`, path: ['context'] })
  }
  if (issues.length > 0) throw new ValidationError(issues, { traceId })
}

/** JSON that a header can hold: everything outside ASCII escaped. */
function asciiJson(value: unknown): string {
  return JSON.stringify(value).replace(/[\x7f-\uffff]/g, (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`)
}

function bodyOf({ json, body }: ProxyOptions, headers: Headers): BodyInit | null | undefined {
  if (json === undefined) return body
  if (body !== undefined) throw new TypeError('MeshGuardClient: give "json" or "body", not both')
  if (!headers.has('content-type')) headers.set('content-type', 'application/json')
  return JSON.stringify(json)
}

/** What `fetch` would read as another path than the one that is written here, and the one path that the gateway keeps. */
function proxied(path: string, traceId: string): string {
  const relative = path.replace(/^\/+/, '')
  const [way = ''] = relative.split('?')
  // biome-ignore lint/suspicious/noControlCharactersInRegex: these are what fetch drops from a URL without a word
  const isMisread = /[\\#\x00-\x1f]/.test(relative) || way.split('/').some((part) => /^(\.|%2e){1,2}$/i.test(part))
  if (!isMisread && way !== 'check') return relative
  const message = `${JSON.stringify(path)} is no path behind the proxy: no ".", "..", "\\", "#" or control characters, and not "check"`
  throw new ValidationError([{ message, path: ['path'] }], { traceId })
}
