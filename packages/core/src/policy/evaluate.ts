import type { Answer, Bucket, DecisionRequest, Limiter, Taken } from '../types.js'
import { FALSE, outcomeOf, TRUE } from './checks.js'
import { answerOf, bucketKey, type CompiledPolicy, type CompiledRule, type NamedLimit } from './compile.js'

/** A plan with its rules made ready. */
export interface Steps {
  readonly rules: readonly CompiledRule[]
  readonly limits: readonly NamedLimit[]
}

/**
 * Carries out a plan: tests the conditions that are left, lets any deny win, and counts the rate limits of an allow.
 *
 * @param otherwise The answer when no rule matches.
 * @param limiter Absent: nothing is counted.
 */
export function evaluate(
  steps: Steps,
  otherwise: Answer,
  request: DecisionRequest,
  now: number,
  limiter: Limiter | undefined,
): Answer | Promise<Answer> {
  const { rules, limits } = steps
  let allowing: CompiledRule | undefined
  let answered: CompiledPolicy | undefined
  for (let i = 0; i < rules.length; i++) {
    const rule = rules[i] as CompiledRule
    if (rule.policy === answered || !matches(rule, request, now)) continue
    if (rule.effect === 'deny') return rule.answer
    answered = rule.policy
    allowing ??= rule
  }
  const answer = allowing === undefined ? otherwise : allowing.answer
  const limit = allowing?.limit
  if (!answer.allowed || limiter === undefined || (limit === undefined && limits.length === 0)) return answer
  return consume(answer, limit === undefined ? limits : [limit, ...limits], request.agent?.id ?? '', now, limiter)
}

/** Whether a rule's conditions let it match: an allow must know that they hold, a deny only not know that they fail. */
export function matches(rule: Pick<CompiledRule, 'checks' | 'effect'>, request: DecisionRequest, now: number): boolean {
  if (rule.checks.length === 0) return true
  const outcome = outcomeOf(rule.checks, request, now)
  return rule.effect === 'deny' ? outcome !== FALSE : outcome === TRUE
}

function consume(
  allowing: Answer,
  limits: readonly NamedLimit[],
  agentId: string,
  now: number,
  limiter: Limiter,
): Answer | Promise<Answer> {
  const buckets = limits.map((limit): Bucket => {
    return { key: bucketKey(limit, agentId), requests: limit.requests, windowMs: limit.windowMs }
  })
  const taken = limiter.take(buckets, now)
  return 'then' in taken ? taken.then((late) => counted(late, allowing)) : counted(taken, allowing)
}

function counted(taken: Taken, allowing: Answer): Answer {
  if (taken.ok === true) return allowing
  const { policy, rule, policyVersion } = allowing
  const { retryAfter, exhausted } = taken
  return answerOf({
    allowed: false,
    code: 'rate_limited',
    policy,
    rule,
    retryAfter: Number.isFinite(retryAfter) ? Math.max(1, Math.ceil(retryAfter)) : 1,
    limit: exhausted && { requests: exhausted.requests, windowMs: exhausted.windowMs },
    policyVersion,
  })
}
