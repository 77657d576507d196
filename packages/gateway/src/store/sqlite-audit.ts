import type { SqlitePool } from './sqlite-pool.js'
import type { AuditRow, AuditStore, Checkpoint } from './store.js'

const INSERT = `insert into audit
  (writer, sequence, id, timestamp, trace_id, agent_id, action, decision, code, policy, entry, hash)
  values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`
const CHECKPOINT = `insert into checkpoints (writer, sequence, hash, timestamp, signature) values (?, ?, ?, ?, ?)
  on conflict (writer) do update set
  sequence = excluded.sequence, hash = excluded.hash, timestamp = excluded.timestamp, signature = excluded.signature`

/**
 * Appends to the audit log. Rows go in one by one, by a statement that is prepared once and takes a few microseconds a row;
 * a statement for many rows is no quicker, and compiling one with Kysely each time takes longer than the rows themselves.
 */
export function sqliteAppend(pool: SqlitePool): AuditStore['append'] {
  return (rows, checkpoint) =>
    pool.transaction('disk', async (connection) => {
      const insert = await connection.prepare(INSERT)
      const mark = await connection.prepare(CHECKPOINT)
      connection.run(() => {
        for (const row of rows) insert.run(columnsOf(row))
        mark.run(marksOf(checkpoint))
      })
    })
}

function columnsOf(row: AuditRow): unknown[] {
  const { writer, sequence, id, timestamp, traceId, action, decision, code, entry, hash } = row
  return [
    writer,
    sequence,
    id,
    timestamp,
    traceId,
    row.agentId ?? null,
    action,
    decision,
    code,
    row.policy ?? null,
    entry,
    hash,
  ]
}

function marksOf({ writer, sequence, hash, timestamp, signature }: Checkpoint): unknown[] {
  return [writer, sequence, hash, timestamp, signature]
}
