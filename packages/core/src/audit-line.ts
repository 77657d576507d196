/** Audit events as lines of text. What an agent can write into them is data and stays so. */
import type { AuditEvent, DecisionEvent } from './types.js'

/**
 * An event as one line of JSON, without its line end. Times are ISO 8601.
 *
 * Fields longer than 1 024 UTF-16 units are cut, and end in the length and an FNV-1a hash of what is missing: enough to tell
 * two apart, not to prove anything. Control characters, U+2028, U+2029 and bidirectional controls are escaped; what looks like
 * a JWT is left out, wherever it stands. The agent's `metadata` and what a source adds to an event of its own are not written.
 *
 * @example
 * ```ts
 * const audit = auditTo((event) => stream.write(`${serialiseEvent(event)}\n`))
 * ```
 */
export function serialiseEvent(event: AuditEvent): string {
  return printable(
    JSON.stringify(event.type === 'outcome' ? scalars(event, ['type', 'traceId', 'ok', 'durationMs']) : decisionFields(event)),
  )
}

const DECISION = [
  ...['type', 'allowed', 'enforced', 'decision', 'code', 'agentId', 'action', 'resource', 'policy', 'rule', 'reason'],
  ...['traceId', 'policyVersion', 'source', 'durationMs', 'failedOpen', 'claimed', 'retryAfter'],
]

function decisionFields(event: DecisionEvent): object {
  return {
    time: isoTime(event.timestamp),
    ...scalars(event, DECISION),
    agent: scalars(event.agent, ['name', 'trustTier', 'tags']),
    ...chainOf(event),
    request: scalars(event.request, ['method', 'route', 'ip']),
    limit: scalars(event.limit, ['requests', 'windowMs']),
  }
}

/** A decision as an entry of the gateway's audit log. Cut and cleaned like {@link serialiseEvent}. */
export function entryOf(event: DecisionEvent, id: string): object {
  const { agent, enforced, code, request } = event
  return {
    id,
    timestamp: timeOf(event.timestamp),
    decision: scalar(event.decision),
    code: scalar(code),
    agentId: scalar(event.agentId),
    action: scalar(event.action),
    resource: scalar(event.resource),
    policy: scalar(event.policy),
    rule: scalar(event.rule),
    reason: scalar(event.reason),
    traceId: scalar(event.traceId),
    policyVersion: scalar(event.policyVersion),
    source: scalar(event.source),
    durationMs: scalar(event.durationMs),
    failedOpen: scalar(event.failedOpen),
    claimed: scalar(event.claimed),
    agentName: scalar(agent?.name),
    trustTier: scalar(agent?.trustTier),
    mode: enforced ? 'enforce' : code === 'bypassed' ? 'bypass' : 'audit',
    ...chainOf(event),
    request: request && { method: scalar(request.method), route: scalar(request.route), ip: scalar(request.ip) },
  }
}

/** On whose behalf, and every delegation from there to the agent. */
function chainOf({ chain }: DecisionEvent): object | undefined {
  if (!Array.isArray(chain)) return undefined
  return {
    onBehalfOf: scalar(chain[0]?.from),
    chain: chain.map((link) => scalars(Object(link), ['delegation', 'from', 'to', 'actions'])),
  }
}

let lastMs = Number.NaN
let lastTime = ''

/** Most events of a batch are of the same millisecond. */
function timeOf(ms: number): string {
  if (ms !== lastMs) lastTime = isoTime(ms)
  lastMs = ms
  return lastTime
}

/** Some of an object's keys, with values that one field can hold. */
function scalars(from: object | undefined, keys: readonly string[]): object | undefined {
  return from && Object.fromEntries(keys.map((key) => [key, scalar(Reflect.get(from, key))]))
}

/** Cleaned text, numbers and booleans, lists of them, and only the kind of anything else. */
function scalar(value: unknown): unknown {
  if (typeof value === 'string') return clean(value)
  if (Array.isArray(value)) return value.map(scalar)
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
    resource !== undefined && word(resource),
    event.code,
    policy !== undefined && `by ${word(policy)}${rule === undefined ? '' : `/${word(rule)}`}`,
    reason !== undefined && quoted(String(scalar(reason))),
    `trace ${word(event.traceId)}`,
    event.failedOpen === true && '(failed open)',
    !event.enforced && '(not enforced)',
  ]
    .filter((part) => part !== false)
    .join(' ')
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
  return text.replace(UNPRINTABLE, (one) => (one === '\n' ? one : escaped(one)))
}

/** Text as JSON can write it in ASCII: every UTF-16 unit by its number. */
export function escaped(text: string): string {
  return text.replace(/[\s\S]/g, (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`)
}
