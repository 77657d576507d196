import type { Kysely, Selectable } from 'kysely'
import type { DelegationsTable, Schema, TokensTable } from './schema.js'
import type { DelegationRecord, DelegationStore, TokenRecord, TokenStore } from './store.js'

/** Service tokens, oldest first. */
export function tokenStore(read: Kysely<Schema>, write: Kysely<Schema>): TokenStore {
  return {
    async list() {
      const rows = await read.selectFrom('tokens').selectAll().orderBy('created_at').orderBy('id').execute()
      return rows.map(tokenOf)
    },

    async findByHash(hash) {
      const row = await read.selectFrom('tokens').selectAll().where('hash', '=', hash).executeTakeFirst()
      return row && tokenOf(row)
    },

    async insert({ id, name, scopes, hash, createdAt, expiresAt }) {
      const row = { id, name, scopes: JSON.stringify(scopes), hash, created_at: createdAt, expires_at: expiresAt ?? null }
      await write.insertInto('tokens').values(row).execute()
    },

    async delete(id) {
      const { numDeletedRows } = await write.deleteFrom('tokens').where('id', '=', id).executeTakeFirst()
      return numDeletedRows > 0n
    },
  }
}

/** Delegations, oldest first. */
export function delegationStore(read: Kysely<Schema>, write: Kysely<Schema>): DelegationStore {
  return {
    async list() {
      const rows = await read.selectFrom('delegations').selectAll().orderBy('created_at').orderBy('id').execute()
      return rows.map(delegationOf)
    },

    async get(id) {
      const row = await read.selectFrom('delegations').selectAll().where('id', '=', id).executeTakeFirst()
      return row && delegationOf(row)
    },

    async insert(delegation) {
      await write.insertInto('delegations').values(rowOf(delegation)).execute()
    },

    async revoke(id, now) {
      const { numUpdatedRows } = await write
        .updateTable('delegations')
        .set({ revoked_at: now })
        .where('id', '=', id)
        .where('revoked_at', 'is', null)
        .executeTakeFirst()
      return numUpdatedRows > 0n
    },
  }
}

function tokenOf(row: Selectable<TokensTable>): TokenRecord {
  const { id, name, scopes, hash, created_at, expires_at } = row
  const expiry = expires_at === null ? {} : { expiresAt: expires_at }
  return { id, name, scopes: JSON.parse(scopes), hash, createdAt: created_at, ...expiry }
}

function delegationOf(row: Selectable<DelegationsTable>): DelegationRecord {
  return {
    id: row.id,
    from: row.from_agent,
    to: row.to_agent,
    actions: JSON.parse(row.actions),
    depth: row.depth,
    createdAt: row.created_at,
    expiresAt: row.expires_at,
    ...(row.parent !== null && { parent: row.parent }),
    ...(row.reason !== null && { reason: row.reason }),
    ...(row.revoked_at !== null && { revokedAt: row.revoked_at }),
  }
}

function rowOf(delegation: DelegationRecord): DelegationsTable {
  return {
    id: delegation.id,
    from_agent: delegation.from,
    to_agent: delegation.to,
    actions: JSON.stringify(delegation.actions),
    parent: delegation.parent ?? null,
    depth: delegation.depth,
    reason: delegation.reason ?? null,
    created_at: delegation.createdAt,
    expires_at: delegation.expiresAt,
    revoked_at: delegation.revokedAt ?? null,
  }
}
