import type { Decision } from '@meshguard/core'
import { refusalOf } from '@meshguard/core/http'

/** An answer, ready to be written. */
export interface Answered {
  readonly status: number
  /** Lower-case names. */
  readonly headers: Record<string, string>
  readonly body: string
}

/**
 * The answer to a check: 200, or what refuses it, with everything that a verified agent may know (`disclose: 'full'`).
 *
 * @param sentToken Whether there was a credential at all: only then does a 401 name the error.
 * @param accept The `Accept` header: `application/problem+json` (RFC 9457) if it prefers that.
 */
export function answerOf(decision: Decision, sentToken: boolean, accept: string | undefined): Answered {
  if (!decision.allowed) return refusalAnswer(decision, sentToken, accept)
  const headers: Record<string, string> = {
    'content-type': 'application/json; charset=utf-8',
    'cache-control': 'no-store',
    'x-meshguard-trace-id': decision.traceId,
  }
  announce(decision, headers)
  return { status: 200, headers, body: JSON.stringify(allowBody(decision)) }
}

/** The answer to a denial. */
export function refusalAnswer(decision: Decision, sentToken: boolean, accept: string | undefined): Answered {
  const { status, headers, body } = refusalOf(decision, sentToken, 'full', accept)
  const all = { ...headers }
  if (decision.agentId !== undefined) announce(decision, all)
  return { status, headers: all, body }
}

/** The body of a 200. Its `code` tells what was let through by the gateway's mode from what the policies allow. */
export function allowBody({ action, resource, code, policy, rule, traceId }: Decision): Record<string, unknown> {
  return { allowed: true, decision: 'allow', action, resource, code, policy, rule, traceId }
}

/**
 * What an answer says to a verified agent of the decision behind it. In audit mode a denial that was let through is an allow
 * with `X-MeshGuard-Audit: deny`.
 */
export function announce(decision: Decision, headers: Record<string, string>): void {
  headers['x-meshguard-decision'] = decision.allowed ? 'allow' : 'deny'
  if (decision.agentId !== undefined) headers['x-meshguard-agent-id'] = decision.agentId
  if (decision.policy !== undefined) headers['x-meshguard-policy'] = decision.policy
  if (decision.allowed && decision.decision === 'deny') headers['x-meshguard-audit'] = 'deny'
}
