import type { Condition } from './conditions.js'
import { coversPattern, EVERYTHING } from './overlap.js'
import { createPatternIndex } from './pattern-index.js'
import type { Policy, Rule } from './policy.js'

/** A rule that never decides, and the rules of its policy that always do instead. */
export interface PreEmption {
  /** The place of the rule in its policy. */
  readonly at: number
  readonly rule: Rule
  readonly by: readonly Rule[]
}

interface Placed {
  readonly at: number
  readonly rule: Rule
  readonly tests: ReadonlySet<string>
}

/**
 * The rules of a policy that never decide anything: for each of their patterns another rule covers all of it, matches
 * whenever they do, and is asked before. Only what certainly holds for every request is answered; two conditions count as
 * the same when they are written the same, up to the order of lists.
 */
export function preEmptions(policy: Policy): PreEmption[] {
  const rules = policy.rules.map((rule, at): Placed => ({ at, rule, tests: new Set(rule.conditions.flatMap(testsOf)) }))
  const index = createPatternIndex(rules.flatMap((placed) => placed.rule.actions.map((pattern) => [pattern, placed] as const)))
  return rules.flatMap((placed) => {
    const by = new Set<Rule>()
    for (const pattern of placed.rule.actions) {
      const [first] = index
        .find(pattern === '*' ? EVERYTHING : pattern)
        .filter((other) => isAskedFirst(policy, other, placed) && matchesWith(other, placed))
        .sort((a, b) => a.at - b.at)
      if (first === undefined) return []
      by.add(first.rule)
    }
    return { at: placed.at, rule: placed.rule, by: [...by] }
  })
}

/** Whether one rule decides where both match. */
function isAskedFirst({ combine }: Policy, one: Placed, other: Placed): boolean {
  if (combine === 'deny-overrides' && one.rule.effect !== other.rule.effect) return one.rule.effect === 'deny'
  return one.at < other.at
}

/**
 * Whether the conditions of one rule let it match whenever those of the other do. An allow needs its conditions to hold, a
 * deny only that none fails; so from a deny that matches nothing follows for the conditions of an allow.
 */
function matchesWith(one: Placed, other: Placed): boolean {
  if (one.tests.size === 0) return true
  if (one.rule.effect === 'allow' && other.rule.effect === 'deny') return false
  return one.tests.size <= other.tests.size && [...one.tests].every((test) => other.tests.has(test))
}

/** Each test as text, one way to write each. */
function testsOf(condition: Condition): string[] {
  if ('range' in condition) {
    const { from, to, days, timezone } = condition.range
    return [JSON.stringify(['time', from, to, days?.toSorted(), timezone])]
  }
  return condition.tests.map(({ operator, operand }) => {
    const values = [operand].flat().map((value) => JSON.stringify(value))
    return JSON.stringify([condition.path, SAME.get(operator) ?? operator, [...new Set(values)].sort()])
  })
}

/** Operators that differ only in whether they take a list. */
const SAME: ReadonlyMap<string, string> = new Map([
  ['equals', 'in'],
  ['notEquals', 'notIn'],
])

/** Whether a rule stands in another's way for all that a pattern covers, whatever the request. */
export function alwaysCovers(rule: Rule, pattern: string): boolean {
  return rule.conditions.length === 0 && rule.actions.some((outer) => coversPattern(outer, pattern))
}
