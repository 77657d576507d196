/** A server that stops answering at any step: nothing waits for it without a limit, and nothing is left behind. */
import pino from 'pino'
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest'
import { openStore } from '../../packages/gateway/src/store/open-store.js'
import { errorOf, numbers } from '../contracts/store/spec.js'
import { type PostgresServer, usePostgres } from '../postgres/server.js'
import { lossyWay } from './lossy-way.js'
import { open } from './postgres.js'

let server: PostgresServer
beforeAll(async () => {
  server = await usePostgres()
})
afterAll(() => server.close())

const log = pino({ level: 'silent' })

const openBy = (url: string, writer = 'gateway-a') => openStore(url, { log, now: Date.now, writer })

/** The sessions that the server knows of, but for the one that asks. */
const sessions = async (url: string) =>
  (await server.query('select from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()', url))
    .rowCount

describe('a server that freezes', () => {
  it('while a store is opened has that fail in time, with no connection and no claim left behind', async () => {
    const url = await server.createDatabase()
    await (await open(url)).close()
    // The first connection looks at the schema, and may wait for a minute as others may change it; the second stays, the third
    // listens and claims.
    const steps = [
      [1, 0],
      [2, 0],
      [2, 1],
      [3, 0],
      [3, 1],
      [3, 2],
    ] as const
    const openAt = async ([connection, packets]: (typeof steps)[number]) => {
      const way = await lossyWay(url)
      way.freezeAt(connection, packets)
      const { name } = await errorOf(openBy(way.url, `gateway-${connection}-${packets}`))
      expect([connection, packets, name]).toEqual([connection, packets, 'UnavailableError'])
      await expect.poll(way.open, { timeout: 5000 }).toBe(0)
    }
    await Promise.all(steps.map(openAt))
    await expect.poll(() => sessions(url), { timeout: 5000 }).toBe(0)
  }, 60_000)

  it('before a store is closed does not keep it from closing, with no connection left behind', async () => {
    const url = await server.createDatabase()
    const way = await lossyWay(url)
    const store = await openBy(way.url)
    await Promise.all(numbers(1, 5).map(() => store.ping()))
    way.freeze(true)
    await store.close()
    await expect.poll(way.open, { timeout: 5000 }).toBe(0)
  }, 60_000)

  it('on the connection that listens alone is noticed, and the claim is taken again', async () => {
    const url = await server.createDatabase()
    const way = await lossyWay(url)
    way.freezeAt(3, 4)
    const store = await openBy(way.url)
    onTestFinished(() => store.close())
    const claimants = async () =>
      (await server.query(`select pid from pg_locks where locktype = 'advisory' and granted`, url)).rows.map(({ pid }) => pid)
    const [before] = await claimants()
    await expect.poll(async () => (await claimants()).filter((pid) => pid !== before), { timeout: 30_000 }).toHaveLength(1)
    expect((await errorOf(openBy(url))).message).toMatch(/^GATEWAY_ID/)
  }, 60_000)
})
