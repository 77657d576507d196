import type { Answer } from '../types.js'
import type { CompiledRule, NamedLimit } from './compile.js'

/** What is left to do for an action, once it is known which policies apply. */
export interface Plan {
  /** The answer, when nothing is left to test or to count. */
  readonly answer: Answer | undefined
  /** Rules to try, policy by policy in the order of names; in each policy the first that matches decides. */
  readonly rules: readonly CompiledRule[]
  /** The limits of all policies that govern the action. */
  readonly limits: readonly NamedLimit[]
}

/**
 * Plans an action: which rules can still decide, in which order.
 *
 * @param covering The rules of applying policies that cover the action, by sequence, each once.
 * @param otherwise The answer when none of them matches.
 */
export function planFor(covering: readonly CompiledRule[], otherwise: Answer): Plan {
  const rules = withoutMoot(reachableParts(covering)).flat()
  const limits = governing(covering)
  const [first] = rules
  if (first === undefined) return { answer: otherwise, rules, limits }
  const isSettled = isSure(first) && (isDeny(first) || (rules.length === 1 && limits.length === 0 && first.limit === undefined))
  return { answer: isSettled ? first.answer : undefined, rules, limits }
}

/** The rules of each policy in the order in which the first that matches decides, up to one that always does. */
function reachableParts(covering: readonly CompiledRule[]): CompiledRule[][] {
  const parts: CompiledRule[][] = []
  let from = 0
  for (let to = 1; to <= covering.length; to++) {
    if (covering[to]?.policy === covering[from]?.policy) continue
    parts.push(reachable(covering.slice(from, to)))
    from = to
  }
  return parts
}

function reachable(rules: CompiledRule[]): CompiledRule[] {
  const denyFirst = rules[0]?.policy.combine === 'deny-overrides'
  const ordered = denyFirst ? [...rules.filter(isDeny), ...rules.filter((rule) => !isDeny(rule))] : rules
  const sure = ordered.findIndex(isSure)
  return sure < 0 ? ordered : ordered.slice(0, sure + 1)
}

/** Leaves out policies whose answer cannot matter, whatever the request holds. */
function withoutMoot(parts: CompiledRule[][]): CompiledRule[][] {
  const denies = parts.findIndex((part) => part.every(isDeny) && part.some(isSure))
  if (denies >= 0) return parts.slice(0, denies + 1).filter((part) => part.some(isDeny))
  const allows = parts.findIndex((part) => !part.some(isDeny) && part.some(isSure))
  return allows < 0 ? parts : parts.filter((part, i) => i <= allows || part.some(isDeny))
}

function governing(covering: readonly CompiledRule[]): NamedLimit[] {
  const limits = new Set<NamedLimit>()
  for (const { policy } of covering) for (const limit of policy.limits) limits.add(limit)
  return [...limits]
}

function isSure(rule: CompiledRule): boolean {
  return rule.checks.length === 0
}

function isDeny(rule: CompiledRule): boolean {
  return rule.effect === 'deny'
}
