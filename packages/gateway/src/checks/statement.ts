import type { IncomingHttpHeaders } from 'node:http'
import { badRequest } from '../http/errors.js'
import { parseJson } from '../http/read-json.js'

/** What an agent states of its own request, in headers. */
export interface Statement {
  readonly action: string | undefined
  readonly resource: string | undefined
  readonly context: Readonly<Record<string, unknown>> | undefined
}

const MAX_RESOURCE = 2048
const MAX_CONTEXT = 4096

/**
 * Reads `X-MeshGuard-Action`, `-Resource` and `-Context`. Whether the action is one is left to the guard.
 *
 * @throws RequestError 400 for a resource over 2 048 characters, and for a context over 4 KiB that is no JSON object, is nested
 * more than 8 deep or has a key `__proto__`, `constructor` or `prototype`.
 */
export function statementOf(headers: IncomingHttpHeaders): Statement {
  const action = headers['x-meshguard-action'] as string | undefined
  const resource = headers['x-meshguard-resource'] as string | undefined
  const context = headers['x-meshguard-context'] as string | undefined
  return {
    action: action === undefined ? undefined : textOf(action),
    resource: resource === undefined || resource === '' ? undefined : resourceOf(resource),
    context: context === undefined || context === '' ? undefined : contextOf(context),
  }
}

function resourceOf(header: string): string {
  const resource = textOf(header)
  if (resource.length > MAX_RESOURCE) throw headerError('X-MeshGuard-Resource', `is longer than ${MAX_RESOURCE} characters`)
  return resource
}

function contextOf(header: string): Readonly<Record<string, unknown>> {
  if (header.length > MAX_CONTEXT) throw headerError('X-MeshGuard-Context', `is longer than ${MAX_CONTEXT} bytes`)
  const context = parseJson(textOf(header), undefined, 'X-MeshGuard-Context')
  if (typeof context !== 'object' || context === null || Array.isArray(context)) {
    throw headerError('X-MeshGuard-Context', 'is not a JSON object')
  }
  return context as Readonly<Record<string, unknown>>
}

function headerError(name: string, message: string) {
  return badRequest(`${name} ${message}`, [{ path: name, message }])
}

const ASCII = /^[\x20-\x7e]*$/
const utf8 = new TextDecoder('utf-8', { fatal: true })

/** Node reads header bytes as Latin-1. Clients write UTF-8 (Go) or Latin-1 (Python): what is valid UTF-8 is taken for that. */
function textOf(header: string): string {
  if (ASCII.test(header)) return header
  try {
    return utf8.decode(Buffer.from(header, 'latin1'))
  } catch {
    return header
  }
}
