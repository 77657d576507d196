import { isAction } from './action.js'
import { assertAgent, isAgent } from './agent.js'
import { conclude, type DecideOptions, FAILED_OPEN, MALFORMED, type Parts } from './conclude.js'
import { AuthenticationError, ConnectionError, messageOf } from './errors.js'
import { matchesAny } from './policy/pattern.js'
import { beforeDeadline, isPromise } from './settle.js'
import type { Agent, Answer, Code, Decision, DecisionRequest } from './types.js'

const DEFAULTS: DecideOptions = Object.freeze({})

const INVALID_ACTION: Answer = Object.freeze({
  allowed: false,
  code: 'invalid_action',
  reason: 'The action is not of the form verb:object',
})
const NO_AGENT: Answer = Object.freeze({ allowed: false, code: 'unauthenticated', reason: 'No credential was presented' })
const BYPASSED: Answer = Object.freeze({ allowed: true, code: 'bypassed' })

/** Answers one request. Synchronous where authentication and source are; never throws, never rejects. */
export function decide(
  parts: Parts,
  request: DecisionRequest,
  options: DecideOptions = DEFAULTS,
): Decision | Promise<Decision> {
  const now = Date.now()
  const isAsked = request.agent !== undefined && !isBypass(parts, options)
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
  const bypassed = code === 'unmapped' && isBypass(parts, options)
  return conclude(parts, request, bypassed ? BYPASSED : { allowed: false, code, reason }, options, Date.now())
}

/** The answer that stands for a failure. */
export function answerOf(error: unknown): Answer {
  const reason = messageOf(error, 'The source failed')
  if (error instanceof AuthenticationError) return { allowed: false, code: 'unauthenticated', reason }
  return { allowed: false, code: 'unavailable', reason }
}

/** Who calls, if that is known here; or the answer that refuses them. */
export interface Identified {
  readonly agent?: Agent | undefined
  readonly refused?: Answer | undefined
}

/** Finds out who calls, by the token where no agent was handed in. Never throws, never rejects. */
export function identify(
  parts: Parts,
  { agent, token, signal }: DecisionRequest,
  options: DecideOptions,
  deadline: number,
): Identified | Promise<Identified> {
  const { authenticate, source } = parts
  if (agent !== undefined) return isAgent(agent) ? { agent } : { refused: NO_SUCH_AGENT }
  if (token === undefined) return isBypass(parts, options) ? {} : { refused: NO_AGENT }
  if (authenticate === undefined) {
    return source.authenticates === true && !isBypass(parts, options) ? {} : { refused: NO_AUTHENTICATE }
  }
  const failed = (error: unknown) => ({ refused: answerOf(error) })
  try {
    const found = authenticate(token)
    if (!isPromise(found)) return { agent: assertAgent(found) }
    return beforeDeadline(found, deadline, 'Authentication', signal)
      .then((late) => ({ agent: assertAgent(late) }))
      .catch(failed)
  } catch (error) {
    return failed(error)
  }
}

function decideByToken(
  parts: Parts,
  request: DecisionRequest,
  options: DecideOptions,
  now: number,
): Decision | Promise<Decision> {
  const deadline = options.deadline ?? now + parts.timeoutMs
  const goOn = ({ agent, refused }: Identified) => {
    if (agent !== undefined) return decide(parts, { ...request, agent }, { ...options, deadline, verified: true })
    const answer = refused ?? (isBypass(parts, options) ? BYPASSED : undefined)
    return answer === undefined ? ask(parts, request, options, now) : conclude(parts, request, answer, options, now)
  }
  const who = identify(parts, request, options, deadline)
  return isPromise(who) ? who.then(goOn) : goOn(who)
}

function isBypass(parts: Parts, options: DecideOptions): boolean {
  return (options.mode ?? parts.mode) === 'bypass'
}

const NO_SUCH_AGENT: Answer = Object.freeze({
  allowed: false,
  code: 'unauthenticated',
  reason: 'The agent that was handed in is malformed',
})

const NO_AUTHENTICATE: Answer = Object.freeze({
  allowed: false,
  code: 'unauthenticated',
  reason: 'The guard was given no way to verify a token: createGuard needs "authenticate"',
})

const NO_DELEGATION: Answer = Object.freeze({
  allowed: false,
  code: 'unauthenticated',
  reason: 'The source does not evaluate delegation',
})

function ask(parts: Parts, request: DecisionRequest, options: DecideOptions, now: number): Decision | Promise<Decision> {
  if (request.delegation !== undefined && parts.source.delegates !== true) {
    return conclude(parts, request, NO_DELEGATION, options, now)
  }
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

/** Only what could not be *reached* may be opened, and only for an agent whose token was verified here. */
function failure(parts: Parts, request: DecisionRequest, options: DecideOptions, error: unknown): Answer {
  const open = error instanceof ConnectionError && options.verified === true && matchesAny(parts.failOpen, request.action)
  return open ? FAILED_OPEN : { ...answerOf(error), allowed: false, code: 'unavailable' }
}

/** As {@link decide}, for several requests of one agent on one policy version where the source can do that. */
export function decideMany(
  parts: Parts,
  requests: readonly DecisionRequest[],
  options: DecideOptions,
): readonly (Decision | Promise<Decision>)[] | Promise<readonly Decision[]> {
  const { source } = parts
  const asked = requests.filter((request) => isAction(request.action))
  if (source.decideMany === undefined || isBypass(parts, options) || asked.length === 0) {
    return requests.map((request) => decide(parts, request, options))
  }
  const now = Date.now()
  const concludeEach = (decisionOf: (request: DecisionRequest) => Decision) =>
    requests.map((request) =>
      isAction(request.action) ? decisionOf(request) : conclude(parts, request, INVALID_ACTION, options, now),
    )
  const concludeAll = (answers: readonly Answer[]) => {
    const left = Array.isArray(answers) && answers.length === asked.length ? [...answers] : asked.map(() => MALFORMED)
    return concludeEach((request) => conclude(parts, request, left.shift() as Answer, options, now))
  }
  const failAll = (error: unknown) => concludeEach((request) => concludeFailure(parts, request, error, options, now))
  try {
    const answers = source.decideMany(asked, now)
    if (!isPromise(answers)) return concludeAll(answers)
    const deadline = options.deadline ?? now + parts.timeoutMs
    return beforeDeadline(answers, deadline, 'The decisions', requests[0]?.signal).then(concludeAll).catch(failAll)
  } catch (error) {
    return failAll(error)
  }
}
