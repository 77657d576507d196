import {
  CompiledQuery,
  type DatabaseConnection,
  type Dialect,
  type Driver,
  PostgresAdapter,
  PostgresIntrospector,
  PostgresQueryCompiler,
} from 'kysely'
import type { PostgresConnection, PostgresPool } from './postgres-pool.js'

/** Kysely's PostgreSQL over a pool whose errors are those of a store (Kysely's own `PostgresDialect` takes pg's, and its errors). */
export function postgresDialect(pool: PostgresPool): Dialect {
  return {
    createDriver: () => driver(pool),
    createAdapter: () => new PostgresAdapter(),
    createQueryCompiler: () => new PostgresQueryCompiler(),
    createIntrospector: (db) => new PostgresIntrospector(db),
  }
}

function driver(pool: PostgresPool): Driver {
  const run = async (connection: DatabaseConnection, statement: string) => {
    await connection.executeQuery(CompiledQuery.raw(statement))
  }
  return {
    init: async () => {},
    acquireConnection: () => pool.acquire(),
    beginTransaction: (connection) => run(connection, 'begin'),
    commitTransaction: (connection) => run(connection, 'commit'),
    rollbackTransaction: (connection) => run(connection, 'rollback'),
    releaseConnection: async (connection) => (connection as PostgresConnection).release(),
    destroy: () => pool.close(),
  }
}
