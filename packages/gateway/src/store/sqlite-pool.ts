import { UnavailableError } from '@meshguard/core'
import { SqliteConnection } from './sqlite-connection.js'

/** How long a caller waits for a connection that others are using. */
const WAIT_MS = 5000

interface Waiter {
  give(connection: SqliteConnection): void
  refuse(error: Error): void
}

/**
 * Some connections to one database, each used by one caller at a time, first come first served. One that broke is replaced, so
 * that the store works again when the cause has gone.
 */
export class SqlitePool {
  readonly #path: string
  readonly #size: number
  readonly #idle: SqliteConnection[] = []
  readonly #waiting: Waiter[] = []
  #open = 0
  #closed: Promise<void> | undefined
  #allReturned: (() => void) | undefined

  constructor(path: string, size: number) {
    this.#path = path
    this.#size = size
  }

  /** @throws UnavailableError when none is free within five seconds, or the store is closed. */
  async acquire(): Promise<SqliteConnection> {
    if (this.#closed !== undefined) throw new UnavailableError('The store is closed')
    const idle = this.#idle.pop()
    if (idle !== undefined) return idle
    return this.#open < this.#size ? this.#connect() : this.#wait()
  }

  release(connection: SqliteConnection): void {
    if (connection.isBroken || this.#closed !== undefined) {
      this.#discard(connection)
      return
    }
    const next = this.#waiting.shift()
    if (next === undefined) this.#idle.push(connection)
    else next.give(connection)
  }

  /**
   * Runs a transaction that may write. It commits when `run` resolves and leaves no trace when it rejects.
   *
   * @param durability `'disk'` waits until the disk has it. `'process'` outlives this process but perhaps not a power failure.
   */
  async transaction<T>(durability: 'disk' | 'process', run: (connection: SqliteConnection) => Promise<T>): Promise<T> {
    const connection = await this.acquire()
    try {
      if (durability === 'process') await connection.exec('pragma synchronous = normal')
      await connection.begin()
      const result = await run(connection)
      await connection.exec('commit')
      return result
    } catch (error) {
      await connection.rollback().catch(() => {
        connection.isBroken = true
      })
      throw error
    } finally {
      if (durability === 'process') await this.#restoreDurability(connection)
      this.release(connection)
    }
  }

  /** Refuses whoever waits, and resolves when those who are served have finished. */
  async close(): Promise<void> {
    this.#closed ??= new Promise((resolve) => {
      this.#allReturned = resolve
    })
    for (const waiter of this.#waiting.splice(0)) waiter.refuse(new UnavailableError('The store is closed'))
    for (const connection of this.#idle.splice(0)) this.#discard(connection)
    if (this.#open === 0) this.#allReturned?.()
    return this.#closed
  }

  async #connect(): Promise<SqliteConnection> {
    this.#open++
    try {
      return await SqliteConnection.open(this.#path)
    } catch (error) {
      this.#left()
      throw error
    }
  }

  #wait(): Promise<SqliteConnection> {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => waiter.refuse(new UnavailableError('The database does not keep up')), WAIT_MS)
      const done = () => {
        clearTimeout(timer)
        const at = this.#waiting.indexOf(waiter)
        if (at >= 0) this.#waiting.splice(at, 1)
      }
      const waiter: Waiter = {
        give(connection) {
          done()
          resolve(connection)
        },
        refuse(error) {
          done()
          reject(error)
        },
      }
      this.#waiting.push(waiter)
    })
  }

  async #restoreDurability(connection: SqliteConnection): Promise<void> {
    await connection.exec('pragma synchronous = full').catch(() => {
      connection.isBroken = true
    })
  }

  #discard(connection: SqliteConnection): void {
    connection.close()
    this.#left()
  }

  /** A connection is gone; whoever waits gets a new one. */
  #left(): void {
    this.#open--
    if (this.#closed !== undefined) {
      if (this.#open === 0) this.#allReturned?.()
      return
    }
    const next = this.#waiting.shift()
    if (next !== undefined) this.#connect().then(next.give, next.refuse)
  }
}
