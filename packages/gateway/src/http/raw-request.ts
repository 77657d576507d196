import type { IncomingMessage } from 'node:http'
import { RequestError } from './errors.js'

const MAX_HEADERS = 100
const MAX_PATH = 2048

/**
 * What a request may not be, whatever it asks for: more than 100 headers, a target that is not a path, no Host, two Host or
 * Authorization headers, or one control header twice, in whatever spelling. One pass over the headers as they came.
 *
 * @throws RequestError 400, 401, 414, 431.
 */
export function checkRawRequest({ url = '', rawHeaders, headers, httpVersion, httpVersionMajor }: IncomingMessage): void {
  if (httpVersionMajor !== 1) throw new RequestError(400, 'bad_request', 'The request is not HTTP/1')
  if (rawHeaders.length > 2 * MAX_HEADERS) {
    throw new RequestError(431, 'too_many_headers', `A request has at most ${MAX_HEADERS} headers`)
  }
  if (pathLengthOf(url) > MAX_PATH) throw new RequestError(414, 'uri_too_long', `A path has at most ${MAX_PATH} characters`)
  if (url.charCodeAt(0) !== SLASH || url.includes('#')) {
    throw new RequestError(400, 'bad_request', 'The request target must be a path, and nothing else')
  }
  if (headers.host === undefined && httpVersion !== '1.0')
    throw new RequestError(400, 'bad_request', 'The header host is missing')
  const coding = headers['transfer-encoding']
  if (coding !== undefined && coding.toLowerCase() !== 'chunked') {
    throw new RequestError(400, 'bad_request', 'The only transfer coding that is understood is chunked')
  }
  if (headers.upgrade !== undefined) throw new RequestError(400, 'bad_request', 'Upgrades are not supported')
  checkDuplicates(rawHeaders)
}

const SLASH = 47
const LOWER_H = 104
const LOWER_A = 97
const LOWER_X = 120

function pathLengthOf(url: string): number {
  const query = url.indexOf('?')
  return query < 0 ? url.length : query
}

function checkDuplicates(rawHeaders: readonly string[]): void {
  let hosts = 0
  let authorizations = 0
  let controls: string[] | undefined
  for (let i = 0; i < rawHeaders.length; i += 2) {
    const name = rawHeaders[i] as string
    const first = name.charCodeAt(0) | 32
    if (first === LOWER_X) {
      const control = controlNameOf(name)
      if (control === undefined) continue
      if (controls?.includes(control)) throw new RequestError(400, 'bad_request', `The header ${control} was sent twice`)
      controls ??= []
      controls.push(control)
    } else if (first === LOWER_H && name.length === 4) {
      if (name.toLowerCase() === 'host' && ++hosts > 1)
        throw new RequestError(400, 'bad_request', 'The header host was sent twice')
    } else if (first === LOWER_A && name.length === 13) {
      if (name.toLowerCase() === 'authorization' && ++authorizations > 1) {
        throw new RequestError(401, 'unauthorized', 'Invalid or expired token', { headers: { 'www-authenticate': CHALLENGE } })
      }
    }
  }
}

const CHALLENGE = 'Bearer realm="meshguard", error="invalid_token"'

/**
 * The name that a header controls MeshGuard by, however it is spelled: proxies and CGI take `_` and `.` for `-`. `undefined` for
 * any other header.
 */
function controlNameOf(name: string): string | undefined {
  const lower = name.toLowerCase().replace(/[._]/g, '-')
  return lower.startsWith('x-meshguard-') || lower === 'x-admin-token' ? lower : undefined
}
