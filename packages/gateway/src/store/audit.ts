import { type Kysely, type Selectable, type SelectQueryBuilder, sql } from 'kysely'
import { badRequest } from '../http/errors.js'
import { decodeCursor, pageOf, pageSize } from './cursor.js'
import type { AuditTable, Schema } from './schema.js'
import type { AuditFilter, AuditRow, AuditStore } from './store.js'

/** The sort key of the log. */
type AuditPosition = readonly [timestamp: number, sequence: number, writer: string]

/** Rows looked at by one statement, so that none keeps a thread of the database from the others for long. */
const BLOCK = 20_000
const MAX_STARS = 4
const TOP_DENIED = 10

/** Every chain, also one that has rows and no checkpoint. Skips from one writer to the next instead of reading all rows. */
const WRITERS = sql<{ writer: string }>`
  with recursive written (writer) as (
    select min(writer) from audit
    union all
    select (select min(audit.writer) from audit where audit.writer > written.writer) from written where writer is not null
  )
  select writer from written where writer is not null
  union select writer from checkpoints
  union select writer from cuts
  order by 1`

/** Everything about the audit log but `append`, which each database has its own quickest way for. */
export function auditStore(read: Kysely<Schema>, write: Kysely<Schema>): Omit<AuditStore, 'append'> {
  return {
    async known(ids) {
      if (ids.length === 0) return new Set()
      const rows = await read.selectFrom('audit').select('id').where('id', 'in', ids).execute()
      return new Set(rows.map(({ id }) => id))
    },

    async query(filter) {
      const size = pageSize(filter.limit, 50)
      const found = await search(read, filter, size + 1)
      return pageOf(found, size, ({ timestamp, sequence, writer }) => [timestamp, sequence, writer])
    },

    async newest() {
      const row = await read.selectFrom('audit').select('id').orderBy('position', 'desc').limit(1).executeTakeFirst()
      return row?.id
    },

    async after(id, limit) {
      let position = 0
      if (id !== undefined) {
        const row = await read.selectFrom('audit').select('position').where('id', '=', id).executeTakeFirst()
        if (row === undefined) return undefined
        position = row.position
      }
      const query = read.selectFrom('audit').selectAll().where('position', '>', position)
      return (await query.orderBy('position').limit(limit).execute()).map(auditRowOf)
    },

    async scan(writer, afterSequence, limit) {
      const rows = await read
        .selectFrom('audit')
        .selectAll()
        .where('writer', '=', writer)
        .where('sequence', '>', afterSequence)
        .orderBy('sequence')
        .limit(limit)
        .execute()
      return rows.map(auditRowOf)
    },

    async writers() {
      const { rows } = await WRITERS.execute(read)
      return rows.map(({ writer }) => writer)
    },

    async head(writer) {
      const row = await read
        .selectFrom('audit')
        .selectAll()
        .where('writer', '=', writer)
        .orderBy('sequence', 'desc')
        .limit(1)
        .executeTakeFirst()
      return row && auditRowOf(row)
    },

    checkpoint: (writer) => read.selectFrom('checkpoints').selectAll().where('writer', '=', writer).executeTakeFirst(),

    cut: (writer) => read.selectFrom('cuts').selectAll().where('writer', '=', writer).executeTakeFirst(),

    async deleteThrough(cut) {
      return write.transaction().execute(async (trx) => {
        const { numDeletedRows } = await trx
          .deleteFrom('audit')
          .where('writer', '=', cut.writer)
          .where('sequence', '<=', cut.sequence)
          .executeTakeFirst()
        const { writer, sequence, hash, timestamp, signature } = cut
        const moved = { sequence, hash, timestamp, signature }
        await trx
          .insertInto('cuts')
          .values({ writer, ...moved })
          .onConflict((conflict) => conflict.column('writer').doUpdateSet(moved).where('cuts.sequence', '<', sequence))
          .execute()
        return Number(numDeletedRows)
      })
    },

    stats: (since) => stats(read, since),
  }
}

/** Counts by decision and action, a block at a time. */
async function stats(read: Kysely<Schema>, since: number): ReturnType<AuditStore['stats']> {
  const counts = { allow: 0, deny: 0 }
  const denied = new Map<string, number>()
  const range: AuditFilter = { from: since }
  let after: AuditPosition | undefined
  do {
    const end = await endOfBlock(read, range, after)
    const rows = await upTo(inRange(read, range, after), range, end)
      .select(['decision', 'action', ({ fn }) => fn.countAll<number>().as('count')])
      .where('code', '<>', 'administered')
      .groupBy(['decision', 'action'])
      .execute()
    for (const { decision, action, count } of rows) {
      counts[decision as keyof typeof counts] += Number(count)
      if (decision === 'deny' && action !== '') denied.set(action, (denied.get(action) ?? 0) + Number(count))
    }
    after = end
  } while (after !== undefined)
  const topDenied = [...denied].map(([action, count]) => ({ action, count }))
  topDenied.sort((a, b) => b.count - a.count || (a.action < b.action ? -1 : 1))
  return { allowed: counts.allow, denied: counts.deny, topDenied: topDenied.slice(0, TOP_DENIED) }
}

/** The first rows that fit, at most so many. What is filtered is looked through a block at a time. */
async function search(read: Kysely<Schema>, filter: AuditFilter, count: number): Promise<AuditRow[]> {
  const found: AuditRow[] = []
  let after = filter.cursor === undefined ? undefined : decodeCursor<AuditPosition>(filter.cursor, [0, 0, ''])
  for (;;) {
    const end = isFiltered(filter) ? await endOfBlock(read, filter, after) : undefined
    const query = matching(upTo(log(read, filter, after), filter, end), filter)
    const rows = await query
      .selectAll()
      .limit(count - found.length)
      .execute()
    found.push(...rows.map(auditRowOf))
    if (end === undefined || found.length === count) return found
    after = end
  }
}

const KEY = ['timestamp', 'sequence', 'writer'] as const

type AuditQuery<O = object> = SelectQueryBuilder<Schema, 'audit', O>

/** The log in order, in a range of time and from after a position. */
function log(read: Kysely<Schema>, filter: AuditFilter, after: AuditPosition | undefined): AuditQuery {
  let query = inRange(read, filter, after)
  for (const column of KEY) query = query.orderBy(column, filter.order === 'oldest' ? 'asc' : 'desc')
  return query
}

function inRange(read: Kysely<Schema>, { from, to, order }: AuditFilter, after: AuditPosition | undefined): AuditQuery {
  let query: AuditQuery = read.selectFrom('audit')
  if (from !== undefined) query = query.where('timestamp', '>=', from)
  if (to !== undefined) query = query.where('timestamp', '<', to)
  if (after === undefined) return query
  return query.where(({ eb, refTuple, tuple }) => eb(refTuple(...KEY), order === 'oldest' ? '>' : '<', tuple(...after)))
}

function upTo(query: AuditQuery, { order }: AuditFilter, end: AuditPosition | undefined): AuditQuery {
  if (end === undefined) return query
  return query.where(({ eb, refTuple, tuple }) => eb(refTuple(...KEY), order === 'oldest' ? '<=' : '>=', tuple(...end)))
}

/** The last position of the next block, or `undefined` when fewer rows than that are left. */
async function endOfBlock(
  read: Kysely<Schema>,
  filter: AuditFilter,
  after: AuditPosition | undefined,
): Promise<AuditPosition | undefined> {
  const row = await log(read, filter, after)
    .select(KEY)
    .limit(1)
    .offset(BLOCK - 1)
    .executeTakeFirst()
  return row && [row.timestamp, row.sequence, row.writer]
}

function isFiltered({ decision, agentId, action, traceId, policy }: AuditFilter): boolean {
  return [decision, agentId, action, traceId, policy].some((member) => member !== undefined)
}

function matching(query: AuditQuery, { decision, agentId, action, traceId, policy }: AuditFilter): AuditQuery {
  if (decision !== undefined) query = query.where('decision', '=', decision)
  if (agentId !== undefined) query = query.where('agent_id', '=', agentId)
  if (traceId !== undefined) query = query.where('trace_id', '=', traceId)
  if (policy !== undefined) query = query.where('policy', '=', policy)
  if (action === undefined) return query
  return action.includes('*')
    ? query.where(sql<boolean>`action like ${likeOf(action)} escape '\\'`)
    : query.where('action', '=', action)
}

/** A pattern of actions for LIKE, whose escape is `\`. @throws RequestError 400 for more stars than a policy's pattern may have. */
function likeOf(pattern: string): string {
  if (pattern.split('*').length - 1 > MAX_STARS) {
    throw badRequest(`An action pattern has at most ${MAX_STARS} stars`, [{ path: 'action', message: 'too many stars' }])
  }
  return pattern.replace(/[\\%_]/g, '\\$&').replaceAll('*', '%')
}

function auditRowOf(row: Selectable<AuditTable>): AuditRow {
  return {
    writer: row.writer,
    sequence: row.sequence,
    id: row.id,
    timestamp: row.timestamp,
    traceId: row.trace_id,
    action: row.action,
    decision: row.decision as AuditRow['decision'],
    code: row.code,
    entry: row.entry,
    hash: row.hash,
    ...(row.agent_id !== null && { agentId: row.agent_id }),
    ...(row.policy !== null && { policy: row.policy }),
  }
}
