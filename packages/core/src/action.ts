/** Actions (`verb:object`) and how they are derived from a route's registered pattern. */

const MAX_ACTION = 256
const ACTION = /^[!-)+-9;-~]+:[!-)+-~]+$/

/**
 * Whether a string is an action: `verb:object`, at most 256 characters of printable ASCII without spaces, a non-empty verb
 * before the first `:`, a non-empty object after it, and no `*` anywhere.
 *
 * @example
 * ```ts
 * isAction('read:contacts') // true
 * isAction('read:*') // false: that is a pattern
 * ```
 */
export function isAction(action: unknown): action is string {
  return typeof action === 'string' && action.length <= MAX_ACTION && ACTION.test(action)
}

const checking = new WeakSet<object>()

/** Marks a source's `decide` as one that refuses what is not an action, so that it is not looked at twice. */
export function checksActions<F extends object>(decide: F): F {
  checking.add(decide)
  return decide
}

/** Whether a source's `decide` was marked by {@link checksActions}. */
export function doesCheckActions(decide: object): boolean {
  return checking.has(decide)
}

/**
 * Returns the action, for use where one is written in code.
 *
 * @throws TypeError when it is not an action; the message says what one looks like.
 */
export function assertAction(action: unknown): string {
  if (isAction(action)) return action
  throw new TypeError(
    `${JSON.stringify(action)} is not an action. Write verb:object, like "read:contacts": printable ASCII, no spaces, no "*", at most ${MAX_ACTION} characters.`,
  )
}

const VERBS: ReadonlyMap<string, string> = new Map([
  ['GET', 'read'],
  ['HEAD', 'read'],
  ['POST', 'write'],
  ['PUT', 'write'],
  ['PATCH', 'write'],
  ['DELETE', 'delete'],
])

/** The methods that an action can be derived for. */
export const MAPPED_METHODS: readonly string[] = [...VERBS.keys()]

/** The path prefixes that are dropped before an action is derived, unless an adapter is told otherwise. */
export const DEFAULT_PREFIX: readonly string[] = ['/api']

/** A route, as {@link deriveAction} needs it. */
export interface DerivableRoute {
  /** `GET`, `HEAD`, `POST`, `PUT`, `PATCH` or `DELETE`; any other method is unmapped. */
  readonly method: string
  /** The full registered pattern: segments that are text, `:name`, `*name`, or an optional `:name?` or `*name?`. */
  readonly pattern: string
  /** Dropped from the front, the longest that fits. Default `['/api']`. */
  readonly prefix?: readonly string[] | undefined
}

/**
 * The action of a route: `GET /api/v1/orgs/:org/contacts/:id` is `read:orgs/contacts`.
 *
 * The prefix goes, then one leading version segment (`v1`, `v2beta1`), then every segment that holds a parameter; the rest is
 * the object. `GET /` is `read:/`.
 *
 * @returns `undefined` for a route that is unmapped: another method, a pattern without text, or one that cannot be read. An
 * unmapped route is denied.
 *
 * @example
 * ```ts
 * deriveAction({ method: 'DELETE', pattern: '/api/contacts/:id' }) // 'delete:contacts'
 * ```
 */
export function deriveAction({ method, pattern, prefix = DEFAULT_PREFIX }: DerivableRoute): string | undefined {
  const verb = VERBS.get(method)
  const segments = parsePattern(pattern)
  if (verb === undefined || segments === undefined) return undefined
  const objects = dropPrefix(segments, prefix).filter((segment) => segment.params.length === 0)
  if (objects.length === 0 && segments.length > 0) return undefined
  const action = `${verb}:${objects.length === 0 ? '/' : objects.map((segment) => segment.source).join('/')}`
  return isAction(action) ? action : undefined
}

/** The parameters of one request, decoded once by the framework. A wildcard is a list of segments, or one string with `/`. */
export type Params = Readonly<Record<string, string | readonly string[] | undefined>>

/** A route and its parameters, as {@link resourceOf} needs them. */
export interface ParameterisedRoute {
  readonly pattern: string
  readonly params?: Params | undefined
  readonly prefix?: readonly string[] | undefined
}

/**
 * The resource of a request: the same path that the action is derived from, with the parameters put back, each
 * percent-encoded, so that two different requests never share one: `orgs/acme/contacts/42`.
 *
 * @returns `undefined` when the pattern cannot be read, or a parameter is empty, `.`, `..`, longer than 256 characters or
 * holds a control character; the adapters answer such a request 400.
 *
 * @example
 * ```ts
 * resourceOf({ pattern: '/contacts/:id', params: { id: 'a/b' } }) // 'contacts/a%2Fb'
 * ```
 */
export function resourceOf({ pattern, params = {}, prefix = DEFAULT_PREFIX }: ParameterisedRoute): string | undefined {
  return compileResource(pattern, prefix)?.(params)
}

/**
 * Reads a pattern once, for many requests: what {@link resourceOf} does, as a function of the parameters. `undefined` for a
 * pattern that cannot be read.
 */
export function compileResource(
  pattern: string,
  prefix: readonly string[] = DEFAULT_PREFIX,
): ((params: Params) => string | undefined) | undefined {
  const parsed = parsePattern(pattern)
  if (parsed === undefined) return undefined
  const segments = dropPrefix(parsed, prefix)
  const dropped = parsed.slice(0, parsed.length - segments.length)
  if (parsed.every((segment) => segment.params.length === 0)) {
    const resource = segments.map((segment) => segment.source).join('/') || '/'
    return () => resource
  }
  const checked = dropped.some((segment) => segment.params.length > 0) ? parsed : segments
  return (params) => {
    let resource = ''
    for (const segment of checked) {
      const value = segment.params.length === 0 ? segment.source : fillSegment(segment, params)
      if (value === undefined) return undefined
      if (value !== '') resource = resource === '' ? value : `${resource}/${value}`
    }
    return resource || '/'
  }
}

/** One segment of a pattern: text and parameters in turn, `tokens[odd]` being parameters. */
interface Segment {
  readonly source: string
  readonly params: readonly Parameter[]
  /** Text before, between and behind the parameters; one longer than `params`. */
  readonly texts: readonly string[]
}

interface Parameter {
  readonly name: string
  readonly wildcard: boolean
  /** It may be missing, and its segment with it. */
  readonly optional: boolean
}

const PARAMETER = /([:*])([A-Za-z_$][\w$]*)(\?$)?/g
/** Printable ASCII without the characters that frameworks give a meaning of their own. */
const TEXT = /^[!"#$%&',\-.;<=>@^_`|~\w]*$/
const MAX_PATTERN = 2048

/** The names of the parameters in a pattern, or `undefined` if it cannot be read. */
export function paramNames(pattern: string): string[] | undefined {
  return parsePattern(pattern)?.flatMap((segment) => segment.params.map((param) => param.name))
}

/** A pattern's segments, or `undefined` for one that is not canonical: non-ASCII, over-long, with groups or expressions. */
function parsePattern(pattern: string): Segment[] | undefined {
  if (typeof pattern !== 'string' || pattern.length > MAX_PATTERN || !pattern.startsWith('/')) return undefined
  const segments = pattern.split('/').filter(Boolean).map(parseSegment)
  return segments.every((segment) => segment !== undefined) ? segments : undefined
}

function parseSegment(source: string): Segment | undefined {
  const params: Parameter[] = []
  const texts: string[] = []
  let from = 0
  for (const match of source.matchAll(PARAMETER)) {
    texts.push(source.slice(from, match.index))
    params.push({ name: match[2] as string, wildcard: match[1] === '*', optional: match[3] !== undefined })
    from = match.index + match[0].length
  }
  texts.push(source.slice(from))
  const whole = params.length === 1 && texts.every((text) => text === '')
  const readable = texts.every((text) => TEXT.test(text)) && (whole || !params.some((param) => param.optional))
  return readable ? { source, params, texts } : undefined
}

const VERSION = /^v\d+(?:[a-z]+\d*)?$/

function dropPrefix(segments: readonly Segment[], prefixes: readonly string[]): readonly Segment[] {
  const sources = segments.map((segment) => segment.source)
  const fitting = prefixes
    .map((prefix) => prefix.split('/').filter(Boolean))
    .filter((parts) => parts.every((part, i) => part === sources[i]))
  const longest = Math.max(0, ...fitting.map((parts) => parts.length))
  return segments.slice(VERSION.test(sources[longest] ?? '') ? longest + 1 : longest)
}

const MAX_PARAM = 256

/** The segment with its parameters put back; `''` when it is only an optional parameter that is not there. */
function fillSegment(segment: Segment, params: Params): string | undefined {
  let filled = segment.texts[0] as string
  for (let i = 0; i < segment.params.length; i++) {
    const { name, wildcard, optional } = segment.params[i] as Parameter
    const value = Object.hasOwn(params, name) ? params[name] : undefined
    if (value === undefined) return optional ? '' : undefined
    const encoded = wildcard ? encodeSegments(value) : encodeParam(value)
    if (encoded === undefined) return undefined
    filled += encoded + segment.texts[i + 1]
  }
  return filled
}

function encodeSegments(value: string | readonly string[]): string | undefined {
  const parts = typeof value === 'string' ? value.split('/') : value
  if (parts.reduce((length, part) => length + part.length, 0) > 2048) return undefined
  const encoded = parts.map(encodeParam)
  return encoded.every((one) => one !== undefined) ? encoded.join('/') : undefined
}

const PLAIN = /^[A-Za-z0-9_-]+$/

function encodeParam(value: string | readonly string[]): string | undefined {
  if (typeof value !== 'string' || value.length > MAX_PARAM) return undefined
  if (PLAIN.test(value)) return value
  if (value === '' || value === '.' || value === '..' || /\p{Cc}/u.test(value)) return undefined
  return value.isWellFormed() ? encodeURIComponent(value) : undefined
}
