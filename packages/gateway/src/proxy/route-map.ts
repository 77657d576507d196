import type { Params } from '@meshguard/core'
import { compileResource } from '@meshguard/core/http'
import { type ActionOf, encodeText } from './proxy-action.js'

/** One line of `PROXY_ROUTES`, read once. */
interface MappedRoute {
  readonly action: string
  readonly pattern: string
  readonly segments: readonly string[]
  readonly resource: ((params: Params) => string | undefined) | undefined
}

/** The methods that a route for `ALL` answers for. */
const METHODS: ReadonlySet<string> = new Set(['GET', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS'])

/**
 * Looks actions up in `PROXY_ROUTES`, whose lines were checked when the configuration was read. Of several routes that match the
 * most specific counts, segment by segment from the left: text, then `:name`, then `*name`, whatever their order in the file.
 * A route for `ALL` counts where none of the method itself matches; HEAD is its GET route. Anything else is unmapped.
 */
export function mappedActions(routes: ReadonlyMap<string, string>): ActionOf {
  const byMethod = new Map<string, MappedRoute[]>()
  for (const [key, action] of routes) {
    const [method = '', pattern = ''] = key.split(' ')
    const route = { action, pattern, segments: pattern.slice(1).split('/'), resource: compileResource(literally(pattern)) }
    byMethod.set(method, [...(byMethod.get(method) ?? []), route])
  }
  for (const list of byMethod.values()) list.sort(bySpecificity)
  return (method, segments) => {
    const asked = method === 'HEAD' ? 'GET' : method
    return METHODS.has(asked) ? (find(byMethod.get(asked), segments) ?? find(byMethod.get('ALL'), segments)) : undefined
  }
}

/** The pattern with its text written as core wants it, so that nothing in it is read as a parameter. */
function literally(pattern: string): string {
  const segments = pattern.split('/')
  return segments.map((segment) => (isParameter(segment) ? segment : encodeText(segment))).join('/')
}

function isParameter(segment: string): boolean {
  return segment.startsWith(':') || segment.startsWith('*')
}

function bySpecificity(a: MappedRoute, b: MappedRoute): number {
  for (let i = 0; i < Math.min(a.segments.length, b.segments.length); i++) {
    const difference = rankOf(a.segments[i]) - rankOf(b.segments[i])
    if (difference !== 0) return difference
  }
  return b.segments.length - a.segments.length
}

function rankOf(segment = ''): number {
  if (segment.startsWith('*')) return 2
  return segment.startsWith(':') ? 1 : 0
}

function find(routes: readonly MappedRoute[] | undefined, segments: readonly string[]): ReturnType<ActionOf> {
  for (const route of routes ?? []) {
    const params = match(route.segments, segments)
    if (params !== undefined) return { action: route.action, resource: route.resource?.(params), route: route.pattern }
  }
  return undefined
}

/** The parameters, if every segment fits. A `*name` takes at least one segment. */
function match(pattern: readonly string[], segments: readonly string[]): Params | undefined {
  const last = pattern.at(-1) as string
  const wild = last.startsWith('*')
  if (wild ? segments.length < pattern.length : segments.length !== pattern.length) return undefined
  const params: Record<string, string | readonly string[]> = {}
  for (const [i, part] of pattern.entries()) {
    const segment = segments[i] as string
    if (part.startsWith('*')) params[part.slice(1)] = segments.slice(i)
    else if (!part.startsWith(':')) {
      if (part !== segment) return undefined
    } else if (segment === '') return undefined
    else params[part.slice(1)] = segment
  }
  return params
}
