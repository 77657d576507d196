import { type Kysely, type Selectable, sql } from 'kysely'
import type { PoliciesTable, Schema } from './schema.js'
import type { PolicyStore, StoredPolicy } from './store.js'

/**
 * Policies by name. The row of a deleted one stays, without its document: were its revision to begin again at 1, somebody who
 * read the old policy could overwrite the new one without knowing it. Every change is one statement, which compares and sets.
 */
export function policyStore(read: Kysely<Schema>, write: Kysely<Schema>): PolicyStore {
  const next = sql<number>`policies.revision + 1`

  /** Makes it, or changes it wherever it stands; with `onlyNew` not where there is one. */
  async function upsert(name: string, document: string, now: number, onlyNew: boolean) {
    const row = { document, updated_at: now }
    return write
      .insertInto('policies')
      .values({ name, ...row, revision: 1 })
      .onConflict((conflict) => {
        const changed = conflict.column('name').doUpdateSet({ ...row, revision: next })
        return onlyNew ? changed.where('policies.document', 'is', null) : changed
      })
      .returning('revision')
      .executeTakeFirst()
  }

  async function updateAt(name: string, document: string, now: number, revision: number) {
    return write
      .updateTable('policies')
      .set({ document, updated_at: now, revision: next })
      .where('name', '=', name)
      .where('document', 'is not', null)
      .where('revision', '=', revision)
      .returning('revision')
      .executeTakeFirst()
  }

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
      const { name } = document
      const text = JSON.stringify(document)
      const written =
        ifRevision === undefined || ifRevision === 0
          ? await upsert(name, text, now, ifRevision === 0)
          : await updateAt(name, text, now, ifRevision)
      return written && { name, document, revision: written.revision, updatedAt: now }
    },

    async delete(name, ifRevision) {
      let removal = write.updateTable('policies').set({ document: null, revision: next })
      removal = removal.where('name', '=', name).where('document', 'is not', null)
      if (ifRevision !== undefined) removal = removal.where('revision', '=', ifRevision)
      if ((await removal.executeTakeFirst()).numUpdatedRows > 0n) return 'deleted'
      const row = await read.selectFrom('policies').selectAll().where('name', '=', name).executeTakeFirst()
      return row === undefined || row.document === null ? 'unknown' : 'changed'
    },
  }
}

function policyOf({ name, document, revision, updated_at }: Selectable<PoliciesTable>): StoredPolicy | undefined {
  return document === null ? undefined : { name, document: JSON.parse(document), revision, updatedAt: updated_at }
}
