import { parseTier, TIER_SPELLINGS } from '../agent.js'
import type { Literal } from './document.js'
import { didYouMean, type Path, type Report } from './issues.js'
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

const OPERATORS: ReadonlyMap<string, Complaint> = new Map<Operator, Complaint>([
  ['equals', wants(isLiteral, 'a string, number, boolean or null')],
  ['notEquals', wants(isLiteral, 'a string, number, boolean or null')],
  ['in', wants(isLiterals, 'a list of strings, numbers, booleans or nulls')],
  ['notIn', wants(isLiterals, 'a list of strings, numbers, booleans or nulls')],
  ['startsWith', wants(isText, 'a string or a list of strings')],
  ['endsWith', wants(isText, 'a string or a list of strings')],
  ['contains', wants((value) => isLiteral(value) || isLiterals(value), 'a string, number, boolean or null, or a list of them')],
  ['matches', globs],
  ['notMatches', globs],
  ['gt', wants(isOrdered, 'a number, or a date like 2026-01-31 or 2026-01-31T09:00:00Z')],
  ['gte', wants(isOrdered, 'a number, or a date like 2026-01-31 or 2026-01-31T09:00:00Z')],
  ['lt', wants(isOrdered, 'a number, or a date like 2026-01-31 or 2026-01-31T09:00:00Z')],
  ['lte', wants(isOrdered, 'a number, or a date like 2026-01-31 or 2026-01-31T09:00:00Z')],
  ['exists', wants((value) => typeof value === 'boolean', 'true or false')],
])

const PATHS: readonly string[] = [
  ...['resource', 'agent.id', 'agent.name', 'agent.trustTier', 'agent.tags'],
  ...['request.method', 'request.route', 'request.ip', 'time', 'context'],
]
const FAMILIES: readonly string[] = ['context.', 'agent.metadata.']
const MAX_CONDITIONS = 16

/** Reads the conditions of a rule, reporting everything that is wrong with them. What it returns then is of no use. */
export function readConditions(value: unknown, report: Report): Condition[] {
  if (!isObject(value)) {
    report([], 'expected tests by their paths, like { resource: "reports/7" }')
    return []
  }
  const entries = Object.entries(value).flatMap(([path, test]) => flatten(path, test, report))
  if (Object.keys(value).length === 0) report([], 'is empty; leave it out, or name what must hold')
  if (entries.length > MAX_CONDITIONS) report([], `a rule has at most ${MAX_CONDITIONS} conditions, this one ${entries.length}`)
  const seen = new Set<string>()
  const conditions: Condition[] = []
  for (const { path, test, at } of entries) {
    if (seen.has(path)) report(at, `"${path}" is tested twice`)
    seen.add(path)
    const here: Report = (below, message) => report([...at, ...below], message)
    conditions.push(path === 'time' ? { path, range: readTime(test, here) } : readAttribute(path, test, here))
  }
  return conditions.sort((a, b) => (a.path < b.path ? -1 : 1))
}

interface Entry {
  readonly path: string
  readonly test: unknown
  readonly at: Path
}

/** `context: { amount: … }` becomes `context.amount: …`. */
function flatten(path: string, test: unknown, report: Report): Entry[] {
  if (path !== 'context') return isPath(path, report) ? [{ path, test, at: [path] }] : []
  if (!isObject(test) || Object.keys(test).length === 0) {
    report([path], 'expected tests by their keys, like { amount: { lte: 100 } }')
    return []
  }
  return Object.entries(test).flatMap(([key, nested]) => {
    if (key !== '' && !key.includes('.')) return [{ path: `context.${key}`, test: nested, at: [path, key] }]
    report([path, key], `"${key}" is not one key; write the whole path, like "context.user.name", beside the others`)
    return []
  })
}

function isPath(path: string, report: Report): boolean {
  if (PATHS.includes(path)) return true
  const family = FAMILIES.find((prefix) => path.startsWith(prefix))
  if (family === undefined) {
    const others = `${PATHS.slice(0, -1).join(', ')}, context.<key> and agent.metadata.<key>`
    report([path], `Unknown path "${path}". ${didYouMean(path, PATHS) ?? `There are ${others}.`}`)
  } else if (path.slice(family.length).split('.').includes('')) {
    report([path], `"${path}" holds an empty key`)
  } else {
    return true
  }
  return false
}

function readAttribute(path: string, test: unknown, report: Report): AttributeCondition {
  const tests = isObject(test) ? readOperators(test, report) : [readShort(test, report)]
  if (path === 'agent.tags') tests.forEach(checkTags(report))
  return { path, tests: path === 'agent.trustTier' ? tests.map((one) => normaliseTier(one, report)) : tests }
}

function readShort(test: unknown, report: Report): OperatorTest {
  if (isLiterals(test)) return { operator: 'in', operand: test }
  if (!isLiteral(test)) {
    report(
      [],
      Array.isArray(test) ? 'expected a list with strings, numbers, booleans or nulls in it' : `expected a test${AS_IN}`,
    )
  }
  return { operator: 'equals', operand: test as Literal }
}

const AS_IN = ': a value, a list of values, or operators like { startsWith: "reports/" }'

function readOperators(test: Readonly<Record<string, unknown>>, report: Report): OperatorTest[] {
  const entries = Object.entries(test)
  if (entries.length === 0) report([], `expected a test${AS_IN}`)
  return entries.map(([operator, operand]) => {
    const complain = OPERATORS.get(operator)
    const names = [...OPERATORS.keys()]
    const problem =
      complain === undefined
        ? `Unknown operator "${operator}". ${didYouMean(operator, names) ?? `There are ${names.join(', ')}.`}`
        : complain(operand)
    if (problem !== undefined) report([operator], problem)
    return { operator: operator as Operator, operand: operand as Literal }
  })
}

function checkTags(report: Report): (test: OperatorTest) => void {
  return ({ operator }) => {
    if (operator === 'contains' || operator === 'exists' || !OPERATORS.has(operator)) return
    report([], `agent.tags is a list, which ${operator} cannot compare; use { contains: "…" }`)
  }
}

/** Operators whose operand, on `agent.trustTier`, is a tier. */
const TIER_OPERATORS: readonly Operator[] = ['equals', 'notEquals', 'in', 'notIn']

function normaliseTier(test: OperatorTest, report: Report): OperatorTest {
  if (!TIER_OPERATORS.includes(test.operator)) return test
  const tiers = [test.operand].flat().map((spelling) => {
    const tier = parseTier(spelling)
    if (tier === undefined) {
      const hint = typeof spelling === 'string' ? didYouMean(spelling, TIER_SPELLINGS) : undefined
      report([], `${JSON.stringify(spelling)} is not a trust tier. ${hint ?? `There are ${TIER_SPELLINGS.join(', ')}.`}`)
    }
    return tier ?? ''
  })
  return { operator: test.operator, operand: Array.isArray(test.operand) ? tiers : (tiers[0] ?? '') }
}

const TIME_KEYS: readonly string[] = ['between', 'timezone', 'days']

function readTime(value: unknown, report: Report): TimeRange {
  if (!isObject(value)) report([], 'expected { between: "09:00-18:00", timezone: "Europe/Berlin", days: [mon, tue] }')
  const { between, timezone, days } = isObject(value) ? value : { between: undefined }
  for (const key of isObject(value) ? Object.keys(value) : []) {
    if (!TIME_KEYS.includes(key)) report([key], `Unknown key "${key}". ${didYouMean(key, TIME_KEYS) ?? ''}`.trimEnd())
  }
  if (isObject(value) && between === undefined && days === undefined) report([], 'needs between, days or both')
  const range = typeof between === 'string' ? rangeOf(between) : undefined
  if (between !== undefined && range === undefined) report(['between'], 'expected two times of day, like "09:00-18:00"')
  if (range !== undefined && range.from === range.to) report(['between'], 'the start and the end are equal')
  if (timezone !== undefined && (typeof timezone !== 'string' || clockOf(timezone) === undefined)) {
    report(['timezone'], `${JSON.stringify(timezone)} is not the name of a time zone, like "Europe/Berlin"`)
  }
  return { ...range, ...readDays(days, report), timezone: typeof timezone === 'string' ? timezone : 'UTC' }
}

function readDays(days: unknown, report: Report): { days?: number[] } {
  if (days === undefined) return {}
  if (!Array.isArray(days) || days.length === 0) {
    report(['days'], `expected a list of ${DAYS.join(', ')}`)
    return {}
  }
  const numbers = days.map((day, i) => {
    const number = DAYS.indexOf(day)
    if (number < 0) report(['days', i], `${JSON.stringify(day)} is not a day; there are ${DAYS.join(', ')}`)
    return number
  })
  return { days: numbers }
}

function wants(is: (operand: unknown) => boolean, words: string): Complaint {
  return (operand) => (is(operand) ? undefined : `expected ${words}`)
}

function globs(operand: unknown): string | undefined {
  if (!isText(operand)) return 'expected a pattern or a list of patterns'
  return [operand].flat().map(globProblem).find(Boolean)
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
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
