import type { TrustTier } from '@meshguard/core'
import { type Kysely, type Selectable, sql, type Transaction, type Updateable } from 'kysely'
import { conflict } from '../http/errors.js'
import { decodeCursor, pageOf, pageSize } from './cursor.js'
import type { AgentsTable, Schema } from './schema.js'
import type { AgentChange, AgentRecord, AgentStore } from './store.js'

/** The most that `changedSince` answers at once. */
const MAX_CHANGED = 1000

/** Agents in the order in which they were made. */
export function agentStore(read: Kysely<Schema>, write: Kysely<Schema>): AgentStore {
  return {
    async list({ trustTier, tag, status, limit, cursor } = {}) {
      const size = pageSize(limit, 100)
      let query = read
        .selectFrom('agents')
        .selectAll()
        .orderBy('created_at')
        .orderBy('id')
        .limit(size + 1)
      if (trustTier !== undefined) query = query.where('trust_tier', '=', trustTier)
      if (status !== undefined) query = query.where('status', '=', status)
      if (tag !== undefined) {
        query = query.where('id', 'in', read.selectFrom('agent_tags').select('agent_id').where('tag', '=', tag))
      }
      if (cursor !== undefined) {
        const [createdAt, id] = decodeCursor(cursor, [0, ''] as const)
        query = query.where(({ eb, refTuple, tuple }) => eb(refTuple('created_at', 'id'), '>', tuple(createdAt, id)))
      }
      const found = (await query.execute()).map(agentOf)
      return pageOf(found, size, ({ createdAt, id }) => [createdAt, id])
    },

    async get(id) {
      const row = await read.selectFrom('agents').selectAll().where('id', '=', id).executeTakeFirst()
      return row && agentOf(row)
    },

    async known(ids) {
      if (ids.length === 0) return new Set()
      const rows = await read.selectFrom('agents').select('id').where('id', 'in', ids).execute()
      return new Set(rows.map(({ id }) => id))
    },

    async insert(agent) {
      await write.transaction().execute(async (trx) => {
        await trx.insertInto('agents').values(rowOf(agent)).execute()
        await writeTags(trx, agent.id, agent.tags)
      })
    },

    async update(id, change, now) {
      return write.transaction().execute(async (trx) => {
        const set = changeOf(change, now)
        // Later than it was made, whatever the clock says, so that `changedSince` finds it.
        const later = sql<number>`case when created_at < ${now} then ${now} else created_at + 1 end`
        const all = 'updated_at' in set ? { ...set, updated_at: later } : set
        let isTooLate = false
        if (Object.keys(all).length > 0) {
          let update = trx.updateTable('agents').set(all).where('id', '=', id)
          if (change.generation !== undefined) update = update.where('generation', '<', change.generation)
          isTooLate = (await update.executeTakeFirst()).numUpdatedRows === 0n
        }
        const row = await trx.selectFrom('agents').selectAll().where('id', '=', id).executeTakeFirst()
        if (row === undefined) return undefined
        if (isTooLate) throw conflict(`The tokens of "${id}" were revoked by another request meanwhile: try again`)
        if (change.tags !== undefined) await writeTags(trx, id, change.tags)
        return agentOf(row)
      })
    },

    async changedSince(since, { limit = MAX_CHANGED, cursor } = {}) {
      const size = Math.min(limit, MAX_CHANGED)
      let query = read
        .selectFrom('agents')
        .selectAll()
        .where('updated_at', '>=', since)
        .where(({ eb, ref }) => eb.or([eb('updated_at', '>', ref('created_at')), eb('status', '=', 'revoked')]))
        .orderBy('updated_at')
        .orderBy('id')
        .limit(size + 1)
      if (cursor !== undefined) {
        const [updatedAt, id] = decodeCursor(cursor, [0, ''] as const)
        query = query.where(({ eb, refTuple, tuple }) => eb(refTuple('updated_at', 'id'), '>', tuple(updatedAt, id)))
      }
      const found = (await query.execute()).map(agentOf)
      return pageOf(found, size, ({ updatedAt, id }) => [updatedAt, id])
    },
  }
}

/** The tags once more, one to a row, so that agents are found by them. */
async function writeTags(trx: Transaction<Schema>, id: string, tags: readonly string[]): Promise<void> {
  await trx.deleteFrom('agent_tags').where('agent_id', '=', id).execute()
  const rows = [...new Set(tags)].map((tag) => ({ agent_id: id, tag }))
  if (rows.length > 0) await trx.insertInto('agent_tags').values(rows).execute()
}

function agentOf(row: Selectable<AgentsTable>): AgentRecord {
  return {
    id: row.id,
    name: row.name,
    trustTier: row.trust_tier as TrustTier,
    tags: JSON.parse(row.tags),
    metadata: JSON.parse(row.metadata),
    status: row.status as AgentRecord['status'],
    generation: row.generation,
    createdAt: row.created_at,
    updatedAt: row.updated_at,
    ...(row.revoked_at !== null && { revokedAt: row.revoked_at }),
    ...(row.last_seen_at !== null && { lastSeenAt: row.last_seen_at }),
  }
}

function rowOf(agent: AgentRecord): AgentsTable {
  return {
    id: agent.id,
    name: agent.name,
    trust_tier: agent.trustTier,
    tags: JSON.stringify(agent.tags),
    metadata: JSON.stringify(agent.metadata),
    status: agent.status,
    generation: agent.generation,
    created_at: agent.createdAt,
    updated_at: agent.updatedAt,
    revoked_at: agent.revokedAt ?? null,
    last_seen_at: agent.lastSeenAt ?? null,
  }
}

/** The columns that change. Being seen is no change of the agent. */
function changeOf({ lastSeenAt, ...change }: AgentChange, now: number): Updateable<AgentsTable> {
  const { name, trustTier, tags, metadata, status, generation, revokedAt } = change
  return {
    ...(name !== undefined && { name }),
    ...(trustTier !== undefined && { trust_tier: trustTier }),
    ...(tags !== undefined && { tags: JSON.stringify(tags) }),
    ...(metadata !== undefined && { metadata: JSON.stringify(metadata) }),
    ...(status !== undefined && { status }),
    ...(generation !== undefined && { generation }),
    ...(revokedAt !== undefined && { revoked_at: revokedAt }),
    ...(lastSeenAt !== undefined && { last_seen_at: lastSeenAt }),
    ...(Object.values(change).some((member) => member !== undefined) && { updated_at: now }),
  }
}
