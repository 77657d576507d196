import type { Kysely } from 'kysely'
import { conflict } from '../http/errors.js'
import { codeOf } from './postgres-errors.js'
import type { PostgresPool } from './postgres-pool.js'
import type { Schema } from './schema.js'
import type { AuditRow, AuditStore } from './store.js'

/**
 * One statement, one round trip, one commit: the rows, their positions, and the end of their chain. Nothing is written where an
 * ID is there already in an earlier month (those of this month are in a unique index), or where the chain is past the first row.
 */
const APPEND = `
with incoming as materialized (
  select * from rows from (
    json_to_recordset($1::json) as (sequence bigint, id text, "timestamp" bigint, "traceId" text, "agentId" text, action text,
      decision text, code text, policy text, entry text, hash text)
  ) with ordinality as r (sequence, id, "timestamp", trace_id, agent_id, action, decision, code, policy, entry, hash, place)
), repeated as (
  select from audit where stored < date_trunc('month', now(), 'UTC') and id in (select id from incoming) limit 1
), head as (
  insert into checkpoints as there (writer, sequence, hash, "timestamp", signature)
  select $2::text, $3::bigint, $4::text, $5::bigint, $6::text where not exists (select from repeated)
  on conflict (writer) do update set
    sequence = excluded.sequence, hash = excluded.hash, "timestamp" = excluded."timestamp", signature = excluded.signature
    where there.sequence < $7::bigint
  returning there.writer
), clock as (
  update audit_clock set "position" = "position" + $8::bigint where exists (select from head)
  returning "position" - $8::bigint as before
)
insert into audit ("position", stored, writer, sequence, id, "timestamp", trace_id, agent_id, action, decision, code, policy,
  entry, hash)
select clock.before + place, now(), $2::text, sequence, id, "timestamp", trace_id, agent_id, action, decision, code, policy,
  entry, hash
from incoming, clock`

/** This month and the next, by the clock of the database. */
const ADD_MONTHS = `select meshguard_add_audit_month(now()), meshguard_add_audit_month(now() + interval '1 month')`

/** Makes the tables in which the audit log goes on. */
export async function addAuditMonths(pool: PostgresPool): Promise<void> {
  await pool.run({ text: ADD_MONTHS })
}

/** Appends to the audit log. */
export function postgresAppend(pool: PostgresPool): AuditStore['append'] {
  return async (rows, checkpoint) => {
    const [first] = rows
    if (first === undefined) return
    const { writer, sequence, hash, timestamp, signature } = checkpoint
    const values = [JSON.stringify(rows), writer, sequence, hash, timestamp, signature, first.sequence, rows.length]
    const insert = () => pool.run({ name: 'audit-append', text: APPEND, values })
    const { rowCount } = await insert().catch(async (error: unknown) => {
      if (!lacksTheMonth(error)) throw error
      await addAuditMonths(pool)
      return insert()
    })
    if (rowCount !== rows.length) throw conflict('There is an entry of this ID, or at this place of the chain, already')
  }
}

/** Check violation is what PostgreSQL says where no partition takes a row. */
function lacksTheMonth(error: unknown): boolean {
  return error instanceof Error && codeOf(error.cause) === '23514'
}

const MONTHS = `
select child.relname as name from pg_inherits join pg_class child on child.oid = inhrelid
where inhparent = 'audit'::regclass order by name`

/** The last row of each chain in a month, found by skipping from one writer to the next. */
const endsOf = (month: string) => `
with recursive written (writer) as (
  select min(writer) from ${month}
  union all
  select (select min(part.writer) from ${month} part where part.writer > written.writer) from written where writer is not null
)
select written.writer, last.sequence, last.hash,
  exists (select from audit where writer = written.writer and sequence < last.sequence and stored >= $1) as reaches_on
from written, lateral (
  select sequence, hash from ${month} part where part.writer = written.writer order by sequence desc limit 1
) last
where written.writer is not null`

/** Months of the audit log, to be dropped as a whole. */
export function postgresParts(pool: PostgresPool, write: Kysely<Schema>): Pick<AuditStore, 'oldestPart' | 'dropPart'> {
  return {
    async oldestPart(before) {
      const { rows } = await pool.run<{ name: string }>({ text: MONTHS })
      const [name] = rows.map((row) => row.name)
      const end = name === undefined ? undefined : endOf(name)
      if (name === undefined || end === undefined || end > before) return undefined
      const ends = await pool.run<Pick<AuditRow, 'writer' | 'sequence' | 'hash'> & { reaches_on: boolean }>({
        text: endsOf(name),
        values: [new Date(end)],
      })
      // A clock that was set back can leave older rows of a chain in a younger month: then the rows go one by one.
      if (ends.rows.some(({ reaches_on }) => reaches_on)) return undefined
      return { name, ends: ends.rows.map(({ writer, sequence, hash }) => ({ writer, sequence, hash })) }
    },

    async dropPart({ name }, cuts) {
      if (endOf(name) === undefined) throw new TypeError(`"${name}" is no month of the audit log`)
      return write.transaction().execute(async (trx) => {
        let gone = 0
        for (const { writer, ...moved } of cuts) {
          const there = await trx.selectFrom('cuts').select('sequence').where('writer', '=', writer).executeTakeFirst()
          gone += Math.max(0, moved.sequence - (there?.sequence ?? 0))
          await trx
            .insertInto('cuts')
            .values({ writer, ...moved })
            .onConflict((conflict) => conflict.column('writer').doUpdateSet(moved).where('cuts.sequence', '<', moved.sequence))
            .execute()
        }
        await trx.schema.dropTable(name).ifExists().execute()
        return gone
      })
    },
  }
}

/** When the month of such a table ends, in ms since the epoch. */
function endOf(name: string): number | undefined {
  const [, year, month] = /^audit_(\d{4})_(\d{2})$/.exec(name) ?? []
  return year === undefined || month === undefined ? undefined : Date.UTC(Number(year), Number(month))
}
