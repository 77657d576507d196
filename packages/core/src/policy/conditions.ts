import { parseTier, TIER_SPELLINGS } from '../agent.js'
import { isObject } from '../options.js'
import type { Literal } from './document.js'
import { hintAt, type Path, type Report, unknown } from './issues.js'
import { globProblem } from './pattern.js'
import { clockOf, DAYS, dateOf, rangeOf, type TimeRange } from './time.js'

/** One test of one attribute, or of the time. All conditions of a rule must hold. */
export type Condition = AttributeCondition | TimeCondition

/** Operators on what a path leads to; all must hold. */
export interface AttributeCondition {
  readonly path: string
  readonly tests: readonly OperatorTest[]
}

/** An operator and what it compares with. A list literal is `in`, any other `equals`. */
export interface OperatorTest {
  readonly operator: Operator
  readonly operand: Literal | readonly Literal[]
}

/** A range of time. */
export interface TimeCondition {
  readonly path: 'time'
  readonly range: TimeRange
}

/** Everything an attribute can be asked. */
export type Operator =
  | 'equals'
  | 'notEquals'
  | 'in'
  | 'notIn'
  | 'startsWith'
  | 'endsWith'
  | 'contains'
  | 'matches'
  | 'notMatches'
  | 'gt'
  | 'gte'
  | 'lt'
  | 'lte'
  | 'exists'

/** Says what is wrong with an operand, or nothing. */
type Complaint = (operand: unknown) => string | undefined

const LITERAL = wants(isLiteral, 'a string, number, boolean or null')
const LITERALS = wants(isLiterals, 'a list of strings, numbers, booleans or nulls')
const TEXT = wants(isText, 'a string or a list of strings')
const ORDERED = wants(isOrdered, 'a number, or a date like 2026-01-31 or 2026-01-31T09:00:00Z')

const OPERATORS: ReadonlyMap<string, Complaint> = new Map<Operator, Complaint>([
  ['equals', LITERAL],
  ['notEquals', LITERAL],
  ['in', LITERALS],
  ['notIn', LITERALS],
  ['startsWith', TEXT],
  ['endsWith', TEXT],
  ['contains', wants((value) => isLiteral(value) || isLiterals(value), 'a string, number, boolean or null, or a list of them')],
  ['matches', globs],
  ['notMatches', globs],
  ['gt', ORDERED],
  ['gte', ORDERED],
  ['lt', ORDERED],
  ['lte', ORDERED],
  ['exists', wants((value) => typeof value === 'boolean', 'true or false')],
])
const OPERATOR_NAMES: readonly string[] = [...OPERATORS.keys()]

const PATHS: readonly string[] = [
  ...['resource', 'agent.id', 'agent.name', 'agent.trustTier', 'agent.tags'],
  ...['request.method', 'request.route', 'request.ip', 'time', 'context'],
]
const FAMILY = /^(?:context|agent\.metadata)\./
const MAX_CONDITIONS = 16

/** Reads the conditions of a rule, reporting everything that is wrong with them. What it returns then is of no use. */
export function readConditions(value: unknown, report: Report): Condition[] {
  const entries = entriesOf(value, report, 'expected tests by their paths, like { resource: "reports/7" }').flatMap(
    ([path, test]) => flatten(path, test, report),
  )
  if (entries.length > MAX_CONDITIONS) report([], `a rule has at most ${MAX_CONDITIONS} conditions, this one ${entries.length}`)
  const seen = new Set<string>()
  const conditions = entries.map(({ path, test, at }): Condition => {
    const here: Report = (below, message) => report([...at, ...below], message)
    if (seen.has(path)) here([], `"${path}" is tested twice`)
    seen.add(path)
    return path === 'time' ? { path, range: readTime(test, here) } : readAttribute(path, test, here)
  })
  return conditions.sort((a, b) => (a.path < b.path ? -1 : 1))
}

/** The keys and values of an object that holds some. */
function entriesOf(value: unknown, report: Report, expected: string): [key: string, value: unknown][] {
  const entries = isObject(value) ? Object.entries(value) : []
  if (entries.length === 0) report([], isObject(value) ? `is empty; ${expected}` : expected)
  return entries
}

interface Entry {
  readonly path: string
  readonly test: unknown
  readonly at: Path
}

/** `context: { amount: … }` becomes `context.amount: …`. */
function flatten(path: string, test: unknown, report: Report): Entry[] {
  const here: Report = (below, message) => report([path, ...below], message)
  if (path !== 'context') return isPath(path, here) ? [{ path, test, at: [path] }] : []
  return entriesOf(test, here, 'expected tests by their keys, like { amount: { lte: 100 } }').flatMap(([key, nested]) => {
    if (key !== '' && !key.includes('.')) return [{ path: `context.${key}`, test: nested, at: [path, key] }]
    here([key], `"${key}" is not one key; write the whole path, like "context.user.name", beside the others`)
    return []
  })
}

function isPath(path: string, report: Report): boolean {
  const isFamily = FAMILY.test(path)
  if (PATHS.includes(path) || (isFamily && !path.split('.').includes(''))) return true
  report(
    [],
    isFamily ? `"${path}" holds an empty key` : unknown('path', path, [...PATHS, 'context.<key>', 'agent.metadata.<key>']),
  )
  return false
}

function readAttribute(path: string, test: unknown, report: Report): AttributeCondition {
  const tests = isObject(test) ? readOperators(test, report) : [readShort(test, report)]
  if (path === 'agent.tags') checkTags(tests, report)
  return { path, tests: path === 'agent.trustTier' ? tests.map((one) => normaliseTier(one, report)) : tests }
}

const A_TEST = 'expected a test: a value, a list of values, or operators like { startsWith: "reports/" }'

function readShort(test: unknown, report: Report): OperatorTest {
  if (isLiterals(test)) return { operator: 'in', operand: test }
  if (!isLiteral(test))
    report([], Array.isArray(test) ? 'expected a list with strings, numbers, booleans or nulls in it' : A_TEST)
  return { operator: 'equals', operand: test as Literal }
}

function readOperators(test: object, report: Report): OperatorTest[] {
  return entriesOf(test, report, A_TEST).map(([operator, operand]) => {
    const complain = OPERATORS.get(operator)
    const problem = complain === undefined ? unknown('operator', operator, OPERATOR_NAMES) : complain(operand)
    if (problem !== undefined) report([operator], problem)
    return { operator: operator as Operator, operand: operand as Literal }
  })
}

function checkTags(tests: readonly OperatorTest[], report: Report): void {
  for (const { operator } of tests) {
    if (operator === 'contains' || operator === 'exists' || !OPERATORS.has(operator)) continue
    report([], `agent.tags is a list, which ${operator} cannot compare; use { contains: "…" }`)
  }
}

/** Operators whose operand, on `agent.trustTier`, is a tier. */
const TIER_OPERATORS: readonly Operator[] = ['equals', 'notEquals', 'in', 'notIn']

function normaliseTier(test: OperatorTest, report: Report): OperatorTest {
  const { operator, operand } = test
  if (!TIER_OPERATORS.includes(operator)) return test
  const tiers = [operand].flat().map((spelling) => {
    const tier = parseTier(spelling)
    if (tier === undefined) report([], `${JSON.stringify(spelling)} is not a trust tier. ${hintAt(spelling, TIER_SPELLINGS)}`)
    return tier ?? ''
  })
  return { operator, operand: Array.isArray(operand) ? tiers : (tiers[0] ?? '') }
}

const TIME_KEYS: readonly string[] = ['between', 'timezone', 'days']

function readTime(value: unknown, report: Report): TimeRange {
  const given = isObject(value) ? value : {}
  for (const key of Object.keys(given)) if (!TIME_KEYS.includes(key)) report([key], unknown('key', key, TIME_KEYS))
  const { between, timezone = 'UTC', days } = given
  if (between === undefined && days === undefined) {
    report([], 'expected between, days or both, like { between: "09:00-18:00", timezone: "Europe/Berlin", days: [mon, tue] }')
  }
  const range = typeof between === 'string' ? rangeOf(between) : undefined
  if (between !== undefined && range === undefined)
    report(['between'], 'expected two different times of day, like "09:00-18:00"')
  if (typeof timezone !== 'string' || clockOf(timezone) === undefined) {
    report(['timezone'], `${JSON.stringify(timezone)} is not the name of a time zone, like "Europe/Berlin"`)
  }
  return { ...range, ...(days !== undefined && { days: readDays(days, report) }), timezone: timezone as string }
}

function readDays(days: unknown, report: Report): number[] {
  const list: unknown[] = Array.isArray(days) ? days : []
  if (list.length === 0) report(['days'], `expected a list of ${DAYS.join(', ')}`)
  return list.map((day, i) => {
    const number = DAYS.indexOf(day as string)
    if (number < 0) report(['days', i], `${JSON.stringify(day)} is not a day; there are ${DAYS.join(', ')}`)
    return number
  })
}

function wants(is: (operand: unknown) => boolean, words: string): Complaint {
  return (operand) => (is(operand) ? undefined : `expected ${words}`)
}

function globs(operand: unknown): string | undefined {
  return isText(operand) ? [operand].flat().map(globProblem).find(Boolean) : 'expected a pattern or a list of patterns'
}

function isLiteral(value: unknown): value is Literal {
  return typeof value === 'number' ? Number.isFinite(value) : value === null || ['string', 'boolean'].includes(typeof value)
}

function isLiterals(value: unknown): value is Literal[] {
  return Array.isArray(value) && value.length > 0 && value.every(isLiteral)
}

function isText(value: unknown): value is string | string[] {
  return typeof value === 'string' || (isLiterals(value) && value.every((one) => typeof one === 'string'))
}

function isOrdered(value: unknown): boolean {
  return typeof value === 'string' ? dateOf(value) !== undefined : typeof value === 'number' && Number.isFinite(value)
}
