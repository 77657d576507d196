import {
  AuthenticationError,
  type Code,
  ConnectionError,
  type Decision,
  type Issue,
  MeshGuardError,
  PolicyDeniedError,
  RateLimitError,
  UnavailableError,
  ValidationError,
} from '@meshguard/core'
import { isTraceId } from '@meshguard/core/http'
import type { GatewayAnswer } from './transport.js'

/** What was asked, as far as the answer does not repeat it. */
export interface Asked {
  readonly action: string
  readonly resource?: string | undefined
  readonly traceId: string
}

type Body = Readonly<Record<string, unknown>>

const REFUSALS: ReadonlySet<unknown> = new Set<Code>(['denied', 'no_match', 'unmapped'])

/**
 * The decision that a check was answered with.
 *
 * @throws UnavailableError for what is no decision although its status says so; the error of {@link errorOf} for the rest.
 */
export function decisionOf(answer: GatewayAnswer, asked: Asked): Decision {
  const decision = answer.status === 200 ? allowed(answer, asked) : refused(answer, asked)
  if (decision === undefined) throw errorOf(answer, asked)
  return decision
}

function allowed(answer: GatewayAnswer, asked: Asked): Decision {
  const body = objectOf(answer)
  if (body['allowed'] !== true || body['decision'] !== 'allow' || body['action'] !== asked.action) {
    throw new UnavailableError('The gateway answered 200 with what is no decision on this action', { traceId: asked.traceId })
  }
  const audited = answer.headers.get('x-meshguard-audit') === 'deny'
  const code = audited ? refusalCode(body) : body['code'] === 'bypassed' ? 'bypassed' : 'allowed'
  return {
    ...common(answer, asked, body),
    allowed: true,
    decision: audited ? 'deny' : 'allow',
    code,
    enforced: code === 'allowed',
  }
}

/** The decision of a 403, and of a 429 that is one; `undefined` for everything else. */
function refused(answer: GatewayAnswer, asked: Asked): Decision | undefined {
  const body = bodyOf(answer) ?? {}
  const denied = { ...common(answer, asked, body), allowed: false, decision: 'deny', enforced: true } as const
  if (answer.status === 403 && body['error'] === 'Forbidden') {
    return {
      ...denied,
      action: textOf(body['action']) ?? asked.action,
      reason: textOf(body['message']),
      code: refusalCode(body),
    }
  }
  if (answer.status !== 429 || body['code'] !== 'rate_limited') return undefined
  return { ...denied, reason: textOf(body['message']), code: 'rate_limited', retryAfter: retryAfter(answer, body) }
}

function common({ headers }: GatewayAnswer, asked: Asked, body: Body) {
  const traceId = headers.get('x-meshguard-trace-id')
  return {
    action: asked.action,
    resource: textOf(body['resource']) ?? asked.resource,
    agentId: headers.get('x-meshguard-agent-id') ?? undefined,
    policy: textOf(body['policy']),
    rule: textOf(body['rule']),
    reason: textOf(body['reason']),
    traceId: isTraceId(traceId) ? traceId : asked.traceId,
    timestamp: Date.now(),
    policyVersion: textOf(body['policyVersion']),
  }
}

function refusalCode({ code }: Body): Code {
  return REFUSALS.has(code) ? (code as Code) : 'denied'
}

function retryAfter({ headers }: GatewayAnswer, body: Body): number {
  const seconds = Math.ceil(Number(headers.get('retry-after') ?? body['retry_after']))
  return Number.isSafeInteger(seconds) && seconds > 0 ? seconds : 1
}

/** The error that stands for an answer that is not what was asked for. It says what the gateway said. */
export function errorOf(answer: GatewayAnswer, asked: Asked): MeshGuardError {
  const { status } = answer
  const body = bodyOf(answer) ?? {}
  const { traceId } = common(answer, asked, body)
  const message = textOf(body['message']) ?? `The gateway answered ${status}`
  const decision = refused(answer, asked)
  if (status === 400) return new ValidationError(issuesOf(body, message), { traceId })
  if (status === 401) return new AuthenticationError(message, { traceId })
  if (status === 429) return new RateLimitError(decision ?? limited(answer, asked, body, message))
  if (decision !== undefined) return new PolicyDeniedError(decision)
  if (status === 502 || status === 504 || (status === 503 && textOf(body['error']) === undefined)) {
    return new ConnectionError(message, { traceId })
  }
  if (status < 400 || status >= 500) return new UnavailableError(message, { traceId })
  const error = textOf(body['error']) ?? 'refused'
  return new MeshGuardError(message, { code: error, status, body: { error, message, traceId } })
}

/** A limit of the gateway itself, which no policy wrote. */
function limited(answer: GatewayAnswer, asked: Asked, body: Body, message: string): Decision {
  const seconds = retryAfter(answer, body)
  const whole = { ...common(answer, asked, body), reason: message, retryAfter: seconds }
  return { ...whole, allowed: false, decision: 'deny', code: 'rate_limited', enforced: true }
}

function issuesOf(body: Body, message: string): Issue[] {
  const issues = Array.isArray(body['issues']) ? (body['issues'] as unknown[]) : []
  const read = issues.flatMap((issue) => {
    const { path, message: what, line, column } = (issue ?? {}) as Record<string, unknown>
    if (typeof what !== 'string') return []
    return [{ message: what, path: pathOf(path), line: numberOf(line), column: numberOf(column) }]
  })
  return read.length > 0 ? read : [{ message, path: [] }]
}

/** `rules.0.effect`, or a list of keys already. */
function pathOf(path: unknown): (string | number)[] {
  const keys = typeof path === 'string' ? path.split('.').filter((key) => key !== '') : Array.isArray(path) ? path : []
  return keys.map((key) => (/^\d+$/.test(String(key)) ? Number(key) : String(key)))
}

/**
 * The JSON object of an answer that was good.
 *
 * @throws UnavailableError when it is none: something else than a gateway answers there.
 */
export function objectOf(answer: GatewayAnswer): Body {
  const body = bodyOf(answer)
  if (body === undefined)
    throw new UnavailableError(`The answer ${answer.status} is no JSON object. Is this a MeshGuard gateway?`)
  return body
}

function bodyOf({ text }: GatewayAnswer): Body | undefined {
  try {
    const body: unknown = JSON.parse(text)
    return typeof body === 'object' && body !== null && !Array.isArray(body) ? (body as Body) : undefined
  } catch {
    return undefined
  }
}

function textOf(value: unknown): string | undefined {
  return typeof value === 'string' ? value : undefined
}

function numberOf(value: unknown): number | undefined {
  return typeof value === 'number' ? value : undefined
}
