/** Audit events as lines of text. What an agent can write into them is data and stays so. */
import type { AuditEvent, DecisionEvent, OutcomeEvent } from './types.js'

/**
 * An event as one line of JSON, without its line end. Times are ISO 8601.
 *
 * Fields longer than 1 024 UTF-16 units are cut, and end in the length and an FNV-1a hash of what is missing: enough to tell
 * two apart, not to prove anything. Control characters, U+2028, U+2029 and bidirectional controls are escaped; what looks like
 * a JWT is left out, wherever it stands. The agent's `metadata` and what a source adds to an event of its own are not written.
 */
export function serialiseEvent(event: AuditEvent): string {
  return printable(JSON.stringify(event.type === 'outcome' ? outcomeFields(event) : decisionFields(event)))
}

function outcomeFields({ type, traceId, ok, durationMs }: OutcomeEvent): object {
  return scalars({ type, traceId, ok, durationMs })
}

function decisionFields(event: DecisionEvent): object {
  const { agent, request, limit } = event
  return {
    time: isoTime(event.timestamp),
    ...scalars({
      type: event.type,
      decision: event.decision,
      allowed: event.allowed,
      enforced: event.enforced,
      failedOpen: event.failedOpen,
      code: event.code,
      agentId: event.agentId,
      action: event.action,
      resource: event.resource,
      policy: event.policy,
      rule: event.rule,
      reason: event.reason,
      retryAfter: event.retryAfter,
      traceId: event.traceId,
      policyVersion: event.policyVersion,
      source: event.source,
      durationMs: event.durationMs,
    }),
    agent: agent && {
      ...scalars({ name: agent.name, trustTier: agent.trustTier }),
      tags: agent.tags && scalars([...agent.tags]),
    },
    request: request && scalars({ method: request.method, route: request.route, ip: request.ip }),
    limit: limit && scalars({ requests: limit.requests, windowMs: limit.windowMs }),
  }
}

/** A decision as an entry of the gateway's audit log, without its id. Cut and cleaned like {@link serialiseEvent}. */
export function entryOf(event: DecisionEvent): object {
  const { agent, request, enforced, code } = event
  return {
    timestamp: isoTime(event.timestamp),
    ...scalars({
      traceId: event.traceId,
      agentId: event.agentId,
      agentName: agent?.name,
      trustTier: agent?.trustTier,
      action: event.action,
      resource: event.resource,
      decision: event.decision,
      code,
      policy: event.policy,
      rule: event.rule,
      reason: event.reason,
      mode: enforced ? 'enforce' : code === 'bypassed' ? 'bypass' : 'audit',
      source: event.source,
      durationMs: event.durationMs,
      policyVersion: event.policyVersion,
      failedOpen: event.failedOpen,
    }),
    request: request && scalars({ method: request.method, route: request.route, ip: request.ip }),
  }
}

/** The same keys with values that one field can hold: cleaned text, numbers, booleans, and only the kind of anything else. */
function scalars(fields: object): object {
  const entries = Object.entries(fields).map(([key, value]: [string, unknown]) => [key, scalar(value)])
  return Array.isArray(fields) ? entries.map(([, value]) => value) : Object.fromEntries(entries)
}

function scalar(value: unknown): unknown {
  if (typeof value === 'string') return clean(value)
  return value === undefined || typeof value === 'number' || typeof value === 'boolean' ? value : `[${typeof value}]`
}

/** An event as a line that people read, without its line end; cut, cleaned and escaped like {@link serialiseEvent}. */
export function describeEvent(event: AuditEvent): string {
  if (event.type === 'outcome') {
    const { ok, traceId, durationMs } = event
    return `${isoTime(Date.now())} ${ok ? 'DONE ' : 'FAIL '} trace ${word(traceId)} after ${Math.round(durationMs)} ms`
  }
  const { policy, rule, reason, resource } = event
  return [
    isoTime(event.timestamp),
    event.decision === 'allow' ? 'ALLOW' : 'DENY ',
    word(event.agentId),
    word(event.action),
    ...(resource === undefined ? [] : [word(resource)]),
    event.code,
    ...(policy === undefined ? [] : ['by', rule === undefined ? word(policy) : `${word(policy)}/${word(rule)}`]),
    ...(reason === undefined ? [] : [quoted(String(scalar(reason)))]),
    'trace',
    word(event.traceId),
    ...(event.failedOpen === true ? ['(failed open)'] : []),
    ...(event.enforced ? [] : ['(not enforced)']),
  ].join(' ')
}

function isoTime(ms: number): string {
  return Math.abs(ms) <= 8.64e15 ? new Date(ms).toISOString() : String(ms)
}

/** A word as it is if it is printable ASCII without spaces and double quotes, otherwise quoted. */
function word(value: unknown): string {
  if (value === undefined || value === '') return '-'
  const text = String(scalar(value))
  return /^[!#-~]+$/.test(text) ? text : quoted(text)
}

function quoted(text: string): string {
  return printable(JSON.stringify(text))
}

const MAX_FIELD = 1024

/** Without tokens, and not longer than a field may be. Tokens go first, so that the hash says nothing of them. */
function clean(value: string): string {
  const text = value.includes('eyJ') ? value.replace(/(?<![\w-])eyJ[\w-]+\.[\w-]+(?:\.[\w-]*)?/g, '[token]') : value
  if (text.length <= MAX_FIELD) return text
  const end = MAX_FIELD - ((text.codePointAt(MAX_FIELD - 1) as number) > 0xffff ? 1 : 0)
  return `${text.slice(0, end)}…[+${text.length - end} ${hashOf(text, end)}]`
}

/** FNV-1a, 32 bits, of the UTF-16 units from a place on. */
function hashOf(text: string, from: number): string {
  let hash = 0x811c9dc5
  for (let i = from; i < text.length; i++) hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193)
  return (hash >>> 0).toString(16).padStart(8, '0')
}

/** Everything that is not shown but acts: controls, line and paragraph separators, bidirectional and zero-width marks. */
const UNPRINTABLE = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu

/** Text in which nothing but a line end can do anything to a terminal; inside JSON it means the same as before. */
export function printable(text: string): string {
  return text.replace(UNPRINTABLE, (one) =>
    one === '\n' ? one : [...Array(one.length).keys()].map((i) => escapeUnit(one, i)).join(''),
  )
}

function escapeUnit(text: string, at: number): string {
  return `\\u${text.charCodeAt(at).toString(16).padStart(4, '0')}`
}
