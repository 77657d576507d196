import { setImmediate as nextTurn } from 'node:timers/promises'
import type { Services } from '../services.js'
import type { AuditRow } from '../store/store.js'
import { sign } from './chain.js'

const DAY_MS = 86_400_000
/** Rows that go in one transaction. */
const BLOCK = 1000

/**
 * Deletes what is older than `AUDIT_RETENTION_DAYS` from the beginning of every chain, and signs where it was cut, so that what
 * is left can still be verified. The age of an entry that was shipped is the time since it was received.
 *
 * @returns how many entries went.
 */
export async function applyRetention({
  store,
  keys,
  config,
  now,
}: Pick<Services, 'store' | 'keys' | 'config' | 'now'>): Promise<number> {
  const before = now() - config.auditRetentionDays * DAY_MS
  let gone = 0
  for (const writer of await store.audit.writers()) {
    let after = (await store.audit.cut(writer))?.sequence ?? 0
    for (;;) {
      const rows = await store.audit.scan(writer, after, BLOCK)
      const young = rows.findIndex((row) => receivedAt(row) >= before)
      const last = rows[(young < 0 ? rows.length : young) - 1]
      if (last === undefined) break
      gone += await store.audit.deleteThrough(await sign(keys, 'cut', writer, last, now()))
      after = last.sequence
      await nextTurn()
    }
  }
  return gone
}

function receivedAt({ entry, timestamp }: AuditRow): number {
  if (!entry.includes('"receivedAt"')) return timestamp
  const { receivedAt } = JSON.parse(entry)
  return typeof receivedAt === 'string' ? Date.parse(receivedAt) : timestamp
}
