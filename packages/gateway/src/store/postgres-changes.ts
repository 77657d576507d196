import type { Logger } from 'pino'
import type { PostgresPool } from './postgres-pool.js'
import type { ChangeListener, Changes, StoreChange } from './store.js'

/** How often it is looked for changes that no notification told of. */
const POLL_MS = 1000
/** A look that takes longer may hide a change: nothing that is remembered counts then. */
const LATE_MS = 2000
/** More changes at once than that are told as "anything may have changed". */
const MAX_CHANGES = 1000
const PRUNE_EVERY_MS = 60_000

const VERSION = 'select version from change_clock'
const READ = `
select change_clock.version as clock, changes.version, kind, key
from change_clock left join changes on changes.version > $1::bigint and changes.version <= change_clock.version
order by changes.version limit ${MAX_CHANGES + 1}`
const PRUNE = `delete from changes where at < now() - interval '1 hour'`

interface Row {
  readonly clock: number
  readonly version: number | null
  readonly kind: StoreChange['kind']
  readonly key: string
}

/**
 * Tells what other gateways have changed. A notification only says that it is time to look; what changed is read by its version,
 * every second at the latest, so that a notification that was lost costs a second. While the database cannot be read, and
 * after a gap, listeners are told that anything may have changed.
 */
export class PostgresChanges implements Changes {
  readonly #pool: PostgresPool
  readonly #log: Logger
  readonly #listeners = new Set<ChangeListener>()
  #version: number
  /** Listeners may have missed something. */
  #hasGap = false
  #isFailing = false
  #running: Promise<void> | undefined
  #next: Promise<void> | undefined
  #timer: NodeJS.Timeout | undefined
  #prunedAt = performance.now()

  private constructor(pool: PostgresPool, log: Logger, version: number) {
    this.#pool = pool
    this.#log = log
    this.#version = version
    this.#timer = setInterval(() => this.wake(), POLL_MS).unref()
  }

  static async open(pool: PostgresPool, log: Logger): Promise<PostgresChanges> {
    const { rows } = await pool.run<{ version: number }>({ text: VERSION })
    return new PostgresChanges(pool, log, rows[0]?.version ?? 0)
  }

  subscribe(listener: ChangeListener): () => void {
    this.#listeners.add(listener)
    return () => void this.#listeners.delete(listener)
  }

  /** Looks once more, from now on: what runs already may have read too early. */
  catchUp(): Promise<void> {
    if (this.#running === undefined) return this.#start()
    this.#next ??= this.#running
      .catch(() => undefined)
      .then(() => {
        this.#next = undefined
        return this.#start()
      })
    return this.#next
  }

  /** Looks, and waits for nothing. */
  wake(): void {
    if (this.#timer !== undefined) this.catchUp().catch(() => undefined)
  }

  async close(): Promise<void> {
    clearInterval(this.#timer)
    this.#timer = undefined
    await (this.#next ?? this.#running)?.catch(() => undefined)
  }

  #start(): Promise<void> {
    const running = this.#look().finally(() => {
      if (this.#running === running) this.#running = undefined
    })
    this.#running = running
    return running
  }

  async #look(): Promise<void> {
    const late = setTimeout(() => void this.#lose(new Error('The database answers late')), LATE_MS)
    try {
      const { rows } = await this.#pool.run<Row>({ name: 'changes-read', text: READ, values: [this.#version] })
      const clock = rows[0]?.clock ?? this.#version
      const changes = rows.filter(({ version }) => version !== null)
      const isWhole = !this.#hasGap && rows.length <= MAX_CHANGES && clock === this.#version + changes.length
      if (!isWhole || changes.length > 0) await this.#tell(isWhole ? changes.map(changeOf) : undefined)
      this.#version = clock
      this.#hasGap = false
      if (this.#isFailing) this.#log.info('changes of other gateways are known again')
      this.#isFailing = false
      await this.#prune()
    } catch (error) {
      await this.#lose(error)
      throw error
    } finally {
      clearTimeout(late)
    }
  }

  /** What others change is not known for the time being. */
  async #lose(error: unknown): Promise<void> {
    this.#hasGap = true
    if (!this.#isFailing && this.#timer !== undefined) {
      this.#log.error({ err: error }, 'changes of other gateways are not known: nothing that is remembered counts')
    }
    this.#isFailing = true
    await this.#tell(undefined).catch(() => undefined)
  }

  async #tell(changes: readonly StoreChange[] | undefined): Promise<void> {
    const told = await Promise.allSettled([...this.#listeners].map(async (listener) => listener(changes)))
    const failed = told.find((one) => one.status === 'rejected')
    if (failed !== undefined) throw failed.reason
  }

  async #prune(): Promise<void> {
    if (performance.now() - this.#prunedAt < PRUNE_EVERY_MS) return
    this.#prunedAt = performance.now()
    await this.#pool.run({ text: PRUNE })
  }
}

function changeOf({ kind, key }: Row): StoreChange {
  return { kind, key }
}
