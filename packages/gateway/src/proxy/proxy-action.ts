import { deriveAction, type Params } from '@meshguard/core'
import { compileResource } from '@meshguard/core/http'

/** What a request to the proxy does, and to what. */
export interface ProxyAction {
  readonly action: string
  /** `undefined` where a parameter is too long to be part of one. */
  readonly resource: string | undefined
  /** The pattern that the path was taken for. */
  readonly route: string
}

/** Tells the action of a method and the decoded segments of a canonical path; `undefined` is unmapped. */
export type ActionOf = (method: string, segments: readonly string[]) => ProxyAction | undefined

/** A pattern that was read. */
interface Known {
  readonly action: string | undefined
  readonly resource: ((params: Params) => string | undefined) | undefined
}

const MAX_KNOWN = 1000

/**
 * Derives actions as the adapters do, for an upstream whose routes nobody knows: a segment of digits alone, or a UUID, counts as
 * a parameter, and everything else is text. `PUT /api/records/123` is `write:records` on `records/123`.
 *
 * Text is taken decoded and written percent-encoded in one way, so that `%65xport` is `export` here as it is for the upstream.
 */
export function derivedActions(): ActionOf {
  const known = new Map<string, Known>()
  return (method, segments) => {
    const { pattern, params } = patternOf(segments)
    const key = `${method} ${pattern}`
    let read = known.get(key)
    if (read === undefined) {
      read = { action: deriveAction({ method, pattern }), resource: compileResource(pattern) }
      if (known.size >= MAX_KNOWN) known.clear()
      known.set(key, read)
    }
    const { action, resource } = read
    return action === undefined ? undefined : { action, resource: resource?.(params), route: pattern }
  }
}

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i
const DIGITS = /^\d+$/

/** The pattern of which a path could be a request, and its parameters: `:id`, `:id2`, … */
function patternOf(segments: readonly string[]): { pattern: string; params: Params } {
  const params: Record<string, string> = {}
  let pattern = ''
  let count = 0
  for (const segment of segments) {
    if (!DIGITS.test(segment) && !UUID.test(segment)) {
      pattern += `/${encodeText(segment)}`
      continue
    }
    count++
    const name = count === 1 ? 'id' : `id${count}`
    params[name] = segment
    pattern += `/:${name}`
  }
  return { pattern, params }
}

const UNRESERVED = /^[\w.~-]*$/

/** Text as it stands in an action or a resource: nothing in it is a parameter, a group or a wildcard. */
export function encodeText(text: string): string {
  if (UNRESERVED.test(text)) return text
  return encodeURIComponent(text).replace(/[()*]/g, (one) => `%${one.charCodeAt(0).toString(16).toUpperCase()}`)
}
