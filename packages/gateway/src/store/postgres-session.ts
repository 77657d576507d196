import { setTimeout as pause } from 'node:timers/promises'
import pg from 'pg'
import type { Logger } from 'pino'
import { failureOf } from './postgres-errors.js'
import { PostgresSockets } from './postgres-sockets.js'

/** What a session is opened with. */
export interface SessionOptions {
  readonly config: pg.ClientConfig
  readonly log: Logger
  /** The chain of the audit log that this gateway alone writes. */
  readonly writer?: string | undefined
  /** Something changed, or may have. */
  readonly onNews: () => void
}

/** How long a claim is waited for: the server may not know yet that the gateway that had it is gone. */
const CLAIM_MS = 3000
const RETRY_MS = 100
const LONGEST_PAUSE_MS = 1000
const QUERY_MS = 5000
/** How often it is looked whether the server is still there: a connection that is silently gone does not tell. */
const LOOK_MS = 3000

/** One gateway a chain, in one schema. A connection that is silently gone gives its claim up within half a minute. */
const CLAIM = `select pg_try_advisory_lock(hashtextextended('meshguard writer ' || current_schema() || ' ' || $1, 0)) as claimed`
const KEEP_ALIVE = 'set tcp_keepalives_idle = 15; set tcp_keepalives_interval = 5; set tcp_keepalives_count = 3'

/** A connection, and how it is ended, whether the server answers or not. */
interface Connection {
  readonly client: pg.Client
  end(): Promise<void>
}

/**
 * The one connection that stays: it listens for changes and holds the claim on this gateway's chain. When it breaks it is made
 * again, with pauses that grow to a second.
 */
export class PostgresSession {
  readonly #options: SessionOptions
  #connection: Connection | undefined
  #isClosed = false
  readonly #looking: NodeJS.Timeout

  private constructor(options: SessionOptions) {
    this.#options = options
    this.#looking = setInterval(() => this.#look(), LOOK_MS).unref()
  }

  /** @throws Error that names `GATEWAY_ID` when another gateway has the chain; UnavailableError. */
  static async open(options: SessionOptions): Promise<PostgresSession> {
    const session = new PostgresSession(options)
    try {
      await session.#claimInTime(await session.#connect())
      return session
    } catch (error) {
      // Else it would connect again, and claim what nobody uses.
      await session.close()
      throw error
    }
  }

  async close(): Promise<void> {
    this.#isClosed = true
    clearInterval(this.#looking)
    await this.#connection?.end()
  }

  async #connect(): Promise<Connection> {
    const { config, log, onNews } = this.#options
    const sockets = new PostgresSockets()
    const client = new pg.Client({ ...config, query_timeout: QUERY_MS, stream: sockets.make })
    const end = async () => {
      client.end().catch((error: unknown) => log.debug({ err: error }, 'a connection was not ended in order'))
      await sockets.close()
    }
    client.on('error', (error) => log.warn({ err: error }, 'the connection that listens for changes broke'))
    try {
      await client.connect()
      client.on('notification', onNews)
      await client.query(`${KEEP_ALIVE}; listen meshguard_changes`)
    } catch (error) {
      await end()
      throw failureOf(error)
    }
    const connection = { client, end }
    this.#connection = connection
    client.once('end', () => void this.#reconnect())
    return connection
  }

  async #claimInTime(connection: Connection): Promise<void> {
    const { writer } = this.#options
    const deadline = performance.now() + CLAIM_MS
    while (!(await this.#claim(connection))) {
      if (performance.now() > deadline) {
        throw new Error(
          `GATEWAY_ID: another gateway writes "${writer}" in this database. Stop it, or give this one another GATEWAY_ID ` +
            'or a DATA_DIR of its own',
        )
      }
      await pause(RETRY_MS)
    }
  }

  async #claim({ client }: Connection): Promise<boolean> {
    const { writer } = this.#options
    if (writer === undefined) return true
    try {
      const { rows } = await client.query<{ claimed: boolean }>(CLAIM, [writer])
      return rows[0]?.claimed === true
    } catch (error) {
      throw failureOf(error)
    }
  }

  /** One that does not answer in time is ended, and so made again. */
  #look(): void {
    const connection = this.#connection
    connection?.client.query('select').catch(() => connection.end())
  }

  async #reconnect(): Promise<void> {
    const connection = await this.#connectAgain()
    if (connection === undefined) return
    this.#options.onNews()
    // Ended, it is made again like one that broke by itself.
    await this.#claimAgain(connection).catch(() => connection.end())
  }

  async #connectAgain(): Promise<Connection | undefined> {
    for (let pauseMs = RETRY_MS; ; pauseMs = Math.min(2 * pauseMs, LONGEST_PAUSE_MS)) {
      await pause(pauseMs, undefined, { ref: false })
      if (this.#isClosed) return undefined
      try {
        const connection = await this.#connect()
        if (!this.#isClosed) return connection
        await connection.end()
        return undefined
      } catch (error) {
        this.#options.log.debug({ err: error }, 'not connected to the database again yet')
      }
    }
  }

  /** Rows of two writers of one chain never mix, as each is refused behind the other's; but one of them is not wanted. */
  async #claimAgain(connection: Connection): Promise<void> {
    const { log, writer } = this.#options
    for (let said = false; !this.#isClosed && connection === this.#connection; ) {
      if (await this.#claim(connection)) return
      if (!said) log.error({ writer }, 'another gateway writes the chain of this one: give one of them another GATEWAY_ID')
      said = true
      await pause(LONGEST_PAUSE_MS, undefined, { ref: false })
    }
  }
}
