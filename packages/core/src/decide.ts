import { isAction } from './action.js'
import { assertAgent, isAgent } from './agent.js'
import { AuthenticationError, ConnectionError, messageOf } from './errors.js'
import { matchesAny } from './policy/pattern.js'
import { beforeDeadline, isPromise } from './settle.js'
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

const DEFAULTS: DecideOptions = Object.freeze({})

/** The codes that audit mode lets through: what policies said, and nothing else. */
const AUDITED: ReadonlySet<Code> = new Set<Code>(['denied', 'no_match', 'rate_limited', 'unmapped'])

const INVALID_ACTION: Answer = Object.freeze({
  allowed: false,
  code: 'invalid_action',
  reason: 'The action is not of the form verb:object',
})
const NO_AGENT: Answer = Object.freeze({ allowed: false, code: 'unauthenticated', reason: 'No credential was presented' })
const BYPASSED: Answer = Object.freeze({ allowed: true, code: 'bypassed' })
const MALFORMED: Answer = Object.freeze({
  allowed: false,
  code: 'unavailable',
  reason: 'The source gave no well-formed answer',
})

/** Answers one request. Synchronous where authentication and source are; never throws, never rejects. */
export function decide(
  parts: Parts,
  request: DecisionRequest,
  options: DecideOptions = DEFAULTS,
): Decision | Promise<Decision> {
  const now = Date.now()
  const bypass = (options.mode ?? parts.mode) === 'bypass'
  const isAsked = request.agent !== undefined && !bypass
  const isChecked = isAsked && parts.sourceChecksActions
  if (!isChecked && !isAction(request.action)) return conclude(parts, request, INVALID_ACTION, options, now)
  if (isAsked) return ask(parts, request, options, now)
  return request.agent === undefined
    ? decideByToken(parts, request, options, now)
    : conclude(parts, request, BYPASSED, options, now)
}

/** A denial that no source was asked about, recorded like any other. */
export function refuse(
  parts: Parts,
  request: DecisionRequest,
  code: Code,
  reason: string,
  options: DecideOptions = DEFAULTS,
): Decision {
  const bypassed = code === 'unmapped' && (options.mode ?? parts.mode) === 'bypass'
  return conclude(parts, request, bypassed ? BYPASSED : { allowed: false, code, reason }, options, Date.now())
}

/** The answer that stands for a failure. */
export function answerOf(error: unknown): Answer {
  const reason = messageOf(error, 'The source failed')
  if (error instanceof AuthenticationError) return { allowed: false, code: 'unauthenticated', reason }
  return { allowed: false, code: 'unavailable', reason }
}

function decideByToken(
  parts: Parts,
  request: DecisionRequest,
  options: DecideOptions,
  now: number,
): Decision | Promise<Decision> {
  const { authenticate, source } = parts
  const bypass = (options.mode ?? parts.mode) === 'bypass'
  const { token } = request
  if (token === undefined) return conclude(parts, request, bypass ? BYPASSED : NO_AGENT, options, now)
  if (authenticate === undefined) {
    if (source.authenticates === true && !bypass) return ask(parts, request, options, now)
    return conclude(parts, request, NO_AUTHENTICATE, options, now)
  }
  const deadline = options.deadline ?? now + parts.timeoutMs
  const withAgent = (agent: Agent) =>
    decide(parts, { ...request, agent: assertAgent(agent) }, { ...options, deadline, verified: true })
  const failed = (error: unknown) => conclude(parts, request, answerOf(error), options, now)
  try {
    const agent = authenticate(token)
    if (!isPromise(agent)) return withAgent(agent)
    return beforeDeadline(agent, deadline, 'Authentication', request.signal).then(withAgent).catch(failed)
  } catch (error) {
    return failed(error)
  }
}

const NO_AUTHENTICATE: Answer = Object.freeze({
  allowed: false,
  code: 'unauthenticated',
  reason: 'The guard was given no way to verify a token: createGuard needs "authenticate"',
})

function ask(parts: Parts, request: DecisionRequest, options: DecideOptions, now: number): Decision | Promise<Decision> {
  try {
    const answer = parts.source.decide(request, now)
    if (!isPromise(answer)) return conclude(parts, request, answer, options, now)
    return beforeDeadline(answer, options.deadline ?? now + parts.timeoutMs, 'The decision', request.signal)
      .then((settled) => conclude(parts, request, settled, options, now, Date.now() - now))
      .catch((error: unknown) => concludeFailure(parts, request, error, options, now, Date.now() - now))
  } catch (error) {
    return concludeFailure(parts, request, error, options, now)
  }
}

/** The decision after a failure: a denial even where the agent is what cannot be read. */
function concludeFailure(
  parts: Parts,
  request: DecisionRequest,
  error: unknown,
  options: DecideOptions,
  now: number,
  durationMs?: number,
): Decision {
  const { action, resource, traceId, request: info } = request
  try {
    return conclude(parts, request, failure(parts, request, options, error), options, now, durationMs)
  } catch {
    return conclude(parts, { action, resource, traceId, request: info }, MALFORMED, options, now, durationMs)
  }
}

const FAILED_OPEN: Answer = Object.freeze({ allowed: true, code: 'unavailable', reason: 'The source could not be reached' })

/** Only what could not be *reached* may be opened, and only for an agent whose token was verified here. */
function failure(parts: Parts, request: DecisionRequest, options: DecideOptions, error: unknown): Answer {
  const open = error instanceof ConnectionError && options.verified === true && matchesAny(parts.failOpen, request.action)
  return open ? FAILED_OPEN : { ...answerOf(error), allowed: false, code: 'unavailable' }
}

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
  return parts.audit === undefined ? whole : record(parts, parts.audit, whole, agent, request, durationMs)
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
  request: DecisionRequest,
  durationMs: number | undefined,
): Decision {
  try {
    sink.record({
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
      request: request.request,
      source: parts.source.name,
      durationMs,
    })
    return decision
  } catch {
    return decision.allowed
      ? { ...decision, allowed: false, decision: 'deny', code: 'unavailable', reason: UNRECORDED, enforced: true }
      : decision
  }
}

const UNRECORDED = 'The decision could not be recorded'

/** As {@link decide}, for several requests of one agent on one policy version where the source can do that. */
export function decideMany(
  parts: Parts,
  requests: readonly DecisionRequest[],
  options: DecideOptions,
): readonly (Decision | Promise<Decision>)[] | Promise<readonly Decision[]> {
  const { source } = parts
  const mode = options.mode ?? parts.mode
  const asked = requests.filter((request) => isAction(request.action))
  if (source.decideMany === undefined || mode === 'bypass' || asked.length === 0) {
    return requests.map((request) => decide(parts, request, options))
  }
  const now = Date.now()
  const deadline = options.deadline ?? now + parts.timeoutMs
  const concludeAll = (answers: readonly Answer[]) => {
    const left = Array.isArray(answers) && answers.length === asked.length ? [...answers] : asked.map(() => MALFORMED)
    return requests.map((request) => {
      const answer = isAction(request.action) ? (left.shift() as Answer) : INVALID_ACTION
      return conclude(parts, request, answer, options, now)
    })
  }
  const failAll = (error: unknown) =>
    requests.map((request) =>
      isAction(request.action)
        ? concludeFailure(parts, request, error, options, now)
        : conclude(parts, request, INVALID_ACTION, options, now),
    )
  try {
    const answers = source.decideMany(asked, now)
    if (!isPromise(answers)) return concludeAll(answers)
    return beforeDeadline(answers, deadline, 'The decisions', requests[0]?.signal).then(concludeAll).catch(failAll)
  } catch (error) {
    return failAll(error)
  }
}
