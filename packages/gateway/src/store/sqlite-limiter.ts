import type { Limiter } from '@meshguard/core'
import { type Level, takeFrom } from '@meshguard/core/policy'
import { limiterQueue, type Take } from './limiter-queue.js'
import type { SqliteConnection } from './sqlite-connection.js'
import type { SqlitePool } from './sqlite-pool.js'

const SELECT = 'select key, used, at, requests, window_ms from rate_limits where key in (select value from json_each(?))'
const UPSERT = `insert into rate_limits (key, used, at, requests, window_ms, empty_at) values (?, ?, ?, ?, ?, ?)
  on conflict (key) do update set
  used = excluded.used, at = excluded.at, requests = excluded.requests, window_ms = excluded.window_ms, empty_at = excluded.empty_at`
const SWEEP = 'delete from rate_limits where empty_at <= ?'
const SWEEP_EVERY_MS = 60_000

/**
 * Core's limiter with its levels in the database. What is asked for while a transaction runs is counted by the next one, in
 * order, so that each is atomic and none waits for more than two. Counts outlive a restart; a power failure may forget the last.
 */
export function sqliteLimiter(pool: SqlitePool): Limiter {
  let sweptAt = Number.NEGATIVE_INFINITY

  async function takeAll(takes: readonly [Take, ...Take[]]) {
    return pool.transaction('process', async (connection) => {
      await sweep(connection, takes[0].now)
      const levels = await readLevels(connection, takes)
      const changed = new Map<string, Level>()
      const view = {
        get: (key: string) => levels.get(key),
        set(key: string, level: Level) {
          levels.set(key, level)
          changed.set(key, level)
        },
      }
      const taken = takes.map(({ buckets, now }) => takeFrom(view, buckets, now))
      await writeLevels(connection, changed)
      return taken
    })
  }

  /** Removes, once a minute, the buckets that have been empty for a minute, which a request that comes late may still count on. */
  async function sweep(connection: SqliteConnection, now: number): Promise<void> {
    if (Math.abs(now - sweptAt) < SWEEP_EVERY_MS) return
    await connection.all(SWEEP, [now - SWEEP_EVERY_MS])
    sweptAt = now
  }

  return limiterQueue(takeAll)
}

async function readLevels(connection: SqliteConnection, takes: readonly Take[]): Promise<Map<string, Level>> {
  const keys = takes.flatMap(({ buckets }) => buckets.map(({ key }) => key))
  const rows = await connection.all(SELECT, [JSON.stringify(keys)])
  return new Map(
    rows.map(({ key, used, at, requests, window_ms }) => [key as string, { used, at, requests, windowMs: window_ms } as Level]),
  )
}

async function writeLevels(connection: SqliteConnection, levels: ReadonlyMap<string, Level>): Promise<void> {
  const upsert = await connection.prepare(UPSERT)
  connection.run(() => {
    for (const [key, { used, at, requests, windowMs }] of levels) {
      upsert.run([key, used, at, requests, windowMs, at + used / requests])
    }
  })
}
