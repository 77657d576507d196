import { TRUST_TIERS } from '../agent.js'
import type { Issue } from '../errors.js'
import { nearest } from '../options.js'
import { MAX_TAGS } from '../tokens/claims.js'
import { compileCondition, FALSE, TRUE } from './checks.js'
import { areApart, commonAction, coversPattern, EVERYTHING, overlap } from './overlap.js'
import { matchesAny } from './pattern.js'
import type { Policies, Policy, Rule } from './policy.js'
import { alwaysCovers, preEmptions } from './pre-emption.js'

/**
 * What a warning is about:
 *
 * - `pre-empted`: other rules of its policy decide whenever this one could.
 * - `shadowed-deny`: an earlier allow of a first-match policy lets something pass that this deny forbids.
 * - `unreachable-policy`: no agent is one that the policy, or any of its rules, asks for.
 * - `allows-everything`: an allow of `*`.
 * - `unreachable-rule`: no route that is known has an action which this rule covers, or no agent of the policy is one that it
 *   asks for.
 */
export type LintKind = 'pre-empted' | 'shadowed-deny' | 'unreachable-policy' | 'allows-everything' | 'unreachable-rule'

/** Something in a valid policy that is probably not meant, and where. */
export interface LintWarning extends Issue {
  readonly kind: LintKind
  readonly policy: string
  readonly rule?: string | undefined
  /** An action for which it shows; only with `shadowed-deny`. */
  readonly action?: string | undefined
}

/** A row of the route table, as `protect.routes(app)` answers it. Only these members are looked at. */
export interface LintRoute {
  readonly action?: string | undefined
  readonly dynamic?: boolean | undefined
}

/** Options of {@link lintPolicies}. */
export interface LintOptions {
  /** The routes of the application. A row whose action is known only at the request keeps every rule reachable. */
  readonly routes?: readonly LintRoute[] | undefined
  /** Where something in a policy stands in its file. */
  readonly placeOf?: ((policy: Policy, path: Issue['path']) => Pick<Issue, 'file' | 'line' | 'column'>) | undefined
}

/**
 * Looks for what a valid policy probably does not mean. It warns of nothing that it is not sure of: a rule that is said to be
 * pre-empted or unreachable never decides. It does not find everything that could be found.
 *
 * An allow that is only the exception to a later, broader deny (`allow read:public`, then `deny read:*`) is what first-match
 * is for, and nothing is said of it.
 *
 * @returns the warnings, policies and rules in their order.
 *
 * @example
 * ```ts
 * for (const { message } of lintPolicies(policies, { routes: protect.routes(app) })) console.warn(message)
 * ```
 */
export function lintPolicies({ policies }: Pick<Policies, 'policies'>, options: LintOptions = {}): LintWarning[] {
  const known = actionsOf(options.routes)
  return policies.flatMap((policy) => {
    const found = [...scopeFindings(policy), ...orderFindings(policy), ...openFindings(policy), ...routeFindings(policy, known)]
    return found.sort(inOrder).map(({ path, kind, message, rule, action }) => {
      return { message, path, ...options.placeOf?.(policy, path), kind, policy: policy.name, rule: rule?.name, action }
    })
  })
}

interface Finding {
  readonly kind: LintKind
  readonly path: Issue['path']
  readonly message: string
  readonly rule?: Rule
  readonly action?: string
}

function inOrder(one: Finding, other: Finding): number {
  return Number(one.path[1] ?? -1) - Number(other.path[1] ?? -1)
}

/** Rules that never decide, and denies that do not decide everywhere. */
function orderFindings(policy: Policy): Finding[] {
  const silent = preEmptions(policy)
  const never = new Set(silent.map(({ at }) => at))
  const preEmpted = silent.map(({ at, rule, by }): Finding => {
    const others = by.map(({ name }) => `"${name}"`).join(' and ')
    const message = `Rule "${rule.name}" of policy "${policy.name}" never decides: ${others} ${by.length === 1 ? 'does' : 'do'} first, whatever the request`
    return { kind: 'pre-empted', path: ['rules', at], message, rule }
  })
  if (policy.combine !== 'first-match') return preEmpted
  return [...preEmpted, ...policy.rules.flatMap((rule, at) => (never.has(at) ? [] : shadowOver(policy, rule, at)))]
}

/** The first earlier allow that lets pass what a deny forbids. */
function shadowOver({ name, rules }: Policy, deny: Rule, at: number): Finding[] {
  if (deny.effect !== 'deny') return []
  for (const [i, allow] of rules.slice(0, at).entries()) {
    const pairs = allow.effect === 'allow' ? crossings(allow, deny) : []
    if (pairs.length === 0 || areApart(allow, deny)) continue
    const before = rules.slice(0, i)
    const actions = pairs.flatMap(([one, other]) => commonAction(one, other) ?? [])
    const action = actions.find((one) => !before.some((rule) => alwaysCovers(rule, one)))
    if (action === undefined) continue
    const when = allow.conditions.length === 0 ? '' : ' when its conditions hold'
    const message = `Rule "${deny.name}" of policy "${name}" does not deny ${action}${when}: "${allow.name}" stands before it and allows it`
    return [{ kind: 'shadowed-deny', path: ['rules', at], message, rule: deny, action }]
  }
  return []
}

/** The patterns that meet; none where the allow is an exception to the deny, inside of it. */
function crossings(allow: Rule, deny: Rule): (readonly [string, string])[] {
  return allow.actions.flatMap((inner) => {
    const meeting = deny.actions.filter((other) => overlap(inner, other))
    return meeting.some((outer) => coversPattern(outer, inner)) ? [] : meeting.map((other) => [inner, other] as const)
  })
}

function openFindings({ name, rules }: Policy): Finding[] {
  return rules.flatMap((rule, at) => {
    const i = rule.actions.findIndex((pattern) => coversPattern(pattern, EVERYTHING))
    if (rule.effect !== 'allow' || i === -1) return []
    const when = rule.conditions.length === 0 ? '' : ' when its conditions hold'
    const message = `Rule "${rule.name}" of policy "${name}" allows every action${when}, those of routes still to come included; name what is meant`
    return [{ kind: 'allows-everything' as const, path: ['rules', at, 'actions', i], message, rule }]
  })
}

/** Policies and rules that ask for agents which do not exist. */
function scopeFindings(policy: Policy): Finding[] {
  const { name, appliesTo, rules } = policy
  if (appliesTo?.tags?.every((tag) => tag.length > MAX_TAGS)) {
    const message = `Policy "${name}" applies to no agent: a token holds no tag of more than ${MAX_TAGS} characters`
    return [{ kind: 'unreachable-policy', path: ['appliesTo', 'tags'], message }]
  }
  const unmet = [...rules.entries()].filter(([, rule]) => !hasAgent(policy, rule))
  if (unmet.length === rules.length) {
    const message = `Policy "${name}" decides nothing: each of its rules asks for a tier or an id that no agent of the policy has`
    return [{ kind: 'unreachable-policy', path: ['appliesTo'], message }]
  }
  return unmet.map(([at, rule]) => {
    const message = `Rule "${rule.name}" of policy "${name}" never decides: it asks for a tier or an id that no agent of the policy has`
    return { kind: 'unreachable-rule', path: ['rules', at, 'conditions'], message, rule }
  })
}

/** Whether some agent that the policy applies to can meet what a rule asks of tier, id and tags. */
function hasAgent({ appliesTo }: Policy, rule: Rule): boolean {
  const lists = {
    'agent.trustTier': (appliesTo?.trustTiers ?? TRUST_TIERS).map((trustTier) => ({ id: '', trustTier })),
    'agent.id': appliesTo?.agentIds?.map((id) => ({ id, trustTier: '' })),
  }
  return rule.conditions.every((condition) => {
    const agents = lists[condition.path as keyof typeof lists]
    if (agents === undefined) return true
    const check = compileCondition(condition)
    return agents.some((agent) => {
      const outcome = check({ action: '', traceId: '', agent }, 0)
      return rule.effect === 'deny' ? outcome !== FALSE : outcome === TRUE
    })
  })
}

/** The actions of all routes; `undefined` when they are not known. */
function actionsOf(routes: LintOptions['routes']): readonly string[] | undefined {
  if (routes === undefined || routes.some(({ dynamic }) => dynamic === true)) return undefined
  return [...new Set(routes.flatMap(({ action }) => action ?? []))]
}

function routeFindings({ name, rules }: Policy, known: readonly string[] | undefined): Finding[] {
  if (known === undefined) return []
  return rules.flatMap((rule, at) => {
    if (known.some((action) => matchesAny(rule.actions, action))) return []
    const near = rule.actions.map((pattern) => nearest(pattern, known)).find((action) => action !== undefined)
    const hint = near === undefined ? '' : `. Did you mean "${near}"?`
    const message = `Rule "${rule.name}" of policy "${name}" covers the action of no route${hint}`
    return [{ kind: 'unreachable-rule' as const, path: ['rules', at, 'actions'], message, rule }]
  })
}
