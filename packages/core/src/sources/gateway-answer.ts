/** What a gateway's answer to a check says. Whatever does not agree with itself is no answer. */
import { UnavailableError } from '../errors.js'
import { isObject } from '../options.js'
import { limitOf } from '../refusal.js'
import type { GatewayAnswer } from '../transport/transport.js'
import type { Answer, Code, DecisionRequest } from '../types.js'

type Body = Readonly<Record<string, unknown>>

/**
 * The answer to a check that was asked on its own.
 *
 * @throws UnavailableError for what is no decision on this check.
 */
export function answerOfCheck(answer: GatewayAnswer, request: DecisionRequest): Answer {
  const { status } = answer
  const says = answer.header('x-meshguard-decision')
  const agrees = says === undefined ? status !== 429 : (says === 'allow') === (status === 200)
  const read = agrees ? readDecision(status, objectIn(answer.text), request) : undefined
  if (read === undefined) throw new UnavailableError(`The gateway's answer (${status}) is no decision on this check`)
  return withAgent(read, answer.header('x-meshguard-agent-id'), request)
}

/**
 * The answers to checks that were asked together, in order. One that is no decision is `unavailable` and leaves the others alone.
 *
 * @throws UnavailableError for an answer that is not the one to these checks.
 */
export function answersOfChecks({ status, text }: GatewayAnswer, requests: readonly DecisionRequest[]): Answer[] {
  if (status !== 200) throw new UnavailableError(`The gateway did not take the checks (${REFUSED.get(status) ?? status})`)
  const items = objectIn(text)?.['decisions']
  if (!Array.isArray(items) || items.length !== requests.length) {
    throw new UnavailableError("The gateway's answer does not hold one decision for each check")
  }
  return requests.map((request, i) => answerOfItem(items[i], request))
}

const REFUSED: ReadonlyMap<number, string> = new Map([
  [401, '401: the service token is not good'],
  [403, '403: the service token lacks the scope "decide"'],
])

const NO_DECISION: Answer = Object.freeze({
  allowed: false,
  code: 'unavailable',
  reason: "The gateway's answer is no decision on this check",
})

function answerOfItem(item: unknown, request: DecisionRequest): Answer {
  const body = isObject(item) ? item : {}
  const { status, agentId } = body
  if (typeof status !== 'number') return NO_DECISION
  const read = readDecision(status, body, request)
  return read === undefined ? NO_DECISION : withAgent(read, agentId, request)
}

/** Adds the agent that the gateway made of the token. Only its id is told, so it has the lowest tier and no tags here. */
function withAgent(answer: Answer, id: unknown, { agent }: DecisionRequest): Answer {
  if (typeof id !== 'string' || answer.code === 'unauthenticated') return answer
  if (agent === undefined) return { ...answer, agent: { id, trustTier: 'unverified' } }
  return agent.id === id ? answer : NO_DECISION
}

/**
 * Nothing where the trace ID is another's: a request that arrived twice is answered twice, and its second answer can come as that
 * to the next request.
 */
function readDecision(status: number, body: Body | undefined, request: DecisionRequest): Answer | undefined {
  if (body === undefined || (body['traceId'] ?? request.traceId) !== request.traceId) return undefined
  if (status === 200) return readAllow(body, request)
  if (body['allowed'] === true || body['decision'] === 'allow') return undefined
  if (status === 403 && body['error'] === 'Forbidden') return readDenial(body, request)
  if (status === 401 && body['error'] === 'unauthorized') return UNAUTHENTICATED
  if (status === 429 && body['code'] === 'rate_limited') return readLimit(body)
  return undefined
}

const UNAUTHENTICATED: Answer = Object.freeze({
  allowed: false,
  code: 'unauthenticated',
  reason: 'The gateway did not take the token',
})

function readAllow(body: Body, { action }: DecisionRequest): Answer | undefined {
  if (body['allowed'] !== true || body['decision'] !== 'allow' || body['action'] !== action) return undefined
  return { allowed: true, code: body['code'] === 'bypassed' ? 'bypassed' : 'allowed', ...decidedBy(body) }
}

const DENIALS: ReadonlySet<unknown> = new Set<Code>(['denied', 'no_match', 'unmapped'])

function readDenial(body: Body, { action }: DecisionRequest): Answer | undefined {
  const { action: denied = action, code = 'denied', rule, message } = body
  if (denied !== action || !DENIALS.has(code)) return undefined
  const reason = isAuthors(message, rule, action) ? message : undefined
  return { allowed: false, code: code as Code, ...decidedBy(body), reason }
}

/**
 * Whether a message is what a policy's author wrote. What the gateway writes by itself tells a rule's deny from no rule, and an
 * adapter would pass a reason on to agents that may not know.
 */
function isAuthors(message: unknown, rule: unknown, action: string): message is string {
  if (typeof message !== 'string' || typeof rule !== 'string') return false
  return message !== `Denied by rule: ${rule}` && message !== `Action ${action} is not allowed`
}

function readLimit(body: Body): Answer {
  const { retry_after: retryAfter, limit } = body
  return {
    allowed: false,
    code: 'rate_limited',
    ...decidedBy(body),
    retryAfter: typeof retryAfter === 'number' ? retryAfter : undefined,
    limit: typeof limit === 'string' ? limitOf(limit) : undefined,
  }
}

function decidedBy({ policy, rule, policyVersion }: Body): Pick<Answer, 'policy' | 'rule' | 'policyVersion'> {
  return { policy: textOf(policy), rule: textOf(rule), policyVersion: textOf(policyVersion) }
}

function textOf(value: unknown): string | undefined {
  return typeof value === 'string' ? value : undefined
}

function objectIn(text: string): Body | undefined {
  try {
    const value: unknown = JSON.parse(text)
    return isObject(value) ? value : undefined
  } catch {
    return undefined
  }
}
