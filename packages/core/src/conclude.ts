import { isAgent } from './agent.js'
import type {
  Agent,
  Answer,
  AuditSink,
  Authenticate,
  Code,
  Decision,
  DecisionRequest,
  DecisionSource,
  Limit,
  Mode,
} from './types.js'

/** What a guard was made of. */
export interface Parts {
  readonly source: DecisionSource
  /** The source refuses by itself what is not an action. */
  readonly sourceChecksActions: boolean
  readonly authenticate: Authenticate | undefined
  readonly mode: Mode
  /** Actions that pass when the source cannot be reached. */
  readonly failOpen: readonly string[]
  readonly timeoutMs: number
  readonly audit: AuditSink | undefined
}

/** How one decision differs from the guard's own settings. */
export interface DecideOptions {
  /** Of this route alone. */
  readonly mode?: Mode | undefined
  /** In ms since the epoch; the guard's `timeoutMs` from now if it is not given. */
  readonly deadline?: number | undefined
  /** The request's agent was made of its token by this guard's `authenticate`. */
  readonly verified?: boolean | undefined
}

/** The codes that audit mode lets through: what policies said, and nothing else. */
const AUDITED: ReadonlySet<Code> = new Set<Code>(['denied', 'no_match', 'rate_limited', 'unmapped'])

/** Stands for an answer that is none. */
export const MALFORMED: Answer = Object.freeze({
  allowed: false,
  code: 'unavailable',
  reason: 'The source gave no well-formed answer',
})

/** Stands for an answer where the source could not be reached and the action may pass. */
export const FAILED_OPEN: Answer = Object.freeze({
  allowed: true,
  code: 'unavailable',
  reason: 'The source could not be reached',
})

/**
 * Makes the decision of an answer and records it. This is the one place where an answer becomes a decision.
 *
 * @param durationMs Only where the answer was waited for.
 */
export function conclude(
  parts: Parts,
  request: DecisionRequest,
  given: Answer,
  options: DecideOptions,
  now: number,
  durationMs?: number,
): Decision {
  const answer = typeof given === 'object' && given !== null ? given : MALFORMED
  const { allowed, code } = answer
  const agent = request.agent ?? answer.agent
  if (!isSound(answer, allowed, code) || (agent !== request.agent && agent !== undefined && !isAgent(agent))) {
    return conclude(parts, request, MALFORMED, options, now, durationMs)
  }
  const mode = options.mode ?? parts.mode
  const audited = mode === 'audit' && (allowed || AUDITED.has(code))
  const decision: Decision = {
    allowed: allowed || audited,
    decision: allowed ? 'allow' : 'deny',
    action: request.action,
    resource: request.resource,
    agentId: agent === undefined ? undefined : agent.id,
    code,
    policy: textOf(answer.policy),
    rule: textOf(answer.rule),
    reason: textOf(answer.reason),
    traceId: request.traceId,
    timestamp: now,
    policyVersion: textOf(answer.policyVersion),
    enforced: mode === 'enforce' || (mode === 'audit' && !audited),
  }
  const whole = isPlain(answer) ? decision : withRarities(decision, answer)
  if (agent !== request.agent && agent !== undefined) identified.set(whole, agent)
  return parts.audit === undefined ? whole : record(parts, parts.audit, whole, agent, answer.chain, request, durationMs)
}

const identified = new WeakMap<Decision, Agent>()

/** Whom a decision is about, where it was the source that found out. */
export function agentBehind(decision: Decision): Agent | undefined {
  return identified.get(decision)
}

/** Most answers have none of the members that only some codes bring. */
function isPlain(answer: Answer): boolean {
  return answer.retryAfter === undefined && answer.limit === undefined && answer !== FAILED_OPEN
}

function withRarities(decision: Decision, answer: Answer): Decision {
  const retryAfter = secondsOf(answer.retryAfter)
  const limit = limitOf(answer.limit)
  return {
    ...decision,
    ...(retryAfter === undefined ? {} : { retryAfter }),
    ...(limit === undefined ? {} : { limit }),
    ...(answer === FAILED_OPEN ? { failedOpen: true } : {}),
  }
}

/** Whether what was read of an answer agrees with itself. */
function isSound(answer: Answer, allowed: unknown, code: unknown): boolean {
  if (allowed === true) return code === 'allowed' || code === 'bypassed' || answer === FAILED_OPEN
  return allowed === false && DENIALS.has(code)
}

/** What only explains a decision is left out if it is not what it should be: it ends up in headers and bodies. */
function textOf(value: unknown): string | undefined {
  return typeof value === 'string' ? value : undefined
}

function secondsOf(value: unknown): number | undefined {
  const seconds = typeof value === 'number' ? Math.ceil(value) : 0
  return seconds > 0 && Number.isSafeInteger(seconds) ? seconds : undefined
}

function limitOf(limit: Limit | null | undefined): Limit | undefined {
  if (typeof limit !== 'object' || limit === null) return undefined
  const { requests, windowMs } = limit
  const isLimit = [requests, windowMs].every((one) => Number.isSafeInteger(one) && one > 0)
  return isLimit ? { requests, windowMs } : undefined
}

const DENIALS: ReadonlySet<unknown> = new Set<Code>([
  'denied',
  'no_match',
  'rate_limited',
  'unmapped',
  'unauthenticated',
  'unavailable',
  'invalid_action',
])

/** Records a decision. An allow that cannot be recorded is none. */
function record(
  parts: Parts,
  sink: AuditSink,
  decision: Decision,
  agent: Agent | undefined,
  chain: Answer['chain'],
  request: DecisionRequest,
  durationMs: number | undefined,
): Decision {
  try {
    sink.record(
      {
        type: 'decision',
        allowed: decision.allowed,
        decision: decision.decision,
        action: decision.action,
        resource: decision.resource,
        agentId: decision.agentId,
        code: decision.code,
        policy: decision.policy,
        rule: decision.rule,
        reason: decision.reason,
        retryAfter: decision.retryAfter,
        limit: decision.limit,
        traceId: decision.traceId,
        timestamp: decision.timestamp,
        policyVersion: decision.policyVersion,
        enforced: decision.enforced,
        failedOpen: decision.failedOpen,
        agent,
        chain,
        request: request.request,
        source: parts.source.name,
        durationMs,
      },
      request,
    )
    return decision
  } catch {
    return decision.allowed
      ? { ...decision, allowed: false, decision: 'deny', code: 'unavailable', reason: UNRECORDED, enforced: true }
      : decision
  }
}

const UNRECORDED = 'The decision could not be recorded'
