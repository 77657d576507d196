import type { Kysely } from 'kysely'
import type { Schema } from './schema.js'
import type { SettingsStore } from './store.js'

/** Small facts of an installation, by key. */
export function settingsStore(read: Kysely<Schema>, write: Kysely<Schema>): SettingsStore {
  return {
    async get(key) {
      const row = await read.selectFrom('settings').select('value').where('key', '=', key).executeTakeFirst()
      return row?.value
    },

    async set(key, value) {
      await write
        .insertInto('settings')
        .values({ key, value })
        .onConflict((conflict) => conflict.column('key').doUpdateSet({ value }))
        .execute()
    },

    async swap(key, expected, value) {
      if (expected === undefined) {
        const insert = write.insertInto('settings').values({ key, value })
        const made = insert.onConflict((conflict) => conflict.column('key').doNothing()).returning('key')
        return (await made.executeTakeFirst()) !== undefined
      }
      const update = write.updateTable('settings').set({ value }).where('key', '=', key).where('value', '=', expected)
      return (await update.executeTakeFirst()).numUpdatedRows > 0n
    },
  }
}
