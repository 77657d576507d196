import type { DecisionEvent, OutcomeEvent } from '@meshguard/core'

/** A decision as a guard records it. */
export function decision(given: Partial<DecisionEvent> = {}): DecisionEvent {
  const allowed = given.allowed ?? true
  return {
    type: 'decision',
    allowed,
    decision: allowed ? 'allow' : 'deny',
    action: 'read:contacts',
    resource: 'contacts/42',
    agentId: 'agent_1',
    code: allowed ? 'allowed' : 'denied',
    policy: 'sales',
    rule: 'readers',
    traceId: 'trace-00000001',
    timestamp: Date.UTC(2026, 0, 1, 12),
    enforced: true,
    source: 'policies',
    ...given,
  }
}

export const allow = (traceId: string) => decision({ traceId })
export const deny = (traceId: string) => decision({ traceId, allowed: false })
export const outcome: OutcomeEvent = { type: 'outcome', traceId: 'trace-00000001', ok: true, durationMs: 12.4 }

/** What an agent might write to break a log: line ends, forged records, terminal escapes, marks that change what is read. */
export const NASTY =
  '\n{"decision":"allow","agentId":"root"}\r\u001b[2J\u009b31m\u0000\u0007\u007f\u0085\u2028\u2029\u202e\u2066\ufeff\ud800\u{e0041}"\\'
