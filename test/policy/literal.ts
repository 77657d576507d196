/**
 * The policy language read literally: slow, obvious, from the documents themselves, and sharing no code with the evaluator
 * that it is compared with.
 */
import type { PolicyDocument, RuleDocument } from '../../packages/core/src/policy/policy.js'
import type { Agent, DecisionRequest } from '../../packages/core/src/types.js'

type Truth = boolean | 'unknown'

export interface LiteralAnswer {
  readonly allowed: boolean
  readonly code: 'allowed' | 'denied' | 'no_match'
  readonly policy?: string
  readonly rule?: string
  readonly reason?: 'no policy' | 'no rule'
  /** Policy and rule, or policy and window in ms, of every limit that an allow consumes. */
  readonly limits: [string, string | number][]
}

type Asked = DecisionRequest & { readonly agent: Agent }

export function decideLiterally(policies: readonly PolicyDocument[], request: Asked, now: number): LiteralAnswer {
  const applying = policies.filter((policy) => applies(policy, request.agent)).sort((a, b) => (a.name < b.name ? -1 : 1))
  const answers = applying.flatMap((policy) => {
    const matching = policy.rules.filter((rule) => coversAction(rule, request.action) && conditionsLet(rule, request, now))
    const denies = matching.filter((rule) => rule.effect === 'deny')
    const rule = policy.combine === 'deny-overrides' && denies.length > 0 ? denies[0] : matching[0]
    return rule === undefined ? [] : [{ policy, rule }]
  })
  const deny = answers.find(({ rule }) => rule.effect === 'deny')
  if (deny) return { allowed: false, code: 'denied', ...named(deny), limits: [] }
  const allow = answers[0]
  const byDefault = applying.length > 0 && applying.every((policy) => policy.defaultEffect === 'allow')
  if (allow === undefined && !byDefault) {
    return { allowed: false, code: 'no_match', reason: applying.length === 0 ? 'no policy' : 'no rule', limits: [] }
  }
  const limits: [string, string | number][] = []
  if (allow?.rule.rateLimit) limits.push([allow.policy.name, nameOf(allow.policy, allow.rule)])
  for (const policy of applying) {
    if (!policy.rules.some((rule) => coversAction(rule, request.action))) continue
    if (policy.rateLimits?.requestsPerMinute) limits.push([policy.name, 60_000])
    if (policy.rateLimits?.requestsPerHour) limits.push([policy.name, 3_600_000])
  }
  return { allowed: true, code: 'allowed', ...(allow && named(allow)), limits }
}

function named({ policy, rule }: { policy: PolicyDocument; rule: RuleDocument }): { policy: string; rule: string } {
  return { policy: policy.name, rule: nameOf(policy, rule) }
}

function nameOf(policy: PolicyDocument, rule: RuleDocument): string {
  if (rule.name !== undefined) return rule.name
  const plain = `${rule.effect} ${rule.actions[0]}`
  const alike = policy.rules.filter((one) => one.name === undefined && `${one.effect} ${one.actions[0]}` === plain)
  return alike[0] === rule ? plain : `${plain} #${alike.indexOf(rule) + 1}`
}

const TIERS = ['unverified', 'verified', 'trusted', 'privileged']
const SPELLINGS: Record<string, string> = {
  untrusted: 'unverified',
  anonymous: 'unverified',
  sandboxed: 'unverified',
  basic: 'verified',
}

function tier(spelling: string): string {
  const plain = SPELLINGS[spelling] ?? spelling
  return TIERS.includes(plain) ? plain : 'unverified'
}

function applies({ appliesTo }: PolicyDocument, agent: Agent): boolean {
  if (appliesTo?.trustTiers && !appliesTo.trustTiers.map(tier).includes(tier(agent.trustTier))) return false
  if (appliesTo?.minTrustTier && TIERS.indexOf(tier(agent.trustTier)) < TIERS.indexOf(tier(appliesTo.minTrustTier)))
    return false
  if (appliesTo?.tags && !appliesTo.tags.some((tag) => (agent.tags ?? []).includes(tag))) return false
  return !appliesTo?.agentIds || appliesTo.agentIds.includes(agent.id)
}

function coversAction(rule: RuleDocument, action: string): boolean {
  return rule.actions.some((pattern) => glob(pattern, action, false))
}

/** By definition: a star is nothing, or one character and a star. */
export function glob(pattern: string, text: string, questions: boolean): boolean {
  if (pattern === '') return text === ''
  const [first = '', ...rest] = [...pattern]
  const remaining = rest.join('')
  if (first === '*') return glob(remaining, text, questions) || (text !== '' && glob(pattern, text.slice(1), questions))
  const [character = ''] = [...text]
  const fits = text !== '' && (first === character || (questions && first === '?'))
  return fits && glob(remaining, text.slice(character.length), questions)
}

function conditionsLet(rule: RuleDocument, request: Asked, now: number): boolean {
  const truths: Truth[] = []
  for (const [path, test] of Object.entries(rule.conditions ?? {})) {
    if (path === 'context') {
      for (const [key, nested] of Object.entries(test as object)) truths.push(holds(`context.${key}`, nested, request, now))
    } else {
      truths.push(holds(path, test, request, now))
    }
  }
  const all = and(truths)
  return rule.effect === 'allow' ? all === true : all !== false
}

function and(truths: Truth[]): Truth {
  if (truths.includes(false)) return false
  return truths.includes('unknown') ? 'unknown' : true
}

function or(truths: Truth[]): Truth {
  if (truths.includes(true)) return true
  return truths.includes('unknown') ? 'unknown' : false
}

function not(truth: Truth): Truth {
  return truth === 'unknown' ? 'unknown' : !truth
}

function holds(path: string, test: unknown, request: Asked, now: number): Truth {
  if (path === 'time') return timeHolds(test as Record<string, unknown>, now)
  const value = attribute(path, request)
  const isShort = typeof test !== 'object' || test === null || Array.isArray(test)
  const operators = isShort ? { [Array.isArray(test) ? 'in' : 'equals']: test } : (test as Record<string, unknown>)
  return and(
    Object.entries(operators).map(([operator, operand]) => {
      if (operator === 'exists') return (value !== undefined) === operand
      if (value === undefined || (path === 'resource' && isUnclear(value))) return 'unknown'
      return compare(operator, value, path === 'agent.trustTier' ? tiersIn(operand) : operand)
    }),
  )
}

function tiersIn(operand: unknown): unknown {
  return Array.isArray(operand) ? operand.map((one) => tier(one)) : tier(operand as string)
}

function isUnclear(resource: unknown): boolean {
  if (typeof resource !== 'string') return false
  const lower = resource.toLowerCase()
  if (resource.split('/').some((segment) => segment === '.' || segment === '..')) return true
  return ['\\', '\0', '%2e', '%2f', '%5c'].some((part) => lower.includes(part))
}

function attribute(path: string, request: Asked): unknown {
  const keys = path.split('.')
  const roots: Record<string, unknown> = {
    resource: request.resource,
    context: request.context,
    agent: { ...request.agent, trustTier: tier(request.agent.trustTier) },
    request: request.request,
  }
  let value: unknown = roots[keys[0] as string]
  for (const key of keys.slice(1)) {
    const isRecord = typeof value === 'object' && value !== null && !Array.isArray(value)
    if (!isRecord || !Object.getOwnPropertyNames(value).includes(key)) return undefined
    value = (value as Record<string, unknown>)[key]
  }
  return value
}

function compare(operator: string, value: unknown, operand: unknown): Truth {
  const operands = Array.isArray(operand) ? operand : [operand]
  switch (operator) {
    case 'equals':
    case 'in':
      return or(equalities(value, operands))
    case 'notEquals':
    case 'notIn':
      return not(or(equalities(value, operands)))
    case 'contains':
      if (Array.isArray(value)) return or(value.map((one) => or(equalities(one, operands))))
      return search(
        value,
        operands.filter((one) => typeof one === 'string'),
        (text, one) => text.includes(one),
      )
    case 'startsWith':
      return search(value, operands, (text, one) => text.startsWith(one))
    case 'endsWith':
      return search(value, operands, (text, one) => text.endsWith(one))
    case 'matches':
      return search(value, operands, (text, one) => glob(one, text, true))
    case 'notMatches':
      return not(search(value, operands, (text, one) => glob(one, text, true)))
  }
  const [a, b] = [magnitude(value), magnitude(operand)]
  if (typeof value !== typeof operand || a === undefined || b === undefined) return 'unknown'
  return { gt: a > b, gte: a >= b, lt: a < b, lte: a <= b }[operator] as boolean
}

/** False for a value of a type that some operand has, even if others have another: a list is unknown only if none has it. */
function equalities(value: unknown, operands: unknown[]): Truth[] {
  const alike = operands.filter((one) => (one === null ? value === null : value !== null && typeof one === typeof value))
  return alike.length === 0 ? ['unknown'] : alike.map((one) => one === value)
}

function search(value: unknown, operands: string[], test: (text: string, one: string) => boolean): Truth {
  if (typeof value !== 'string' || value.length > 8192 || operands.length === 0) return 'unknown'
  return operands.some((one) => test(value, one))
}

function magnitude(value: unknown): number | undefined {
  if (typeof value === 'number') return value
  if (typeof value !== 'string' || !/^\d{4}-\d\d-\d\d(T\d\d:\d\d:\d\dZ)?$/.test(value)) return undefined
  return Date.parse(value)
}

const DAYS = ['sun', 'mon', 'tue', 'wed', 'thu', 'fri', 'sat']

/** UTC only. */
function timeHolds(test: Record<string, unknown>, now: number): Truth {
  const date = new Date(now)
  const clock = date.toISOString().slice(11, 16)
  const today = DAYS[date.getUTCDay()]
  const yesterday = DAYS[(date.getUTCDay() + 6) % 7]
  const isOn = (day: string | undefined) => test['days'] === undefined || (test['days'] as unknown[]).includes(day)
  if (test['between'] === undefined) return isOn(today)
  const [start = '', end = ''] = (test['between'] as string).split('-')
  if (start < end) return clock >= start && clock < end && isOn(today)
  return (clock >= start && isOn(today)) || (clock < end && isOn(yesterday))
}
