import type { Bucket, Limiter, Taken } from '@meshguard/core'
import type { Logger } from 'pino'
import { limiterQueue, type Take } from './limiter-queue.js'
import type { PostgresPool } from './postgres-pool.js'

/**
 * How far the clock of the database is ahead of the gateway's, whose time when it asked is the second parameter. Gateways whose clocks
 * are minutes apart would refill each other's buckets; what is less than a second may as well be the way of the statement.
 */
const AHEAD = `(select case when abs(ms) > 1000 then ms else 0 end as ahead
  from (select extract(epoch from clock_timestamp())::float8 * 1000 - $2::float8 as ms) clocks)`
const TAKE = `select meshguard_take((
  select json_agg(json_build_object('now', (take ->> 'now')::float8 + ahead, 'buckets', take -> 'buckets') order by place)
  from json_array_elements($1::json) with ordinality as takes (take, place), ${AHEAD} skew
)) as taken`
const SWEEP = `delete from rate_limits where key in
  (select key from rate_limits, ${AHEAD} skew where empty_at <= $1::float8 + ahead order by key limit 10000 for update of rate_limits skip locked)`
const SWEEP_EVERY_MS = 60_000
/** Requests that are counted by one statement. */
const MAX_TAKES = 128

/** What the function answers: nothing, or which bucket of those asked for is exhausted, and for how many ms. */
type Answer = { readonly bucket: number; readonly ms: number } | null

const TAKEN: Taken = Object.freeze({ ok: true, retryAfter: 0 })

/**
 * Core's limiter with its levels in the database, shared by all gateways on it. A request is counted in one statement, on all of
 * its buckets or on none; what is asked for while one runs is counted by the next, in order. The time is the caller's, put
 * right by the clock of the database where this machine's is wrong. Counts outlive a restart; a power failure of the database may forget the last.
 */
export function postgresLimiter(pool: PostgresPool, log: Logger): Limiter {
  let sweptAt = Number.NEGATIVE_INFINITY

  async function takeAll(takes: readonly [Take, ...Take[]]): Promise<Taken[]> {
    const asked = takes.map(({ buckets, now }) => ({ now, buckets }))
    const { rows } = await pool.run<{ taken: Answer[] }>({
      name: 'limiter-take',
      text: TAKE,
      values: [JSON.stringify(asked), Date.now()],
    })
    sweep(takes[0].now)
    const answers = rows[0]?.taken ?? []
    return takes.map(({ buckets }, i) => takenOf(buckets, answers[i] ?? null))
  }

  /** Removes, once a minute, the buckets that have been empty for a minute, which a request that comes late may still count on. */
  function sweep(now: number): void {
    if (Math.abs(now - sweptAt) < SWEEP_EVERY_MS) return
    sweptAt = now
    pool.run({ text: SWEEP, values: [now - SWEEP_EVERY_MS, Date.now()] }).catch((error: unknown) => {
      log.warn({ err: error }, 'empty rate limits were not removed')
    })
  }

  return limiterQueue(takeAll, MAX_TAKES)
}

function takenOf(buckets: readonly Bucket[], answer: Answer): Taken {
  if (answer === null) return TAKEN
  return { ok: false, retryAfter: Math.max(1, Math.ceil(answer.ms / 1000)), exhausted: buckets[answer.bucket] }
}
