import { tierOf } from '../agent.js'
import type { Agent, DecisionRequest, ExplainedPolicy, ExplainedRule } from '../types.js'
import { compileCondition, FALSE, TRUE } from './checks.js'
import { appliesTo } from './compile.js'
import type { Condition } from './conditions.js'
import { matches } from './evaluate.js'
import { covers } from './pattern.js'
import type { AppliesTo, Policies, Policy, Rule } from './policy.js'

/**
 * Every policy in the order of names, whether it applies to the agent, and every rule of it: whether it matched and why.
 * It reads the policies without the index that decisions use, and counts nothing.
 */
export function explainPolicies(
  { policies }: Policies,
  agent: Agent,
  request: DecisionRequest,
  now: number,
): ExplainedPolicy[] {
  return policies.map((policy) => {
    const applies = appliesTo(policy.appliesTo, agent)
    const to = policy.appliesTo === undefined ? 'every agent' : 'this agent'
    const why = applies ? `applies to ${to}` : whyNot(policy.appliesTo ?? {}, agent)
    return { policy: policy.name, applies, why, rules: applies ? explainRules(policy, request, now) : [] }
  })
}

function whyNot({ trustTiers, tags, agentIds }: AppliesTo, agent: Agent): string {
  const tier = tierOf(agent)
  if (trustTiers !== undefined && !trustTiers.includes(tier)) return `the agent is ${tier}, not ${either(trustTiers)}`
  if (tags !== undefined && !tags.some((tag) => agent.tags?.includes(tag))) return `the agent has no tag ${either(tags)}`
  return `the agent is not ${either(agentIds ?? [])}`
}

function either(names: readonly string[]): string {
  return names.join(' or ')
}

function explainRules(policy: Policy, request: DecisionRequest, now: number): ExplainedRule[] {
  let decider: string | undefined
  return policy.rules.map((rule) => {
    if (decider !== undefined) return { rule: rule.name, matched: false, why: `not looked at: "${decider}" came first` }
    const explained = explainRule(rule, request, now)
    if (explained.matched && policy.combine === 'first-match') decider = rule.name
    return explained
  })
}

function explainRule(rule: Rule, request: DecisionRequest, now: number): ExplainedRule {
  const pattern = rule.actions.find((one) => covers(one, request.action))
  if (pattern === undefined) return { rule: rule.name, matched: false, why: `none of its actions covers ${request.action}` }
  const checks = rule.conditions.map(compileCondition)
  const matched = matches({ checks, effect: rule.effect }, request, now)
  const outcomes = checks.map((check) => check(request, now))
  const told = rule.conditions.flatMap((condition, i) => {
    if (outcomes[i] === TRUE) return []
    return `${inWords(condition)} ${outcomes[i] === FALSE ? 'does not hold' : 'is unknown'}`
  })
  const held = rule.conditions.length === 0 ? '' : ', and its conditions hold'
  const rest = told.length === 0 ? held : `; ${told.join('; ')}${matched ? ', which does not keep a deny from matching' : ''}`
  return { rule: rule.name, matched, why: `${pattern} covers it${rest}` }
}

function inWords(condition: Condition): string {
  if ('range' in condition) return 'time'
  return condition.tests
    .map(({ operator, operand }) => `${condition.path} ${operator} ${JSON.stringify(operand)}`)
    .join(' and ')
}
