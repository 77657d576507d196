/** What a store in PostgreSQL promises that no other test would miss. */
import { createServer } from 'node:net'
import { setTimeout } from 'node:timers/promises'
import pg from 'pg'
import pino from 'pino'
import { afterAll, beforeAll, describe, expect, it, onTestFinished, vi } from 'vitest'
import { BundledAgents } from '../../packages/gateway/src/bundle/bundled-agents.js'
import { connectionConfig, PostgresPool, SERVING } from '../../packages/gateway/src/store/postgres-pool.js'
import { append, checkpoint, errorOf, numbers, row } from '../contracts/store/spec.js'
import { type PostgresServer, usePostgres } from '../postgres/server.js'
import { open } from './postgres.js'

let server: PostgresServer
beforeAll(async () => {
  server = await usePostgres()
})
afterAll(() => server.close())

const log = pino({ level: 'silent' })

describe('a server that ends every connection', () => {
  it('is asked for a new one after a pause alone, however many statements are refused meanwhile', async () => {
    let connections = 0
    const listening = createServer((socket) => {
      connections++
      socket.on('error', () => undefined).destroy()
    })
    await new Promise<void>((resolve) => listening.listen(0, '127.0.0.1', resolve))
    onTestFinished(() => void listening.close())
    const { port } = listening.address() as { port: number }
    const pool = new PostgresPool(connectionConfig(`postgres://user@127.0.0.1:${port}/db`), log, SERVING)
    onTestFinished(() => pool.close())
    let refused = 0
    for (const start = performance.now(); performance.now() - start < 500; await setTimeout(0)) {
      expect((await errorOf(pool.run({ text: 'select' }))).name).toBe('UnavailableError')
      refused++
    }
    expect(refused).toBeGreaterThan(20)
    // 25, 50, 100, 200, 400 ms: a slow machine makes fewer.
    expect(connections).toBeLessThanOrEqual(6)
  })
})

describe('a standby', () => {
  it('is none that can be used', async () => {
    const url = await server.createDatabase()
    const store = await open(url)
    await store.ping()
    await server.query(`alter database ${new URL(url).pathname.slice(1)} set default_transaction_read_only = on`)
    const others = `from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()`
    await server.query(`select pg_terminate_backend(pid) ${others}`, url)
    const problem = () =>
      store.ping().then(
        () => 'none',
        ({ message }: Error) => message,
      )
    await expect.poll(problem, { timeout: 10_000 }).toMatch(/standby/)
  })
})

describe('changes', () => {
  const CHANGE = `with clock as (update change_clock set version = version + 1 returning version)
    insert into changes (version, kind, key) select version, 'settings', 'unheard' from clock`

  it('that no notification told of are told within seconds', async () => {
    const url = await server.createDatabase()
    const store = await open(url)
    const told: unknown[] = []
    store.changes?.subscribe((changes) => void told.push(...(changes ?? [])))
    await server.query(CHANGE, url)
    await expect.poll(() => told, { timeout: 10_000 }).toEqual([{ kind: 'settings', key: 'unheard' }])
  })

  it('that came while a look was under way are known to who catches up then', async () => {
    const url = await server.createDatabase()
    const store = await open(url)
    const told: string[] = []
    let go: (() => void) | undefined
    const held = new Promise<void>((resolve) => {
      go = resolve
    })
    store.changes?.subscribe(async (changes) => {
      told.push(...(changes ?? []).map(({ key }) => key))
      if (told.length === 1) await held
    })
    await store.settings.set('first', 'v')
    await expect.poll(() => told, { timeout: 10_000 }).toEqual(['first'])
    await store.settings.set('second', 'v')
    const caughtUp = store.changes?.catchUp()
    go?.()
    await caughtUp
    expect(told).toEqual(['first', 'second'])
  })
})

describe('a month that is dropped', () => {
  it('moves no cut back', async () => {
    const url = await server.createDatabase()
    const store = await open(url)
    await append(
      store,
      numbers(1, 9).map((n) => row(n)),
    )
    await store.audit.deleteThrough(checkpoint(6))
    await server.query(`select meshguard_add_audit_month('2024-01-10Z')`, url)
    const month = await store.audit.oldestPart?.(Date.now())
    expect(month?.name).toBe('audit_2024_01')
    await store.audit.dropPart?.(month as never, [checkpoint(4)])
    expect((await store.audit.cut('gateway'))?.sequence).toBe(6)
  })
})

describe('sslmode', () => {
  it.each(['prefer', 'require', 'verify-ca'])('%s is as strict as verify-full, and nothing warns of it', (mode) => {
    const warn = vi.spyOn(process, 'emitWarning')
    onTestFinished(() => warn.mockRestore())
    const { ssl } = new pg.Client(connectionConfig(`postgres://user@host/db?sslmode=${mode}`)) as unknown as { ssl: object }
    expect([ssl, warn.mock.calls]).toEqual([{}, []])
  })

  it('is what libpq says where that is asked for', () => {
    const url = 'postgres://user@host/db?sslmode=require&uselibpqcompat=true'
    expect(connectionConfig(url).connectionString).toContain('sslmode=require')
  })
})

describe('agents that were revoked', () => {
  const COUNT = Math.min(100_000, Number(process.env['MESHGUARD_RUNS'] ?? 2000))

  it(`are all in a bundle, ${COUNT} of them`, async () => {
    const url = await server.createDatabase()
    const store = await open(url)
    await server.query(
      `insert into agents (id, name, trust_tier, tags, metadata, status, generation, created_at, updated_at, revoked_at)
       select 'agent-' || n, 'a', 'verified', '[]', '{}', 'revoked', 0, 1000, 2000 + n / 100, 2000 from generate_series(1, ${COUNT}) n`,
      url,
    )
    const started = performance.now()
    const read = await new BundledAgents(store.agents, 60_000).read([], false, 3000)
    console.info(`${COUNT} revoked agents read in ${Math.round(performance.now() - started)} ms`)
    expect(Object.keys(read)).toHaveLength(COUNT)
    expect(Object.values(read).every((agent) => 'revoked' in agent && agent.revoked)).toBe(true)
  }, 120_000)
})
