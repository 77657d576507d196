import type { Decision, Mode } from '@meshguard/core'
import type { NewEntry } from '../audit/audit-log.js'
import type { Asked, IdentifiedAgent } from '../services.js'

/** The members of `Asked.entry` that describe the HTTP request. */
const OF_REQUEST = ['method', 'route', 'path', 'ip'] as const

/** What is recorded of a decision: the agent as the registry knows it, what was asked, what was answered, and how long it took. */
export function entryOf(asked: Asked, decision: Decision, mode: Mode, durationMs: number): NewEntry {
  const { who, declared, entry, request } = asked
  const given = entry === undefined ? undefined : withoutRequest(entry)
  return {
    ...given,
    timestamp: isoTime(decision.timestamp),
    traceId: decision.traceId,
    agentId: decision.agentId,
    agentName: who?.agent.name,
    trustTier: who?.agent.trustTier,
    action: request.action,
    resource: request.resource,
    decision: decision.decision,
    code: decision.code,
    policy: decision.policy,
    rule: decision.rule,
    reason: decision.reason,
    mode,
    source: 'policies',
    durationMs: Math.round(durationMs * 1000) / 1000,
    policyVersion: decision.policyVersion,
    request: requestOf(asked),
    ...(declared === undefined ? undefined : { declared }),
    ...(who?.chain === undefined ? undefined : delegated(who.chain, who.agent.id)),
  }
}

function withoutRequest(entry: Readonly<Record<string, unknown>>): Readonly<Record<string, unknown>> {
  const rest = { ...entry }
  for (const key of OF_REQUEST) delete rest[key]
  return rest
}

function requestOf({ entry, request: { request } }: Asked): NewEntry['request'] {
  const method = entry?.['method'] ?? request?.method
  if (typeof method !== 'string') return undefined
  const { route, path, ip } = { ...request, ...entry } as Partial<Record<string, string>>
  return { method, ...(route && { route }), ...(path && { path }), ...(ip && { ip }) }
}

/** On whose behalf the agent acted, and through which delegations, from the root to the agent itself. */
function delegated(chain: NonNullable<IdentifiedAgent['chain']>, leaf: string): Readonly<Record<string, unknown>> {
  return {
    onBehalfOf: chain[0]?.from.id,
    chain: chain.map(({ delegation, from }, i) => ({
      delegation: delegation.id,
      from: from.id,
      to: chain[i + 1]?.from.id ?? leaf,
      actions: delegation.actions,
    })),
  }
}

let lastTime = Number.NaN
let lastText = ''

/** A time as ISO 8601. Remembers the last one: many decisions fall into one millisecond, and writing it costs more than asking. */
function isoTime(ms: number): string {
  if (ms !== lastTime) {
    lastText = new Date(ms).toISOString()
    lastTime = ms
  }
  return lastText
}
