import { hash } from 'node:crypto'
import type { AuditEntry, NewEntry } from './audit-log.js'

/** No string of an entry is longer, in bytes of UTF-8; what is cut off leaves its length and hash. */
const MAX_FIELD = 1024
/** Of a string that is cut, so much is kept. */
const KEPT = MAX_FIELD - 96
/** A string of so many UTF-16 units cannot be longer than a field may be. */
const SURELY_SHORT = MAX_FIELD / 3
/** No member of an entry is larger as JSON; a larger one is kept as a string that is cut. */
const MAX_MEMBER = 16 * 1024
const MAX_DEPTH = 16

/**
 * The entry as it is recorded: nothing in it acts on a terminal, a log or a spreadsheet's parser, nothing is large, and what
 * looks like a credential is left out. All that happens before the entry is hashed.
 */
export function cleanEntry(entry: AuditEntry): AuditEntry {
  const cleaned: Record<string, unknown> = {}
  for (const key of Object.keys(entry)) {
    const value = entry[key]
    if (value === undefined || key === '__proto__') continue
    cleaned[cleanText(key)] = typeof value === 'string' ? cleanNamed(key, value) : bounded(cleanValue(value, key, 1))
  }
  return cleaned as unknown as AuditEntry
}

/** What the gateway's own entries are made of; no name of a secret is among them. */
const MEMBERS: ReadonlySet<string> = new Set(
  `action agentId agentName claimed code decision durationMs id mode onBehalfOf policy policyVersion reason request resource rule
  service source timestamp traceId trustTier`.split(/\s+/),
)
/** Members of `request` and `service`. */
const INNER: ReadonlySet<string> = new Set(['id', 'ip', 'method', 'name', 'path', 'route'])

/**
 * Whether an entry is complete, holds nothing that {@link cleanEntry} would change, and has its members in the order of RFC 8785:
 * its JSON text is its RFC 8785 form then. Says no of an entry with other members than most have.
 */
export function isPlainEntry(entry: NewEntry): entry is AuditEntry {
  if (entry.id === undefined || entry.timestamp === undefined) return false
  return isPlain(entry, MEMBERS, isPlainMember)
}

const isPlainMember = (value: object): boolean => isPlain(value, INNER, () => false)

function isPlain(record: object, names: ReadonlySet<string>, isPlainObject: (value: object) => boolean): boolean {
  let last = ''
  for (const name of Object.keys(record)) {
    const value = (record as Readonly<Record<string, unknown>>)[name]
    if (value === undefined) continue
    if (name <= last || !names.has(name)) return false
    last = name
    if (typeof value === 'string') {
      if (value.length > SURELY_SHORT || SUSPECT.test(value)) return false
    } else if (typeof value === 'number') {
      if (!Number.isFinite(value)) return false
    } else if (typeof value !== 'boolean' && !(isObject(value) && isPlainObject(value))) return false
  }
  return true
}

function isObject(value: unknown): value is object {
  if (typeof value !== 'object' || value === null) return false
  const prototype: unknown = Object.getPrototypeOf(value)
  return prototype === Object.prototype || prototype === null
}

function bounded(value: unknown): unknown {
  if (typeof value !== 'object' || value === null) return value
  const text = JSON.stringify(value)
  return text.length > MAX_MEMBER ? cut(text) : value
}

function cleanValue(value: unknown, key: string, depth: number): unknown {
  switch (typeof value) {
    case 'string':
      return cleanNamed(key, value)
    case 'boolean':
      return value
    case 'number':
      return SECRET_NAME.test(key) ? REDACTED : Number.isFinite(value) ? value : String(value)
    case 'object':
      return value === null ? null : cleanObject(value, key, depth)
    default:
      return `[${typeof value}]`
  }
}

function cleanObject(value: object, key: string, depth: number): unknown {
  if (SECRET_NAME.test(key)) return REDACTED
  if (depth > MAX_DEPTH) return '[object]'
  if (Array.isArray(value)) return value.map((one) => cleanValue(one, '', depth + 1))
  const cleaned: Record<string, unknown> = Object.create(null)
  for (const [name, one] of Object.entries(value)) {
    if (one !== undefined) cleaned[cleanText(name)] = cleanValue(one, name, depth + 1)
  }
  return cleaned
}

function cleanNamed(key: string, value: string): string {
  return SECRET_NAME.test(key) ? REDACTED : cleanText(value)
}

const REDACTED = '[redacted]'

/** Names of members whose values are secrets, whatever they look like. */
const SECRET_NAME =
  /(?:passw(?:or)?d|passphrase|pwd|secret|token|api[-_]?key|access[-_]?key|private[-_]?key|authorization|cookie|credential)s?$/i

/** Most strings hold nothing of this, and can then be no credential, and do nothing: they are looked at only so far. */
const SUSPECT = /[^\x20-\x7e]|eyJ|ms(?:vc|at)_|[spr]k[-_]|gh[pousr]_|github_pat_|=|["':] |["']:|bearer|basic|xox|A[KS]IA|AIza/i

/** Every part is anchored or bounded, so that the work is in proportion to the text. */
const CREDENTIALS: ReadonlyArray<readonly [RegExp, string]> = [
  [/(?<![\w-])eyJ[\w-]+\.[\w-]+(?:\.[\w-]*)?/g, '[token]'],
  [/(?<![A-Za-z0-9])ms(?:vc|at)_[\w-]{8,}/g, '[token]'],
  [/\b(bearer|basic) {1,4}[\w.~+/=-]{8,}/gi, '$1 [redacted]'],
  [/(?<![A-Za-z0-9])(?:[spr]k[-_]|gh[pousr]_|github_pat_|xox[abprs]-)[\w-]{16,}/g, '[key]'],
  [/(?<![A-Za-z0-9])(?:(?:AKIA|ASIA)[A-Z0-9]{16}|AIza[\w-]{30,60})/g, '[key]'],
  [
    /((?:passw(?:or)?d|passphrase|pwd|secret|token|api[-_]?key|access[-_]?key|private[-_]?key|credential)s?(?: {0,2}= {0,2}|["'] {0,2}: {0,2}|: {1,2})["']?)[^\s&;,"'}]+/gi,
    '$1[redacted]',
  ],
]

/** Controls, format characters, line and paragraph separators, and halves of surrogate pairs. */
const ACTING = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}]/gu

/** One string, without credentials, escaped, and no longer than a field may be. */
export function cleanText(text: string): string {
  if (text.length <= SURELY_SHORT && !SUSPECT.test(text)) return text
  let cleaned = text
  for (const [pattern, replacement] of CREDENTIALS) cleaned = cleaned.replace(pattern, replacement)
  cleaned = cleaned.replace(ACTING, escapeUnits)
  return cleaned.length > SURELY_SHORT && Buffer.byteLength(cleaned) > MAX_FIELD ? cut(cleaned) : cleaned
}

function escapeUnits(character: string): string {
  let escaped = ''
  for (let i = 0; i < character.length; i++) escaped += `\\u${character.charCodeAt(i).toString(16).padStart(4, '0')}`
  return escaped
}

/** The beginning, and how many bytes more there were, with their SHA-256. */
function cut(text: string): string {
  const bytes = Buffer.from(text)
  let end = KEPT
  while (((bytes[end] as number) & 0xc0) === 0x80) end--
  const rest = bytes.subarray(end)
  return `${bytes.toString('utf8', 0, end)}…[+${rest.length} sha256:${hash('sha256', rest)}]`
}
