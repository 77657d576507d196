import { setImmediate as nextTurn } from 'node:timers/promises'
import type { Services } from '../services.js'
import type { AuditRow } from '../store/store.js'
import { sign } from './chain.js'

type Parts = Pick<Services, 'store' | 'keys' | 'config' | 'log' | 'now'>

const DAY_MS = 86_400_000
/** Rows that go in one transaction. */
const BLOCK = 1000

/**
 * Deletes what is older than `AUDIT_RETENTION_DAYS` from the beginning of every chain, and signs where it was cut, so that what
 * is left can still be verified. The age of an entry that was shipped is the time since it was received.
 *
 * The age of an entry that was damaged is not guessed: it was recorded before the ones behind it, so it goes when one of them
 * is old enough, and stays until then. The log says so.
 *
 * @returns how many entries went.
 */
export async function applyRetention(parts: Parts): Promise<number> {
  const before = parts.now() - parts.config.auditRetentionDays * DAY_MS
  let gone = await dropParts(parts, before)
  for (const writer of await parts.store.audit.writers()) gone += await cutChain(parts, writer, before)
  return gone
}

/** Drops what is old enough as a whole, where the database keeps the log in parts. */
async function dropParts({ store: { audit }, keys, now }: Parts, before: number): Promise<number> {
  let gone = 0
  for (;;) {
    const part = await audit.oldestPart?.(before)
    if (part === undefined || audit.dropPart === undefined) return gone
    const cuts = part.ends.map((end) => sign(keys, 'cut', end.writer, end, now()))
    gone += await audit.dropPart(part, await Promise.all(cuts))
  }
}

async function cutChain({ store, keys, log, now }: Parts, writer: string, before: number): Promise<number> {
  let after = (await store.audit.cut(writer))?.sequence ?? 0
  let gone = 0
  for (;;) {
    const rows = await store.audit.scan(writer, after, BLOCK)
    const times = rows.map(recordedAt)
    const young = times.findIndex((time) => time !== undefined && time >= before)
    const end = young < 0 ? rows.length : young
    const damaged = times.slice(0, end).indexOf(undefined)
    if (damaged >= 0) log.error({ writer, id: rows[damaged]?.id }, DAMAGED)
    const last = rows[times.slice(0, end).findLastIndex((time) => time !== undefined)]
    if (last !== undefined) gone += await store.audit.deleteThrough(await sign(keys, 'cut', writer, last, now()))
    const next = rows.at(-1)
    if (young >= 0 || next === undefined) return gone
    after = next.sequence
    await nextTurn()
  }
}

const DAMAGED =
  'an entry of the audit log is damaged, verify the log: retention keeps it until one recorded after it is old enough'

/** When an entry was recorded here; `undefined` where it does not say so any more. */
function recordedAt({ entry }: AuditRow): number | undefined {
  try {
    const { receivedAt, timestamp } = JSON.parse(entry)
    const time = Date.parse(receivedAt ?? timestamp)
    return Number.isNaN(time) ? undefined : time
  } catch {
    return undefined
  }
}
