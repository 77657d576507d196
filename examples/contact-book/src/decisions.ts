import type { AuditEntry, MeshGuardClient } from '@meshguard/client'
import { type AuditEvent, type AuditSink, auditToConsole, type Code } from '@meshguard/core'
import { type DemoAgents, nameOf } from './agents.js'

/** Prints decisions, one readable line each. */
export interface DecisionLines extends AuditSink {
  close(): Promise<void>
}

/**
 * Prints the decisions of the contact book's own guard, which it is the sink of, and those that the gateway makes for its proxy
 * from now on.
 */
export function printDecisions(operator: MeshGuardClient, agents: DemoAgents): DecisionLines {
  const lines = auditToConsole()
  const ending = new AbortController()
  const following = (async () => {
    for await (const entry of operator.streamAudit({}, { signal: ending.signal })) {
      if (entry.request?.path?.startsWith('/proxy/')) lines.record(eventOf(entry))
    }
  })().catch((error: Error) => {
    if (!ending.signal.aborted) console.error(`Decisions of the proxy are no longer printed: ${error.message}`)
  })
  return {
    record: (event) => lines.record(event.type === 'decision' ? { ...event, agentId: nameOf(agents, event.agentId) } : event),
    async close() {
      ending.abort()
      await following
      await lines.close?.()
    },
  }
}

function eventOf(entry: AuditEntry): AuditEvent {
  const { action, resource, decision, policy, rule, reason, traceId, source } = entry
  return {
    ...{ type: 'decision', action, resource, decision, policy, rule, reason, traceId, source },
    allowed: decision === 'allow',
    enforced: true,
    code: entry.code as Code,
    agentId: entry.agentName ?? entry.agentId,
    timestamp: Date.parse(entry.timestamp),
  }
}
