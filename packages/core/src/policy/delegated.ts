import type { Agent, Answer, DecisionRequest, DelegationHop, Limiter } from '../types.js'
import { answerOf } from './compile.js'
import type { Evaluator } from './evaluator.js'
import { matchesAny } from './pattern.js'

/** A chain has at most so many hops, whatever the policies say. */
const MAX_DEPTH = 5

/**
 * Answers a request of an agent that acts for others. It is allowed only if every hop's actions cover the action, no agent
 * occurs twice, the chain is no longer than 5 hops and than `delegation.maxDepth`, the `delegation.permissionCeiling` covers
 * the action, and the policies allow it to every agent of the chain. The limits that count are those of all policies that
 * apply to any of these agents. Rate limits are counted once, for the agent that acts; the others are asked without counting.
 *
 * So a delegation never allows what the root alone, or the agent that acts alone, would be denied.
 */
export function decideDelegated(
  evaluator: Evaluator,
  request: DecisionRequest,
  hops: readonly DelegationHop[],
  now: number,
  limiter: Limiter | undefined,
): Answer | Promise<Answer> {
  const { agent, action } = request
  const acting = { ...request, delegation: undefined }
  const others = hops.map(({ from }) => from)
  for (const from of others) {
    const answer = evaluator.decide({ ...acting, agent: from }, now, undefined)
    if ('then' in answer) throw new TypeError('A decision that counts nothing waits for nothing')
    if (!answer.allowed) return answer
  }
  const reason = agent === undefined ? undefined : problemOf(evaluator, [...others, agent], hops, action)
  if (reason === undefined) return evaluator.decide(acting, now, limiter)
  return answerOf({ allowed: false, code: 'denied', reason, policyVersion: evaluator.policies.version })
}

function problemOf(
  evaluator: Evaluator,
  agents: readonly Agent[],
  hops: readonly DelegationHop[],
  action: string,
): string | undefined {
  if (new Set(agents.map(({ id }) => id)).size < agents.length) return 'An agent occurs twice in the delegation'
  if (hops.length > MAX_DEPTH) return `A delegation has at most ${MAX_DEPTH} hops`
  if (!hops.every(({ actions }) => matchesAny(actions, action))) return 'The delegation does not cover this action'
  for (const { maxDepth, permissionCeiling } of agents.flatMap((agent) => evaluator.delegationOf(agent))) {
    if (maxDepth !== undefined && hops.length > maxDepth) return `A policy lets agents delegate over at most ${maxDepth} hops`
    if (permissionCeiling !== undefined && !matchesAny(permissionCeiling, action)) return BEYOND_CEILING
  }
  return undefined
}

const BEYOND_CEILING = 'The action is beyond the permission ceiling of a policy'
