import type { ColumnDefinitionBuilder, Transaction } from 'kysely'
import type { Migration, MigrationPlan } from './migrations.js'
import type { Schema } from './schema.js'

/** What was done to the schema of SQLite, in order. Released ones never change. */
const MIGRATIONS: readonly Migration[] = [firstSchema, indexChanges]

/** How a file is brought up to date. A transaction that writes is the only one there is. */
export const SQLITE_PLAN: MigrationPlan = {
  migrations: MIGRATIONS,
  begin: async () => {},
  tables: async (trx) => (await trx.introspection.getTables()).map(({ name }) => name),
}

const notNull = (column: ColumnDefinitionBuilder) => column.notNull()
const primary = (column: ColumnDefinitionBuilder) => column.primaryKey().notNull()

async function firstSchema({ schema }: Transaction<Schema>): Promise<void> {
  await schema
    .createTable('agents')
    .addColumn('id', 'text', primary)
    .addColumn('name', 'text', notNull)
    .addColumn('trust_tier', 'text', notNull)
    .addColumn('tags', 'text', notNull)
    .addColumn('metadata', 'text', notNull)
    .addColumn('status', 'text', notNull)
    .addColumn('generation', 'bigint', notNull)
    .addColumn('created_at', 'bigint', notNull)
    .addColumn('updated_at', 'bigint', notNull)
    .addColumn('revoked_at', 'bigint')
    .addColumn('last_seen_at', 'bigint')
    .execute()
  await schema.createIndex('agents_oldest').on('agents').columns(['created_at', 'id']).execute()
  await schema
    .createTable('agent_tags')
    .addColumn('agent_id', 'text', (column) => column.notNull().references('agents.id'))
    .addColumn('tag', 'text', notNull)
    .addPrimaryKeyConstraint('agent_tags_key', ['agent_id', 'tag'])
    .execute()
  await schema
    .createTable('policies')
    .addColumn('name', 'text', primary)
    .addColumn('document', 'text')
    .addColumn('revision', 'bigint', notNull)
    .addColumn('updated_at', 'bigint', notNull)
    .execute()
  await schema
    .createTable('tokens')
    .addColumn('id', 'text', primary)
    .addColumn('name', 'text', notNull)
    .addColumn('scopes', 'text', notNull)
    .addColumn('hash', 'text', (column) => column.notNull().unique())
    .addColumn('created_at', 'bigint', notNull)
    .addColumn('expires_at', 'bigint')
    .execute()
  await schema
    .createTable('delegations')
    .addColumn('id', 'text', primary)
    .addColumn('from_agent', 'text', (column) => column.notNull().references('agents.id'))
    .addColumn('to_agent', 'text', (column) => column.notNull().references('agents.id'))
    .addColumn('actions', 'text', notNull)
    .addColumn('parent', 'text', (column) => column.references('delegations.id'))
    .addColumn('depth', 'integer', notNull)
    .addColumn('reason', 'text')
    .addColumn('created_at', 'bigint', notNull)
    .addColumn('expires_at', 'bigint', notNull)
    .addColumn('revoked_at', 'bigint')
    .execute()
  await schema.createTable('settings').addColumn('key', 'text', primary).addColumn('value', 'text', notNull).execute()
  await schema
    .createTable('rate_limits')
    .addColumn('key', 'text', primary)
    .addColumn('used', 'double precision', notNull)
    .addColumn('at', 'double precision', notNull)
    .addColumn('requests', 'double precision', notNull)
    .addColumn('window_ms', 'double precision', notNull)
    .addColumn('empty_at', 'double precision', notNull)
    .execute()
  await auditTables(schema)
}

/**
 * The audit log has one index besides its keys. It is in the order of the log, so that appending to it costs next to nothing,
 * and holds whatever is filtered by, so that a filter does not touch the rows it passes over.
 */
async function auditTables(schema: Transaction<Schema>['schema']): Promise<void> {
  await schema
    .createTable('audit')
    .addColumn('position', 'integer', primary)
    .addColumn('writer', 'text', notNull)
    .addColumn('sequence', 'bigint', notNull)
    .addColumn('id', 'text', (column) => column.notNull().unique())
    .addColumn('timestamp', 'bigint', notNull)
    .addColumn('trace_id', 'text', notNull)
    .addColumn('agent_id', 'text')
    .addColumn('action', 'text', notNull)
    .addColumn('decision', 'text', notNull)
    .addColumn('code', 'text', notNull)
    .addColumn('policy', 'text')
    .addColumn('entry', 'text', notNull)
    .addColumn('hash', 'text', notNull)
    .addUniqueConstraint('audit_chain', ['writer', 'sequence'])
    .execute()
  await schema
    .createIndex('audit_search')
    .on('audit')
    .columns(['timestamp', 'sequence', 'writer', 'decision', 'code', 'agent_id', 'action', 'trace_id', 'policy'])
    .execute()
  for (const table of ['checkpoints', 'cuts']) {
    await schema
      .createTable(table)
      .addColumn('writer', 'text', primary)
      .addColumn('sequence', 'bigint', notNull)
      .addColumn('hash', 'text', notNull)
      .addColumn('timestamp', 'bigint', notNull)
      .addColumn('signature', 'text', notNull)
      .execute()
  }
}

/** For `changedSince`. */
async function indexChanges({ schema }: Transaction<Schema>): Promise<void> {
  await schema.createIndex('agents_changed').on('agents').columns(['updated_at', 'id']).execute()
}
