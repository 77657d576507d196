import type { Limit } from '../types.js'
import type { Condition } from './conditions.js'
import type { ConditionsDocument, PolicyDocument, RateLimitsDocument, RuleDocument, TimeDocument } from './document.js'
import type { Policy, Rule } from './policy.js'
import { DAYS, type TimeRange } from './time.js'

/**
 * A document that says what a parsed policy says: the way back from `parsePolicy`, to show a policy or to send it somewhere.
 * Spellings come out the way they are understood (`minTrustTier` as the tiers it stands for, a list literal as `in`), and
 * parsing the document makes an equal policy.
 *
 * @example
 * ```ts
 * const documents = policies.policies.map(documentOf)
 * ```
 */
export function documentOf(policy: Policy): PolicyDocument {
  const { name, version, description, appliesTo, rules, combine, defaultEffect, rateLimits, delegation } = policy
  return present({
    name,
    version,
    description,
    appliesTo: appliesTo && present({ ...appliesTo }),
    rules: rules.map(ruleOf),
    combine,
    defaultEffect,
    rateLimits: rateLimits.length === 0 ? undefined : rateLimitsOf(rateLimits),
    delegation: delegation && present({ ...delegation }),
  })
}

function ruleOf({ name, effect, actions, reason, conditions, rateLimit }: Rule): RuleDocument {
  return present({
    name,
    effect,
    actions,
    reason,
    conditions: conditions.length === 0 ? undefined : conditionsOf(conditions),
    rateLimit: rateLimit && { requests: rateLimit.requests, per: periodOf(rateLimit.windowMs) },
  })
}

function conditionsOf(conditions: readonly Condition[]): ConditionsDocument {
  return Object.fromEntries(
    conditions.map((condition) => {
      if ('range' in condition) return [condition.path, timeOf(condition.range)]
      return [condition.path, Object.fromEntries(condition.tests.map(({ operator, operand }) => [operator, operand]))]
    }),
  )
}

function timeOf({ from, to, days, timezone }: TimeRange): TimeDocument {
  return present({
    between: from === undefined || to === undefined ? undefined : `${timeOfDay(from)}-${timeOfDay(to)}`,
    timezone,
    days: days?.map((day) => DAYS[day]) as TimeDocument['days'],
  })
}

function timeOfDay(minutes: number): string {
  const two = (part: number) => String(part).padStart(2, '0')
  return `${two(Math.floor(minutes / 60))}:${two(minutes % 60)}`
}

const UNITS = [
  [86_400_000, 'd'],
  [3_600_000, 'h'],
  [60_000, 'm'],
  [1000, 's'],
] as const

function periodOf(windowMs: number): string {
  const [unitMs, unit] = UNITS.find(([ms]) => windowMs % ms === 0) ?? UNITS[3]
  return `${windowMs / unitMs}${unit}`
}

function rateLimitsOf(limits: readonly Limit[]): RateLimitsDocument {
  const requestsIn = (windowMs: number) => limits.find((limit) => limit.windowMs === windowMs)?.requests
  return present({ requestsPerMinute: requestsIn(60_000), requestsPerHour: requestsIn(3_600_000) })
}

/** Only the keys that hold something. */
function present<T extends object>(value: T): T {
  return Object.fromEntries(Object.entries(value).filter(([, one]) => one !== undefined)) as T
}
