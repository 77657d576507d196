import { UnavailableError } from '@meshguard/core'
import { Kysely, sql, type Transaction } from 'kysely'
import type pg from 'pg'
import type { Logger } from 'pino'
import { agentStore } from './agents.js'
import { auditStore } from './audit.js'
import { delegationStore, tokenStore } from './credentials.js'
import { migrate } from './migrations.js'
import type { OpenStoreOptions } from './open-store.js'
import { policyStore } from './policies.js'
import { addAuditMonths, postgresAppend, postgresParts } from './postgres-audit.js'
import { PostgresChanges } from './postgres-changes.js'
import { postgresDialect } from './postgres-dialect.js'
import { codeOf } from './postgres-errors.js'
import { postgresLimiter } from './postgres-limiter.js'
import { connectionConfig, type PoolLimits, PostgresPool, SERVING } from './postgres-pool.js'
import { POSTGRES_MIGRATIONS } from './postgres-schema.js'
import { PostgresSession } from './postgres-session.js'
import type { Schema } from './schema.js'
import { settingsStore } from './settings.js'
import type { Store } from './store.js'

const EXAMPLE = 'postgres://user:password@host:5432/database'
/** The oldest PostgreSQL that is still maintained and was tried. */
const OLDEST = 150_000
/** A start waits so long for others that bring the schema up to date. */
const MIGRATING: PoolLimits = { connections: 1, statementMs: 60_000, lockMs: 60_000 }
const HOUR_MS = 3_600_000

/** What is wrong with a `postgres:` URL, in words that do not repeat it, or `undefined` if nothing is. */
export function postgresUrlProblem(databaseUrl: string): string | undefined {
  if (!isUrl(databaseUrl)) {
    return `DATABASE_URL is no URL; write ${EXAMPLE}, with characters like @ : / # % in the password percent-encoded`
  }
  const { host, pathname, searchParams } = new URL(databaseUrl)
  if (host === '' && !searchParams.has('host')) return `DATABASE_URL names no host; write ${EXAMPLE}`
  if (!/^\/[^/]+$/.test(pathname)) return `DATABASE_URL names no database; write ${EXAMPLE}`
  return undefined
}

/** Whether it is a URL in which everything that is percent-encoded can be decoded. */
function isUrl(text: string): boolean {
  try {
    decodeURIComponent(new URL(text).href)
    return true
  } catch {
    return false
  }
}

/**
 * Opens a store in PostgreSQL, which gateways share.
 *
 * @throws Error that names what to change: the user, the database, its version or encoding, or `GATEWAY_ID` where another
 * gateway writes the same chain.
 * @throws UnavailableError when the server does not answer.
 */
export async function openPostgresStore(databaseUrl: string, options: OpenStoreOptions): Promise<Store> {
  const { log, writer } = options
  const config = connectionConfig(databaseUrl)
  await prepare(databaseUrl, config, log)
  const pool = new PostgresPool(config, log, SERVING)
  const db = new Kysely<Schema>({ dialect: postgresDialect(pool) })
  const closers: (() => Promise<void>)[] = [() => pool.close()]
  let closing: Promise<void> | undefined
  const close = () => {
    closing ??= closeAll(closers.reverse())
    return closing
  }
  try {
    await addAuditMonths(pool)
    const changes = await PostgresChanges.open(pool, log)
    closers.push(() => changes.close())
    const session = await PostgresSession.open({ config, log, writer, onNews: () => changes.wake() })
    closers.push(() => session.close())
    closers.push(monthly(pool, log))
    return {
      agents: agentStore(db, db),
      policies: policyStore(db, db),
      tokens: tokenStore(db, db),
      delegations: delegationStore(db, db),
      audit: { ...auditStore(db, db), ...postgresParts(pool, db), append: postgresAppend(pool) },
      limiter: postgresLimiter(pool, log),
      settings: settingsStore(db, db),
      changes,
      ping: () => ping(pool),
      close,
    }
  } catch (error) {
    await close()
    throw error
  }
}

async function closeAll(closers: readonly (() => Promise<void>)[]): Promise<void> {
  for (const close of closers) await close()
}

/** Makes the next month of the audit log long before it begins. */
function monthly(pool: PostgresPool, log: Logger): () => Promise<void> {
  const work = () => addAuditMonths(pool).catch((error: unknown) => log.error({ err: error }, 'no next month of the audit log'))
  const timer = setInterval(work, HOUR_MS).unref()
  return async () => clearInterval(timer)
}

async function ping(pool: PostgresPool): Promise<void> {
  const { rows } = await pool.run<{ transaction_read_only: string }>({ text: 'show transaction_read_only' })
  if (rows[0]?.transaction_read_only !== 'off') throw new UnavailableError('The database may not be written: it is a standby')
}

/** Looks whether this is a database for gateways, and brings its schema up to date, one gateway after the other. */
async function prepare(databaseUrl: string, config: pg.ClientConfig, log: Logger): Promise<void> {
  const pool = new PostgresPool(config, log, MIGRATING)
  const db = new Kysely<Schema>({ dialect: postgresDialect(pool) })
  try {
    await assertUsable(pool)
    const { from, to } = await migrate(db, { migrations: POSTGRES_MIGRATIONS, begin, tables })
    if (from !== to) log.info({ from, to }, from === 0 ? 'database made' : 'database brought up to date')
  } catch (error) {
    throw explained(error, new URL(databaseUrl))
  } finally {
    await pool.close()
  }
}

async function begin(trx: Transaction<Schema>): Promise<void> {
  await sql`select pg_advisory_xact_lock(hashtextextended('meshguard schema ' || current_schema(), 0))`.execute(trx)
}

/** The tables of the schema that is written to; others of the database are none of our business. */
async function tables(trx: Transaction<Schema>): Promise<readonly string[]> {
  const { rows } = await sql<{ name: string }>`
    select tablename as name from pg_tables where schemaname = current_schema() order by 1`.execute(trx)
  return rows.map(({ name }) => name)
}

async function assertUsable(pool: PostgresPool): Promise<void> {
  const { rows } = await pool.run<{ version: number; encoding: string; schema: string | null }>({
    text: `select current_setting('server_version_num')::int as version, current_setting('server_encoding') as encoding,
      current_schema() as schema`,
  })
  const { version = 0, encoding = '', schema = null } = rows[0] ?? {}
  if (version < OLDEST) throw new Error(`DATABASE_URL: PostgreSQL ${Math.floor(version / 10_000)} is too old: take 15 or later`)
  if (encoding !== 'UTF8') {
    throw new Error(`DATABASE_URL: the database is encoded in ${encoding}: make it with "create database … encoding 'UTF8'"`)
  }
  if (schema === null) throw new Error('DATABASE_URL: the database has no schema to make tables in: "create schema public"')
}

/** What a start that fails says: what to do, and never the URL. */
function explained(error: unknown, { hostname, port, username, pathname, searchParams }: URL): Error {
  const cause = error instanceof UnavailableError ? error.cause : error
  const code = codeOf(cause)
  const server = `PostgreSQL at ${hostname === '' ? searchParams.get('host') : hostname}:${port === '' ? 5432 : port}`
  const said = (words: string) => new Error(`DATABASE_URL: ${words}`, { cause })
  if (/^28/.test(code)) return said(`${server} refuses the user "${username}" or its password: correct them in the URL`)
  if (code === '3D000') return said(`${server} has no database "${pathname.slice(1)}": create it, or correct the name`)
  if (code === '42501') {
    return said(`the user "${username}" may not make tables: "grant create on schema public to …", or make it the owner`)
  }
  if (/does not support SSL/.test(String(cause))) {
    return said(`${server} has no TLS: turn it on there, or write sslmode=disable in the URL if the way to it is safe`)
  }
  if (/^(ERR_(TLS|SSL)|EPROTO|UNABLE_TO)|CERT/.test(code)) {
    return said(
      `the TLS of ${server} is not trusted (${code}): name the authority of its certificate with sslrootcert=/path/to/ca.pem`,
    )
  }
  if (code === 'ENOENT' || code === 'EACCES') {
    return said(`a file that it names cannot be read (${code}): correct sslrootcert, sslcert or sslkey, or a socket's host`)
  }
  if (/^(E[A-Z]+|08|57P0|53300)/.test(code) || /timeout|terminated/i.test(String(cause))) {
    const why = code === '' ? 'no answer in time' : code
    return new UnavailableError(`DATABASE_URL: ${server} is not reachable (${why}): start it, or correct host and port`, {
      cause,
    })
  }
  return error instanceof Error ? error : new Error(String(error))
}
