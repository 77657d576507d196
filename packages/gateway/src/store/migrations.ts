import type { Kysely, Transaction } from 'kysely'
import type { Schema } from './schema.js'

/** One change of the schema. */
export type Migration = (db: Transaction<Schema>) => Promise<void>

/** How the schema of one kind of database is brought up to date. */
export interface MigrationPlan {
  /**
   * What was done to the schema, in order; the number of a version is how many of these it has behind it. Released ones never
   * change: add one, and a dump of its schema to the tests.
   */
  readonly migrations: readonly Migration[]
  /** Makes the transaction the only one of its kind. */
  begin(trx: Transaction<Schema>): Promise<void>
  /** The names of the tables that are there. */
  tables(trx: Transaction<Schema>): Promise<readonly string[]>
}

/**
 * Brings the database to the schema of this release, in one transaction.
 *
 * @returns the versions before and after; 0 is an empty database.
 * @throws Error when the database was written by a newer release or by another program; it is left as it is.
 */
export async function migrate(db: Kysely<Schema>, plan: MigrationPlan): Promise<{ from: number; to: number }> {
  const to = plan.migrations.length
  return db.transaction().execute(async (trx) => {
    await plan.begin(trx)
    assertOurs(await plan.tables(trx))
    await trx.schema
      .createTable('schema_version')
      .ifNotExists()
      .addColumn('version', 'integer', (column) => column.notNull())
      .execute()
    const from = (await trx.selectFrom('schema_version').select('version').executeTakeFirst())?.version ?? 0
    if (from > to) {
      throw new Error(
        `DATABASE_URL: the database was written by a newer release (schema ${from}; this release knows ${to}): ` +
          'start that release, or restore a backup that is older than it',
      )
    }
    if (from < to) {
      for (const migration of plan.migrations.slice(from)) await migration(trx)
      await trx.deleteFrom('schema_version').execute()
      await trx.insertInto('schema_version').values({ version: to }).execute()
    }
    return { from, to }
  })
}

/** @throws Error when there are tables, but not those of a gateway. */
function assertOurs(tables: readonly string[]): void {
  if (tables.length === 0 || tables.includes('schema_version')) return
  throw new Error(`DATABASE_URL: the database belongs to another program (it has a table "${tables[0]}")`)
}
