import { hash } from 'node:crypto'
import canonicalizeModule from 'canonicalize'
import type { Logger } from 'pino'
import type { Keys } from '../identity/keys.js'
import type { AuditRow, AuditStore, Checkpoint } from '../store/store.js'
import type { AuditEntry, NewEntry } from './audit-log.js'
import { cleanEntry, isPlainEntry } from './clean-entry.js'
import { newEntryId } from './entry-id.js'

/** The package is CommonJS; its types describe a module that it is not. */
const canonicalize = canonicalizeModule as unknown as typeof canonicalizeModule.default

/** Where a chain stands: the next row has `sequence + 1` and is chained to `hash`. */
export interface Link {
  readonly sequence: number
  readonly hash: string
}

/** What the first row of a chain is chained to. */
export const GENESIS: Link = Object.freeze({ sequence: 0, hash: '0'.repeat(64) })

/** The hash that a row gets: lower-case hex of SHA-256 over the hash of the row before, in hex, and the RFC 8785 form of its entry. */
export function hashOf(previous: string, entry: string): string {
  return hash('sha256', `${previous}${entry}`)
}

/** An entry ready to be chained. */
export interface Prepared {
  readonly entry: AuditEntry
  /** Its RFC 8785 form. */
  readonly text: string
}

/** Cleans an entry, completes it and writes it down. */
export function prepare(entry: NewEntry, now: number): Prepared {
  if (isPlainEntry(entry)) return { entry, text: JSON.stringify(entry) }
  const { id = newEntryId(now), timestamp = new Date(now).toISOString() } = entry
  const cleaned = cleanEntry({ ...entry, id, timestamp } as AuditEntry)
  return { entry: cleaned, text: canonicalize(cleaned) as string }
}

/** The row that an entry becomes behind a link. */
export function rowBehind(link: Link, writer: string, { entry, text }: Prepared): AuditRow {
  return { writer, sequence: link.sequence + 1, ...columnsOf(entry), entry: text, hash: hashOf(link.hash, text) }
}

/** What the columns of a row must say, so that none of them can be changed unseen. */
export function columnsOf(entry: AuditEntry) {
  const { id, traceId, agentId, action, decision, code, policy } = entry
  return { id, timestamp: Date.parse(entry.timestamp), traceId, agentId, action, decision, code, policy }
}

/** What a signature says: `head`, that a chain went on to there; `cut`, that retention deleted it up to there. */
export type CheckpointKind = 'head' | 'cut'

/** Signs where a chain stands. */
export async function sign(
  keys: Pick<Keys, 'signCheckpoint'>,
  kind: CheckpointKind,
  writer: string,
  { sequence, hash }: Link,
  timestamp: number,
): Promise<Checkpoint> {
  const signature = await keys.signCheckpoint({ kind, writer, sequence, hash, timestamp })
  return { writer, sequence, hash, timestamp, signature }
}

/** Whether a checkpoint says what this gateway's key has signed. */
export async function isSigned(
  keys: Pick<Keys, 'verifyCheckpoint'>,
  kind: CheckpointKind,
  { writer, sequence, hash, timestamp, signature }: Checkpoint,
): Promise<boolean> {
  try {
    const signed = await keys.verifyCheckpoint(signature)
    const said = { kind, writer, sequence, hash, timestamp }
    return Object.entries(said).every(([name, value]) => signed[name] === value)
  } catch {
    return false
  }
}

/**
 * Where a chain is to go on. What no signature covers is not trusted: behind it the chain goes on from what was signed last, so
 * that what was cut off, added or changed stays a place where it does not fit, and no later signature hides it.
 */
export async function readHead(store: AuditStore, keys: Keys, writer: string, log: Logger): Promise<Link> {
  const [row, checkpoint, cut] = [await store.head(writer), await store.checkpoint(writer), await store.cut(writer)]
  if (row === undefined && checkpoint === undefined && cut === undefined) return GENESIS
  const signed = checkpoint !== undefined && (await isSigned(keys, 'head', checkpoint)) ? checkpoint : undefined
  const last = row ?? cut
  if (signed !== undefined && last?.sequence === signed.sequence && last.hash === signed.hash) return linkOf(signed)
  log.error(
    { writer, last: last?.sequence, signed: signed?.sequence },
    'the audit log does not end where it was signed: verify it',
  )
  const sequence = Math.max(last?.sequence ?? 0, checkpoint?.sequence ?? 0)
  return { sequence, hash: signed?.hash ?? UNLINKED }
}

/** No row's hash. */
const UNLINKED = 'f'.repeat(64)

function linkOf({ sequence, hash }: Link): Link {
  return { sequence, hash }
}
