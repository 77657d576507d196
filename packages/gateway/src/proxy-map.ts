import { readFileSync } from 'node:fs'
import { type Issue, isAction } from '@meshguard/core'

/** Methods that a route of the proxy can be declared for; HEAD is its GET route. */
const METHODS: ReadonlySet<string> = new Set(['GET', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS', 'ALL'])
const MAX_PATTERN = 2048
const MAX_ROUTES = 10_000

/**
 * Reads the file of `PROXY_ROUTES`: `{"GET /api/contacts/:id": "read:contacts"}`. What is wrong is added to `issues`.
 *
 * @returns `METHOD pattern` to action.
 */
export function readRoutesFile(file: string, issues: Issue[]): ReadonlyMap<string, string> {
  const fail = (why: string): ReadonlyMap<string, string> => {
    issues.push({ path: ['PROXY_ROUTES'], message: `PROXY_ROUTES: ${JSON.stringify(file)} ${why}` })
    return new Map()
  }
  let routes: unknown
  try {
    routes = JSON.parse(readFileSync(file, 'utf8'))
  } catch (error) {
    return fail(`cannot be read: ${(error as Error).message}`)
  }
  if (typeof routes !== 'object' || routes === null || Array.isArray(routes)) {
    return fail('must hold a JSON object of "METHOD /pattern" and action')
  }
  return checkRoutes(Object.entries(routes), 'PROXY_ROUTES', issues)
}

/** Checks the routes of the proxy. What is wrong is added to `issues`, under the name that the routes were given by. */
export function checkRoutes(
  entries: readonly (readonly [string, unknown])[],
  name: string,
  issues: Issue[],
): ReadonlyMap<string, string> {
  const shapes = new Map<string, string>()
  const add = (key: string, why: string) =>
    issues.push({ path: [name, key], message: `${name}: ${JSON.stringify(key.slice(0, 200))} ${why}` })
  if (entries.length > MAX_ROUTES) issues.push({ path: [name], message: `${name}: holds more than ${MAX_ROUTES} routes` })
  for (const [key, action] of entries) {
    const space = key.indexOf(' ')
    const [method, pattern] = [key.slice(0, space), key.slice(space + 1)]
    const problem = patternProblem(pattern)
    const shape = `${method} ${shapeOf(pattern)}`
    if (space < 0 || !METHODS.has(method)) add(key, `must begin with one of ${[...METHODS].join(', ')} and a space`)
    else if (problem !== undefined) add(key, problem)
    else if (shapes.has(shape)) add(key, `matches the same paths as ${JSON.stringify(shapes.get(shape))}`)
    else if (!isAction(action)) add(key, `must map to an action like "read:contacts", not ${JSON.stringify(action)}`)
    shapes.set(shape, key)
  }
  return new Map(entries as readonly (readonly [string, string])[])
}

/** What is wrong with a pattern, in words: segments are text, `:name`, or `*name` at the end. */
function patternProblem(pattern: string): string | undefined {
  if (!pattern.startsWith('/') || pattern.length > MAX_PATTERN)
    return `must name a path from "/", of at most ${MAX_PATTERN} characters`
  const segments = pattern === '/' ? [] : pattern.slice(1).split('/')
  const names = segments.filter((segment) => /^[:*]/.test(segment)).map((segment) => segment.slice(1))
  const wrong = segments.find(
    (segment) => !/^(?:[:*][A-Za-z_]\w*|[A-Za-z0-9\-._~!$&'()+,=@][A-Za-z0-9\-._~!$&'()+,=:@]*)$/.test(segment),
  )
  if (wrong !== undefined) return `has a segment ${JSON.stringify(wrong)}; write text, :name, or *name at the end`
  if (segments.some((segment) => segment === '.' || segment === '..')) return 'has a segment of dots'
  if (segments.slice(0, -1).some((segment) => segment.startsWith('*'))) return 'has a *name that is not at the end'
  return new Set(names).size < names.length ? 'has two parameters of one name' : undefined
}

/** Equal for patterns that match the same paths. */
function shapeOf(pattern: string): string {
  return pattern.replace(/\/([:*])\w+/g, '/$1')
}
