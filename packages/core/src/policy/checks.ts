import { tierOf } from '../agent.js'
import type { DecisionRequest } from '../types.js'
import type { Condition, OperatorTest } from './conditions.js'
import type { Literal } from './document.js'
import { matchesGlob } from './pattern.js'
import { clockOf, dateOf, inRange, type TimeRange } from './time.js'

/** What a test can come to. *Unknown* keeps an allow from matching and does not keep a deny from it. */
export const FALSE = 0
export const TRUE = 1
export const UNKNOWN = 2
export type Outcome = typeof FALSE | typeof TRUE | typeof UNKNOWN

/** A condition made ready: compiled once, asked for every request. */
export type Check = (request: DecisionRequest, now: number) => Outcome

type Reader = (request: DecisionRequest) => unknown
type Compare = (value: unknown) => Outcome

/** Longer strings are unknown to the operators that search in them. */
const MAX_SEARCHED = 8192

/** Makes a condition ready. */
export function compileCondition(condition: Condition): Check {
  if ('range' in condition) return timeCheck(condition.range)
  const { path, tests } = condition
  const read = readerOf(path)
  const compares = tests.map((test) => comparison(path, test))
  const [only] = compares
  if (compares.length === 1 && only !== undefined) return (request) => only(read(request))
  return (request) => {
    const value = read(request)
    let outcome: Outcome = TRUE
    for (let i = 0; i < compares.length; i++) {
      const one = (compares[i] as Compare)(value)
      if (one === FALSE) return FALSE
      if (one === UNKNOWN) outcome = UNKNOWN
    }
    return outcome
  }
}

/** False if any check is false, otherwise unknown if any is unknown, otherwise true. */
export function outcomeOf(checks: readonly Check[], request: DecisionRequest, now: number): Outcome {
  let outcome: Outcome = TRUE
  for (let i = 0; i < checks.length; i++) {
    const one = (checks[i] as Check)(request, now)
    if (one === FALSE) return FALSE
    if (one === UNKNOWN) outcome = UNKNOWN
  }
  return outcome
}

function timeCheck(range: TimeRange): Check {
  const clock = clockOf(range.timezone)
  return (_request, now) => {
    const minute = clock?.(now)
    if (minute === undefined) return UNKNOWN
    return inRange(range, minute) ? TRUE : FALSE
  }
}

function comparison(path: string, test: OperatorTest): Compare {
  const compare = compareWith(test)
  return path === 'resource' && test.operator !== 'exists' ? (value) => compare(clearResource(value)) : compare
}

/** Reads what a path leads to; `undefined` if it is not there. */
function readerOf(path: string): Reader {
  switch (path) {
    case 'resource':
      return (request) => request.resource
    case 'agent.id':
      return (request) => request.agent?.id
    case 'agent.name':
      return (request) => request.agent?.name
    case 'agent.trustTier':
      return (request) => request.agent && tierOf(request.agent)
    case 'agent.tags':
      return (request) => request.agent?.tags
    case 'request.method':
      return (request) => request.request?.method
    case 'request.route':
      return (request) => request.request?.route
    case 'request.ip':
      return (request) => request.request?.ip
  }
  const keys = path.split('.')
  if (keys[0] === 'context') return (request) => dig(request.context, keys, 1)
  return (request) => dig(request.agent?.metadata, keys, 2)
}

/** Own keys of objects only: no prototype, no index of a list, no length. */
function dig(root: unknown, keys: readonly string[], from: number): unknown {
  let value = root
  for (let i = from; i < keys.length; i++) {
    const key = keys[i] as string
    if (typeof value !== 'object' || value === null || Array.isArray(value) || !Object.hasOwn(value, key)) return undefined
    value = (value as Readonly<Record<string, unknown>>)[key]
  }
  return value
}

/** What a spelling that means another resource must hold: most hold none of these and are told by one look. */
const SUSPECT = /[.\\%\0]/
const DOT_SEGMENT = /(?:^|\/)\.\.?(?:\/|$)/
const ENCODED = /%(?:2e|2f|5c)/i

/** The resource, or `undefined` for one that could mean another than it says: dot segments, backslashes, NUL, encoded ones. */
function clearResource(resource: unknown): unknown {
  if (typeof resource !== 'string' || !SUSPECT.test(resource)) return resource
  if (resource.includes('\\') || resource.includes('\0')) return undefined
  return DOT_SEGMENT.test(resource) || ENCODED.test(resource) ? undefined : resource
}

function compareWith({ operator, operand }: OperatorTest): Compare {
  const list: readonly Literal[] = Array.isArray(operand) ? operand : [operand as Literal]
  switch (operator) {
    case 'equals':
    case 'in':
      return among(list)
    case 'notEquals':
    case 'notIn':
      return not(among(list))
    case 'startsWith':
      return anyText(list, (text, one) => text.startsWith(one))
    case 'endsWith':
      return anyText(list, (text, one) => text.endsWith(one))
    case 'contains':
      return contains(list)
    case 'matches':
      return anyText(list, (text, glob) => matchesGlob(glob, text, true))
    case 'notMatches':
      return not(anyText(list, (text, glob) => matchesGlob(glob, text, true)))
    case 'exists':
      return (value) => ((value !== undefined) === operand ? TRUE : FALSE)
    default:
      return ordered(operator, list[0] as number | string)
  }
}

function not(compare: Compare): Compare {
  return (value) => {
    const outcome = compare(value)
    if (outcome === UNKNOWN) return UNKNOWN
    return outcome === TRUE ? FALSE : TRUE
  }
}

/** The types that can be compared; `undefined` for everything else, which is unknown. */
function typeOf(value: unknown): string | undefined {
  if (value === null) return 'null'
  const type = typeof value
  if (type === 'string' || type === 'boolean') return type
  return type === 'number' && !Number.isNaN(value) ? type : undefined
}

function among(list: readonly Literal[]): Compare {
  const values: ReadonlySet<unknown> = new Set(list)
  const types: ReadonlySet<string | undefined> = new Set(list.map(typeOf))
  return (value) => {
    if (values.has(value)) return TRUE
    return types.has(typeOf(value)) ? FALSE : UNKNOWN
  }
}

function anyText(list: readonly Literal[], test: (text: string, one: string) => boolean): Compare {
  const texts = list.filter((one) => typeof one === 'string')
  return (value) => {
    if (typeof value !== 'string' || value.length > MAX_SEARCHED || texts.length === 0) return UNKNOWN
    for (let i = 0; i < texts.length; i++) if (test(value, texts[i] as string)) return TRUE
    return FALSE
  }
}

/** Part of a string, or member of a list. A list with an element that cannot be compared is unknown, unless a member is found. */
function contains(list: readonly Literal[]): Compare {
  const inText = anyText(list, (text, one) => text.includes(one))
  const isMember = among(list)
  return (value) => {
    if (!Array.isArray(value)) return inText(value)
    let outcome: Outcome = FALSE
    for (let i = 0; i < value.length; i++) {
      const one = isMember(value[i])
      if (one === TRUE) return TRUE
      if (one === UNKNOWN) outcome = UNKNOWN
    }
    return outcome
  }
}

type Ordering = 'gt' | 'gte' | 'lt' | 'lte'

/** Numbers with numbers and dates with dates. */
function ordered(operator: Ordering, operand: number | string): Compare {
  const bound = typeof operand === 'string' ? dateOf(operand) : operand
  const read = typeof operand === 'string' ? dateIn : numberIn
  return (value) => {
    const at = read(value)
    if (at === undefined || bound === undefined) return UNKNOWN
    return isOrdered(operator, at, bound) ? TRUE : FALSE
  }
}

function isOrdered(operator: Ordering, at: number, bound: number): boolean {
  if (operator === 'gt') return at > bound
  if (operator === 'gte') return at >= bound
  return operator === 'lt' ? at < bound : at <= bound
}

function dateIn(value: unknown): number | undefined {
  return typeof value === 'string' ? dateOf(value) : undefined
}

function numberIn(value: unknown): number | undefined {
  return typeof value === 'number' && !Number.isNaN(value) ? value : undefined
}
