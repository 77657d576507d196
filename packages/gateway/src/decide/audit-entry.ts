import type { Decision, Mode } from '@meshguard/core'
import type { NewEntry } from '../audit/audit-log.js'
import { newEntryId } from '../audit/entry-id.js'
import type { Asked, EntryNotes, IdentifiedAgent } from '../services.js'

/**
 * What is recorded of a decision: the agent as the registry knows it, what was asked, what was answered, and how long it took.
 * Its members, and those of its `request`, are in the order of RFC 8785, so that nothing has to be sorted to write it down.
 */
export function entryOf(asked: Asked, decision: Decision, mode: Mode, durationMs: number): NewEntry {
  const { who, declared, entry = NO_NOTES, request } = asked
  return {
    action: request.action,
    agentId: decision.agentId,
    agentName: who?.agent.name,
    chain: who?.chain && hopsOf(who.chain, who.agent.id),
    claimed: entry.claimed,
    code: decision.code,
    decision: decision.decision,
    declared,
    durationMs: Math.round(durationMs * 1000) / 1000,
    id: newEntryId(decision.timestamp),
    mode,
    onBehalfOf: who?.chain?.[0]?.from.id,
    policy: decision.policy,
    policyVersion: decision.policyVersion,
    reason: decision.reason,
    request: requestOf(entry, request.request),
    resource: request.resource,
    rule: decision.rule,
    service: entry.service,
    source: 'policies',
    timestamp: isoTime(decision.timestamp),
    traceId: decision.traceId,
    trustTier: who?.agent.trustTier,
  }
}

const NO_NOTES: EntryNotes = Object.freeze({})

function requestOf(entry: EntryNotes, asked: Asked['request']['request']): NewEntry['request'] {
  const method = entry.method ?? asked?.method
  if (method === undefined) return undefined
  const ip = entry.ip ?? asked?.ip
  const route = entry.route ?? asked?.route
  return { ip: ip || undefined, method, path: entry.path || undefined, route: route || undefined }
}

/** The delegations through which the agent acted, from the root to the agent itself. */
function hopsOf(chain: NonNullable<IdentifiedAgent['chain']>, leaf: string): readonly object[] {
  return chain.map(({ delegation, from }, i) => ({
    delegation: delegation.id,
    from: from.id,
    to: chain[i + 1]?.from.id ?? leaf,
    actions: delegation.actions,
  }))
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
