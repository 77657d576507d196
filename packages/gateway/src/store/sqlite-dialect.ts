import { type Dialect, type Driver, SqliteAdapter, SqliteIntrospector, SqliteQueryCompiler } from 'kysely'
import type { SqliteConnection } from './sqlite-connection.js'
import type { SqlitePool } from './sqlite-pool.js'

/**
 * Kysely's SQLite over a pool whose connections do not block this thread (Kysely's own `SqliteDialect` takes a library that
 * does). A transaction takes the lock for writing when it begins, so that it never fails half-way for want of it.
 */
export function sqliteDialect(pool: SqlitePool): Dialect {
  return {
    createDriver: () => driver(pool),
    createAdapter: () => new SqliteAdapter(),
    createQueryCompiler: () => new SqliteQueryCompiler(),
    createIntrospector: (db) => new SqliteIntrospector(db),
  }
}

function driver(pool: SqlitePool): Driver {
  return {
    init: async () => {},
    acquireConnection: () => pool.acquire(),
    beginTransaction: (connection) => (connection as SqliteConnection).begin(),
    commitTransaction: (connection) => (connection as SqliteConnection).exec('commit'),
    rollbackTransaction: (connection) => (connection as SqliteConnection).rollback(),
    releaseConnection: async (connection) => pool.release(connection as SqliteConnection),
    destroy: () => pool.close(),
  }
}
