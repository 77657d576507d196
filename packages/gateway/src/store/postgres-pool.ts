import { UnavailableError } from '@meshguard/core'
import type { CompiledQuery, DatabaseConnection, QueryResult } from 'kysely'
import pg from 'pg'
import type { Logger } from 'pino'
import { failureOf, isBroken } from './postgres-errors.js'
import { PostgresSockets } from './postgres-sockets.js'

/** How many connections there may be, and how long they work, in ms. */
export interface PoolLimits {
  readonly connections: number
  /** After this the server ends a statement, and a little later it is given up here. */
  readonly statementMs: number
  /** A statement waits so long for what another one has locked. */
  readonly lockMs: number
}

/** Those of a gateway that serves. */
export const SERVING: PoolLimits = { connections: 10, statementMs: 5000, lockMs: 2000 }

/** How long a free connection, or a new one, is waited for. */
const CONNECT_MS = 2000
const IDLE_TRANSACTION_MS = 10_000
/** Between attempts to connect while there is no server. */
const FIRST_PAUSE_MS = 25
const LONGEST_PAUSE_MS = 1000

const INT8 = 20

/**
 * How connections are made. Whole numbers are numbers, not texts: none that is kept here is beyond 2^53. Commits wait for the
 * disk, whatever the server's default, unless the URL itself says otherwise.
 */
export function connectionConfig(databaseUrl: string): pg.ClientConfig {
  const url = new URL(databaseUrl)
  const options = url.searchParams.get('options') ?? ''
  if (!options.includes('synchronous_commit')) url.searchParams.set('options', `${options} -c synchronous_commit=on`.trim())
  // pg takes these for `verify-full`, and warns that it will not always; so it is said.
  const isLax = /^(prefer|require|verify-ca)$/.test(url.searchParams.get('sslmode') ?? '')
  if (isLax && !url.searchParams.has('uselibpqcompat')) url.searchParams.set('sslmode', 'verify-full')
  const getTypeParser = (oid: number, format?: string) =>
    oid === INT8 ? Number : (pg.types.getTypeParser as (oid: number, format?: string) => unknown)(oid, format)
  return {
    connectionString: url.href,
    application_name: 'meshguard',
    connectionTimeoutMillis: CONNECT_MS,
    keepAlive: true,
    types: { getTypeParser } as pg.CustomTypesConfig,
  }
}

/**
 * The connections of a gateway to PostgreSQL, each used by one caller at a time. One that broke is replaced. While there is no
 * server, or it takes no more connections and none is free, callers are refused at once, and somebody tries again after a pause that grows to a second.
 */
export class PostgresPool {
  readonly #pool: pg.Pool
  readonly #sockets = new PostgresSockets()
  #pauseMs = 0
  #retryAt = 0
  #inUse = 0
  #closed: Promise<void> | undefined
  #allReturned: (() => void) | undefined

  constructor(config: pg.ClientConfig, log: Logger, { connections, statementMs, lockMs }: PoolLimits) {
    this.#pool = new pg.Pool({
      ...config,
      stream: this.#sockets.make,
      max: connections,
      statement_timeout: statementMs,
      query_timeout: statementMs + CONNECT_MS,
      lock_timeout: lockMs,
      idle_in_transaction_session_timeout: IDLE_TRANSACTION_MS,
    })
    // A connection may end at any moment, also between two steps of this process, where an error that nobody listens to would end
    // it too. Whoever has the connection is refused what is asked of it, and the pool replaces it.
    this.#pool.on('connect', (client) => client.on('error', () => undefined))
    this.#pool.on('error', (error) => log.warn({ err: failureOf(error) }, 'an idle connection to the database ended'))
  }

  /** @throws UnavailableError when there is no server, none is free in time, or the store is closed. */
  async acquire(): Promise<PostgresConnection> {
    if (this.#closed !== undefined) throw new UnavailableError('The store is closed')
    if (performance.now() < this.#retryAt && this.#pool.idleCount === 0) {
      throw new UnavailableError('The database is not reachable')
    }
    this.#inUse++
    try {
      const client = await this.#pool.connect()
      this.#pauseMs = 0
      return new PostgresConnection(client, () => this.#returned())
    } catch (error) {
      this.#returned()
      if (!isBusy(error)) this.#pause()
      throw failureOf(error)
    }
  }

  /** Runs one statement, committed by itself. */
  async run<R extends pg.QueryResultRow>(query: pg.QueryConfig): Promise<pg.QueryResult<R>> {
    const connection = await this.acquire()
    try {
      return await connection.query<R>(query)
    } finally {
      connection.release()
    }
  }

  /** Refuses what comes, and resolves when what runs has finished. */
  close(): Promise<void> {
    this.#closed ??= new Promise<void>((resolve) => {
      this.#allReturned = resolve
      if (this.#inUse === 0) resolve()
    })
      .then(() => this.#pool.end())
      .then(() => this.#sockets.close())
    return this.#closed
  }

  #returned(): void {
    this.#inUse--
    if (this.#inUse === 0) this.#allReturned?.()
  }

  #pause(): void {
    this.#pauseMs = Math.min(Math.max(2 * this.#pauseMs, FIRST_PAUSE_MS), LONGEST_PAUSE_MS)
    this.#retryAt = performance.now() + this.#pauseMs
  }
}

/** Whether the pool says that none of its connections came free in time, which tells nothing of the server. */
function isBusy(error: unknown): boolean {
  return error instanceof Error && error.message === 'timeout exceeded when trying to connect'
}

/** One connection, in use by one caller. */
export class PostgresConnection implements DatabaseConnection {
  readonly #client: pg.PoolClient
  readonly #onReturn: () => void
  #isBroken = false

  constructor(client: pg.PoolClient, onReturn: () => void) {
    this.#client = client
    this.#onReturn = onReturn
  }

  async query<R extends pg.QueryResultRow>(query: pg.QueryConfig): Promise<pg.QueryResult<R>> {
    try {
      return await this.#client.query<R>(query)
    } catch (error) {
      if (isBroken(error)) this.#isBroken = true
      throw failureOf(error)
    }
  }

  async executeQuery<R>({ sql, parameters }: CompiledQuery): Promise<QueryResult<R>> {
    const { rows, rowCount } = await this.query({ text: sql, values: [...parameters] })
    return { rows: rows as R[], numAffectedRows: BigInt(rowCount ?? 0) }
  }

  // biome-ignore lint/correctness/useYield: nothing here is streamed; Kysely's interface asks for it.
  async *streamQuery<R>(): AsyncIterableIterator<QueryResult<R>> {
    throw new Error('Statements are not streamed')
  }

  release(): void {
    this.#client.release(this.#isBroken)
    this.#onReturn()
  }
}
