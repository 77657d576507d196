import type { Logger } from 'pino'
import { openPostgresStore, postgresUrlProblem } from './open-postgres.js'
import { openSqliteStore, sqliteUrlProblem } from './open-sqlite.js'
import type { Store } from './store.js'

/** What a store needs besides its address. */
export interface OpenStoreOptions {
  readonly log: Logger
  /** Milliseconds since the epoch. */
  readonly now: () => number
  /** The chain of audit entries that this gateway writes. On PostgreSQL no other gateway may have it meanwhile. Default: none. */
  readonly writer?: string | undefined
}

/**
 * What is wrong with a `DATABASE_URL`, in words, or `undefined` if nothing is. The words never repeat the URL, which may hold a
 * password.
 */
export function databaseUrlProblem(databaseUrl: string): string | undefined {
  if (isPostgres(databaseUrl)) return postgresUrlProblem(databaseUrl)
  if (databaseUrl.startsWith('sqlite:')) return sqliteUrlProblem(databaseUrl)
  return 'DATABASE_URL must be sqlite:./path/to/file.db, sqlite:/absolute/path.db or postgres://user:password@host:5432/database'
}

/** Whether several gateways can share the database of this URL. */
export function isPostgres(databaseUrl: string): boolean {
  return /^postgres(?:ql)?:/.test(databaseUrl)
}

/**
 * Opens the store and brings its schema up to date.
 *
 * @param databaseUrl `sqlite:./relative/path.db`, `sqlite:/absolute/path.db`, or `sqlite::memory:` for one that lasts as long
 * as this process; `postgres://user:password@host:5432/database` for one that gateways share.
 * @throws Error that names `DATABASE_URL` when it is not supported, when the database was written by a newer release, or when
 * another gateway has it (SQLite) or this gateway's chain of the audit log (PostgreSQL).
 * @throws UnavailableError when the database cannot be opened, or is none.
 */
export async function openStore(databaseUrl: string, options: OpenStoreOptions): Promise<Store> {
  const problem = databaseUrlProblem(databaseUrl)
  if (problem !== undefined) throw new Error(problem)
  return isPostgres(databaseUrl) ? openPostgresStore(databaseUrl, options) : openSqliteStore(databaseUrl, options)
}
