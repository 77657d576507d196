import {
  AuthenticationError,
  type Code,
  ConnectionError,
  type Decision,
  type Issue,
  MeshGuardError,
  RateLimitError,
  UnavailableError,
  ValidationError,
} from '@meshguard/core'
import { answerOfCheck, errorOf as denialOf, type GatewayAnswer, isTraceId } from '@meshguard/core/http'

/** What was asked, as far as the answer does not repeat it. */
export interface Asked {
  readonly action: string
  readonly resource?: string | undefined
  readonly traceId: string
}

type Body = Readonly<Record<string, unknown>>

/**
 * The decision that a check was answered with.
 *
 * @throws UnavailableError for what is no decision although its status says so; the error of {@link errorOf} for the rest.
 */
export function decisionOf(answer: GatewayAnswer, asked: Asked): Decision {
  if (answer.status !== 200 && !isDenial(answer)) throw errorOf(answer, asked)
  const { agent, ...said } = answerOfCheck(answer, asked)
  const audited = answer.header('x-meshguard-audit') === 'deny'
  return {
    ...said,
    decision: said.allowed && !audited ? 'allow' : 'deny',
    code: audited ? auditedCode(answer) : said.code,
    action: asked.action,
    resource: asked.resource,
    agentId: agent?.id,
    reason: said.reason ?? (said.allowed ? undefined : `Action ${asked.action} is not allowed`),
    traceId: traceIdOf(answer, asked),
    timestamp: Date.now(),
    enforced: !audited && said.code !== 'bypassed',
  }
}

const AUDITED: readonly unknown[] = ['denied', 'no_match', 'rate_limited', 'unmapped'] satisfies Code[]

/** What the policies said of a denial that audit mode let through. */
function auditedCode(answer: GatewayAnswer): Code {
  const code = bodyOf(answer)?.['code']
  return AUDITED.includes(code) ? (code as Code) : 'denied'
}

/** A 403 or 429 of the policies, which another check would get as well; not a limit or refusal of the gateway itself. */
function isDenial(answer: GatewayAnswer): boolean {
  if (answer.status === 403) return true
  return answer.status === 429 && bodyOf(answer)?.['code'] === 'rate_limited'
}

/** What refuses a call through the proxy names the action that was refused: the declared or the derived one. */
function refusedAction(body: Body, { action }: Asked): string {
  return textOf(body['action']) ?? action
}

function traceIdOf(answer: GatewayAnswer, asked: Asked): string {
  const traceId = answer.header('x-meshguard-trace-id')
  return isTraceId(traceId) ? traceId : asked.traceId
}

function retryAfter(answer: GatewayAnswer): number {
  const seconds = Math.ceil(Number(answer.header('retry-after')))
  return Number.isSafeInteger(seconds) && seconds > 0 ? seconds : 1
}

/** The error that stands for an answer that is not what was asked for. It says what the gateway said. */
export function errorOf(answer: GatewayAnswer, asked: Asked): MeshGuardError {
  const { status } = answer
  const body = bodyOf(answer) ?? {}
  const traceId = traceIdOf(answer, asked)
  const message = textOf(body['message']) ?? `The gateway answered ${status}`
  if (status === 400) return new ValidationError(issuesOf(body, message), { traceId })
  if (status === 401) return new AuthenticationError(message, { traceId })
  if (status === 403 && body['error'] === 'Forbidden') {
    return denialOf(decisionOf(answer, { ...asked, action: refusedAction(body, asked) }), true)
  }
  if (status === 429) return new RateLimitError(isDenial(answer) ? decisionOf(answer, asked) : limited(answer, asked, message))
  if (status === 502 || status === 504 || (status === 503 && textOf(body['error']) === undefined)) {
    return new ConnectionError(message, { traceId })
  }
  if (status < 400 || status >= 500) return new UnavailableError(message, { traceId })
  const error = textOf(body['error']) ?? 'refused'
  return new MeshGuardError(message, { code: error, status, body: { error, message, traceId } })
}

/** A limit of the gateway itself, which no policy wrote. */
function limited(answer: GatewayAnswer, asked: Asked, reason: string): Decision {
  const { action, resource } = asked
  const seconds = retryAfter(answer)
  const denied = { allowed: false, decision: 'deny', code: 'rate_limited', enforced: true } as const
  return { ...denied, action, resource, reason, retryAfter: seconds, traceId: traceIdOf(answer, asked), timestamp: Date.now() }
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
