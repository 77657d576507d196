import { chmod, mkdir, open } from 'node:fs/promises'
import { dirname } from 'node:path'
import { Kysely } from 'kysely'
import type { Logger } from 'pino'
import { agentStore } from './agents.js'
import { auditStore } from './audit.js'
import { delegationStore, tokenStore } from './credentials.js'
import { migrate } from './migrations.js'
import { policyStore } from './policies.js'
import type { Schema } from './schema.js'
import { claimDatabase } from './single-process.js'
import { sqliteAppend } from './sqlite-audit.js'
import { sqliteDialect } from './sqlite-dialect.js'
import { sqliteLimiter } from './sqlite-limiter.js'
import { SqlitePool } from './sqlite-pool.js'
import type { Store } from './store.js'

/** What a store needs besides its address. */
export interface OpenStoreOptions {
  readonly log: Logger
  /** Milliseconds since the epoch. */
  readonly now: () => number
}

/** Connections that read. One looks through the audit log while others look up agents. */
const READERS = 4

/**
 * What is wrong with a `DATABASE_URL`, in words, or `undefined` if nothing is. The words never repeat the URL, which may hold a
 * password.
 */
export function databaseUrlProblem(databaseUrl: string): string | undefined {
  if (/^postgres(ql)?:/.test(databaseUrl)) {
    return 'DATABASE_URL: PostgreSQL is not supported yet by this release; write sqlite:./path/to/file.db'
  }
  if (!databaseUrl.startsWith('sqlite:')) return 'DATABASE_URL must be sqlite:./path/to/file.db, or sqlite:/absolute/path.db'
  const path = pathOf(databaseUrl)
  if (path === '' || path.endsWith('/') || path.includes('\0'))
    return 'DATABASE_URL names no file; write sqlite:./path/to/file.db'
  if (path.startsWith('//')) return 'DATABASE_URL names a host; write sqlite:./path/to/file.db, or sqlite:///absolute/path.db'
  return undefined
}

/**
 * Opens the store, makes what is missing of it (the folder with mode 0700, the file with 0600) and brings its schema up to date.
 *
 * @param databaseUrl `sqlite:./relative/path.db`, `sqlite:/absolute/path.db`, or `sqlite::memory:` for one that lasts as long
 * as this process.
 * @throws Error that names `DATABASE_URL` when it is not supported, when the database was written by a newer release, or when
 * another gateway has it open.
 * @throws UnavailableError when the file cannot be opened, or is no database.
 */
export async function openStore(databaseUrl: string, { log }: OpenStoreOptions): Promise<Store> {
  const problem = databaseUrlProblem(databaseUrl)
  if (problem !== undefined) throw new Error(problem)
  const path = pathOf(databaseUrl)
  const inMemory = path === ':memory:'
  const giveUp = inMemory ? () => {} : await claimFile(path)
  const writers = new SqlitePool(path, 1)
  const readers = inMemory ? writers : new SqlitePool(path, READERS)
  const write = new Kysely<Schema>({ dialect: sqliteDialect(writers) })
  const read = inMemory ? write : new Kysely<Schema>({ dialect: sqliteDialect(readers) })
  let closing: Promise<void> | undefined
  const close = () => {
    closing ??= closeAll(readers, writers, log).finally(giveUp)
    return closing
  }
  try {
    const { from, to } = await migrate(write)
    if (from !== to) log.info({ from, to }, from === 0 ? 'database made' : 'database brought up to date')
  } catch (error) {
    await close()
    throw error
  }
  return {
    agents: agentStore(read, write),
    policies: policyStore(read, write),
    tokens: tokenStore(read, write),
    delegations: delegationStore(read, write),
    audit: { ...auditStore(read, write), append: sqliteAppend(writers) },
    limiter: sqliteLimiter(writers),
    settings: settings(read, write),
    ping: () => writers.transaction('process', async () => {}),
    close,
  }
}

/** Closes everything; what is in the log beside the file goes into the file first, so that it can be copied by itself. */
async function closeAll(readers: SqlitePool, writers: SqlitePool, log: Logger): Promise<void> {
  if (readers !== writers) await readers.close()
  try {
    const connection = await writers.acquire()
    await connection.exec('pragma wal_checkpoint(truncate)').finally(() => writers.release(connection))
  } catch (error) {
    log.warn({ err: error }, 'the database is closed without a checkpoint; its -wal file belongs to it')
  }
  await writers.close()
}

function settings(read: Kysely<Schema>, write: Kysely<Schema>): Store['settings'] {
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
  }
}

function pathOf(databaseUrl: string): string {
  return databaseUrl.slice('sqlite:'.length).replace(/^\/\/(?=\/)/, '')
}

/** Makes the file, and claims it for this process. */
async function claimFile(path: string): Promise<() => void> {
  await makeFile(path)
  await makeFile(`${path}-claim`)
  return claimDatabase(`${path}-claim`)
}

/** Nobody else may read what is in it; SQLite gives the files beside it the same mode. */
async function makeFile(path: string): Promise<void> {
  try {
    await mkdir(dirname(path), { recursive: true, mode: 0o700 })
    const file = await open(path, 'a', 0o600)
    await file.close()
    await chmod(path, 0o600)
  } catch (error) {
    throw new Error(`DATABASE_URL: cannot make or open ${path}: ${(error as Error).message}`, { cause: error })
  }
}
