import type { Kysely, Selectable } from 'kysely'
import type { PoliciesTable, Schema } from './schema.js'
import type { PolicyStore, StoredPolicy } from './store.js'

/**
 * Policies by name. The row of a deleted one stays, without its document: were its revision to begin again at 1, somebody who
 * read the old policy could overwrite the new one without knowing it.
 */
export function policyStore(read: Kysely<Schema>, write: Kysely<Schema>): PolicyStore {
  return {
    async list() {
      const rows = await read.selectFrom('policies').selectAll().where('document', 'is not', null).orderBy('name').execute()
      return rows.map(policyOf).filter((policy) => policy !== undefined)
    },

    async get(name) {
      const row = await read.selectFrom('policies').selectAll().where('name', '=', name).executeTakeFirst()
      return row && policyOf(row)
    },

    async put(document, now, ifRevision) {
      return write.transaction().execute(async (trx) => {
        const { name } = document
        const there = await trx.selectFrom('policies').selectAll().where('name', '=', name).executeTakeFirst()
        if (ifRevision !== undefined && ifRevision !== revisionOf(there)) return undefined
        const row = { document: JSON.stringify(document), revision: (there?.revision ?? 0) + 1, updated_at: now }
        await trx
          .insertInto('policies')
          .values({ name, ...row })
          .onConflict((conflict) => conflict.column('name').doUpdateSet(row))
          .execute()
        return { name, document, revision: row.revision, updatedAt: now }
      })
    },

    async delete(name, ifRevision) {
      return write.transaction().execute(async (trx) => {
        const there = await trx.selectFrom('policies').selectAll().where('name', '=', name).executeTakeFirst()
        if (there === undefined || there.document === null) return 'unknown'
        if (ifRevision !== undefined && ifRevision !== there.revision) return 'changed'
        const gone = { document: null, revision: there.revision + 1 }
        await trx.updateTable('policies').set(gone).where('name', '=', name).execute()
        return 'deleted'
      })
    },
  }
}

/** What `ifRevision` is compared with: 0 where there is no policy. */
function revisionOf(row: Selectable<PoliciesTable> | undefined): number {
  return row === undefined || row.document === null ? 0 : row.revision
}

function policyOf({ name, document, revision, updated_at }: Selectable<PoliciesTable>): StoredPolicy | undefined {
  return document === null ? undefined : { name, document: JSON.parse(document), revision, updatedAt: updated_at }
}
