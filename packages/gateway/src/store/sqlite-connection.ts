import { setTimeout } from 'node:timers/promises'
import type { CompiledQuery, DatabaseConnection, QueryResult } from 'kysely'
import Database from 'libsql/promise'
import { failureOf, isBroken, isLocked } from './sqlite-errors.js'

/** A statement that is prepared once and run many times. */
export interface Statement {
  /** Runs it on this thread: for single rows inside a transaction, which holds the lock already. */
  run(parameters: readonly unknown[]): unknown
  /** Runs it on a thread of the library. */
  all(parameters: readonly unknown[]): Promise<Record<string, unknown>[]>
}

/** How long a lock of another process is waited for. */
const LOCK_WAIT_MS = 2000

/**
 * Set on every connection. LIKE as PostgreSQL has it. SQLite itself does not wait for a lock: it would sleep on a thread of the
 * library, which has as few as the machine has processors, and whoever holds the lock may need it to go on.
 */
const PRAGMAS = `
  pragma busy_timeout = 0;
  pragma journal_mode = wal;
  pragma synchronous = full;
  pragma foreign_keys = on;
  pragma case_sensitive_like = on;
  pragma journal_size_limit = 67108864;
`

/**
 * One connection to a SQLite database. Statements, and above all commits with their wait for the disk, run on a thread of the
 * library, so that this one goes on answering meanwhile. Used by one caller at a time.
 */
export class SqliteConnection implements DatabaseConnection {
  readonly #db: Database
  readonly #statements = new Map<string, Statement>()
  /** After a failure that the connection may not recover from: it is then closed, and another one opened. */
  isBroken = false

  private constructor(db: Database) {
    this.#db = db
  }

  /** @throws UnavailableError when the file cannot be opened or is no database. */
  static async open(path: string): Promise<SqliteConnection> {
    try {
      const connection = new SqliteConnection(new Database(path, {}))
      await connection.exec(PRAGMAS)
      return connection
    } catch (error) {
      throw failureOf(error)
    }
  }

  /** Runs statements that have no parameters and whose rows do not matter. */
  async exec(statements: string): Promise<void> {
    await this.#guarded(() => this.#db.exec(statements))
  }

  /**
   * Begins a transaction that may write. On this thread: while nobody else has the lock, which is as good as always, it takes a
   * few microseconds, and going to a thread of the library and back takes longer.
   */
  async begin(): Promise<void> {
    const statement = await this.prepare('begin immediate')
    await this.#guarded(async () => statement.run([]))
  }

  /** Prepares a statement, the first time. */
  async prepare(text: string): Promise<Statement> {
    const known = this.#statements.get(text)
    if (known !== undefined) return known
    const statement: Statement = await this.#guarded(() => this.#db.prepare(text))
    this.#statements.set(text, statement)
    return statement
  }

  /** Runs a statement on a thread of the library and answers its rows. */
  async all(text: string, parameters: readonly unknown[]): Promise<Record<string, unknown>[]> {
    const statement = await this.prepare(text)
    return this.#guarded(() => statement.all(parameters))
  }

  /** Runs prepared statements on this thread. */
  run(statements: () => void): void {
    try {
      statements()
    } catch (error) {
      throw this.#failed(error)
    }
  }

  async executeQuery<R>({ sql, parameters, query }: CompiledQuery): Promise<QueryResult<R>> {
    const rows = (await this.all(sql, parameters)) as R[]
    if (query.kind !== 'UpdateQueryNode' && query.kind !== 'DeleteQueryNode') return { rows }
    const [counted] = await this.all('select changes() as changes', [])
    return { rows, numAffectedRows: BigInt(counted?.['changes'] as number) }
  }

  // biome-ignore lint/correctness/useYield: nothing here is streamed; Kysely's interface asks for it.
  async *streamQuery<R>(): AsyncIterableIterator<QueryResult<R>> {
    throw new Error('SQLite statements are not streamed')
  }

  /** Undoes a transaction, if one is still open. */
  async rollback(): Promise<void> {
    if (Reflect.get(this.#db, 'inTransaction') === true) await this.exec('rollback')
  }

  close(): void {
    this.#statements.clear()
    this.#db.close()
  }

  /** Tries again while the database is locked, for two seconds, and in between leaves the thread to whoever holds the lock. */
  async #guarded<T>(run: () => Promise<T>): Promise<T> {
    const deadline = performance.now() + LOCK_WAIT_MS
    for (let pauseMs = 1; ; pauseMs = Math.min(2 * pauseMs, 50)) {
      try {
        return await run()
      } catch (error) {
        if (!isLocked(error) || performance.now() > deadline) throw this.#failed(error)
        await setTimeout(pauseMs)
      }
    }
  }

  #failed(error: unknown): Error {
    this.isBroken ||= isBroken(error)
    return failureOf(error)
  }
}
