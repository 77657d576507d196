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
import { settingsStore } from './settings.js'
import { sqliteAppend } from './sqlite-audit.js'
import { claimDatabase } from './sqlite-claim.js'
import { sqliteDialect } from './sqlite-dialect.js'
import { sqliteLimiter } from './sqlite-limiter.js'
import { SqlitePool } from './sqlite-pool.js'
import { SQLITE_PLAN } from './sqlite-schema.js'
import type { Store } from './store.js'

/** Connections that read. One looks through the audit log while others look up agents. */
const READERS = 4

/** What is wrong with a `sqlite:` URL, in words, or `undefined` if nothing is. */
export function sqliteUrlProblem(databaseUrl: string): string | undefined {
  const path = pathOf(databaseUrl)
  if (path === '' || path.endsWith('/') || path.includes('\0'))
    return 'DATABASE_URL names no file; write sqlite:./path/to/file.db'
  if (path.startsWith('//')) return 'DATABASE_URL names a host; write sqlite:./path/to/file.db, or sqlite:///absolute/path.db'
  return undefined
}

/**
 * Opens a store in a file, and makes what is missing of it: the folder with mode 0700, the file with 0600.
 *
 * @throws Error that names `DATABASE_URL` when the file cannot be made, was written by a newer release, or when another gateway
 * has it open.
 * @throws UnavailableError when the file cannot be opened, or is no database.
 */
export async function openSqliteStore(databaseUrl: string, { log }: { readonly log: Logger }): Promise<Store> {
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
    const { from, to } = await migrate(write, SQLITE_PLAN)
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
    settings: settingsStore(read, write),
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
