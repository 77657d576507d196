import { setTimeout } from 'node:timers/promises'
import pg from 'pg'
import type { Logger } from 'pino'
import { failureOf } from './postgres-errors.js'

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

/** One gateway a chain, in one schema. A connection that is silently gone gives its claim up within half a minute. */
const CLAIM = `select pg_try_advisory_lock(hashtextextended('meshguard writer ' || current_schema() || ' ' || $1, 0)) as claimed`
const KEEP_ALIVE = 'set tcp_keepalives_idle = 15; set tcp_keepalives_interval = 5; set tcp_keepalives_count = 3'

/**
 * The one connection that stays: it listens for changes and holds the claim on this gateway's chain. When it breaks it is made
 * again, with pauses that grow to a second.
 */
export class PostgresSession {
  readonly #options: SessionOptions
  #client: pg.Client | undefined
  #isClosed = false

  private constructor(options: SessionOptions) {
    this.#options = options
  }

  /** @throws Error that names `GATEWAY_ID` when another gateway has the chain; UnavailableError. */
  static async open(options: SessionOptions): Promise<PostgresSession> {
    const session = new PostgresSession(options)
    const client = await session.#connect()
    const deadline = performance.now() + CLAIM_MS
    while (!(await session.#claim(client))) {
      if (performance.now() < deadline) {
        await setTimeout(RETRY_MS)
        continue
      }
      await session.close()
      throw new Error(
        `GATEWAY_ID: another gateway writes "${options.writer}" in this database. Stop it, or give this one another GATEWAY_ID ` +
          'or a DATA_DIR of its own',
      )
    }
    return session
  }

  async close(): Promise<void> {
    this.#isClosed = true
    await this.#client?.end().catch(() => undefined)
  }

  async #connect(): Promise<pg.Client> {
    const client = new pg.Client({ ...this.#options.config, query_timeout: QUERY_MS })
    client.on('error', (error) => this.#options.log.warn({ err: error }, 'the connection that listens for changes broke'))
    try {
      await client.connect()
      client.on('notification', () => this.#options.onNews())
      await client.query(`${KEEP_ALIVE}; listen meshguard_changes`)
    } catch (error) {
      await client.end().catch(() => undefined)
      throw failureOf(error)
    }
    this.#client = client
    client.once('end', () => void this.#reconnect())
    return client
  }

  async #claim(client: pg.Client): Promise<boolean> {
    const { writer } = this.#options
    if (writer === undefined) return true
    const { rows } = await client.query<{ claimed: boolean }>(CLAIM, [writer])
    return rows[0]?.claimed === true
  }

  async #reconnect(): Promise<void> {
    const client = await this.#connectAgain()
    if (client === undefined) return
    this.#options.onNews()
    // Ended, it is made again like one that broke by itself.
    await this.#claimAgain(client).catch(() => client.end().catch(() => undefined))
  }

  async #connectAgain(): Promise<pg.Client | undefined> {
    for (let pauseMs = RETRY_MS; ; pauseMs = Math.min(2 * pauseMs, LONGEST_PAUSE_MS)) {
      await setTimeout(pauseMs, undefined, { ref: false })
      if (this.#isClosed) return undefined
      try {
        const client = await this.#connect()
        if (!this.#isClosed) return client
        await client.end()
        return undefined
      } catch (error) {
        this.#options.log.debug({ err: error }, 'not connected to the database again yet')
      }
    }
  }

  /** Rows of two writers of one chain never mix, as each is refused behind the other's; but one of them is not wanted. */
  async #claimAgain(client: pg.Client): Promise<void> {
    const { log, writer } = this.#options
    for (let said = false; !this.#isClosed && client === this.#client; ) {
      if (await this.#claim(client)) return
      if (!said) log.error({ writer }, 'another gateway writes the chain of this one: give one of them another GATEWAY_ID')
      said = true
      await setTimeout(LONGEST_PAUSE_MS, undefined, { ref: false })
    }
  }
}
