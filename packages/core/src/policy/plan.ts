import type { NamedLimit, PlacedRule } from './compile.js'

/** What is left to do for an action, once it is known which policies apply. */
export interface Plan {
  /** Rules to try, policy by policy in the order of names; in each policy the first that matches decides. */
  readonly rules: readonly PlacedRule[]
  /** The limits of all policies that govern the action. */
  readonly limits: readonly NamedLimit[]
  /** Nothing is left to test or to count: the first rule decides, or there is none. */
  readonly isSettled: boolean
}

/**
 * Plans an action: which rules can still decide, in which order.
 *
 * @param covering The rules of applying policies that cover the action, by sequence, each once.
 */
export function planFor(covering: readonly PlacedRule[]): Plan {
  const rules = withoutMoot(reachableParts(covering)).flat()
  const limits = governing(covering)
  const [first] = rules
  if (first === undefined) return { rules, limits, isSettled: true }
  const isFree = limits.length === 0 && first.rule.rateLimit === undefined
  return { rules, limits, isSettled: isSure(first) && (isDeny(first) || (rules.length === 1 && isFree)) }
}

/** The rules of each policy in the order in which the first that matches decides, up to one that always does. */
function reachableParts(covering: readonly PlacedRule[]): PlacedRule[][] {
  const parts: PlacedRule[][] = []
  let from = 0
  for (let to = 1; to <= covering.length; to++) {
    if (covering[to]?.policy === covering[from]?.policy) continue
    parts.push(reachable(covering.slice(from, to)))
    from = to
  }
  return parts
}

function reachable(rules: PlacedRule[]): PlacedRule[] {
  const denyFirst = rules[0]?.policy.combine === 'deny-overrides'
  const ordered = denyFirst ? [...rules.filter(isDeny), ...rules.filter((rule) => !isDeny(rule))] : rules
  const sure = ordered.findIndex(isSure)
  return sure < 0 ? ordered : ordered.slice(0, sure + 1)
}

/** Leaves out policies whose answer cannot matter, whatever the request holds. */
function withoutMoot(parts: PlacedRule[][]): PlacedRule[][] {
  const denies = parts.findIndex((part) => part.every(isDeny) && part.some(isSure))
  if (denies >= 0) return parts.slice(0, denies + 1).filter((part) => part.some(isDeny))
  const allows = parts.findIndex((part) => !part.some(isDeny) && part.some(isSure))
  return allows < 0 ? parts : parts.filter((part, i) => i <= allows || part.some(isDeny))
}

function governing(covering: readonly PlacedRule[]): NamedLimit[] {
  const limits = new Set<NamedLimit>()
  for (const { policy } of covering) for (const limit of policy.limits) limits.add(limit)
  return [...limits]
}

function isSure({ rule }: PlacedRule): boolean {
  return rule.conditions.length === 0
}

function isDeny({ rule }: PlacedRule): boolean {
  return rule.effect === 'deny'
}
