/** What holds between gateways on one database, at the store. */
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import pg from 'pg'
import pino from 'pino'
import { afterAll, beforeAll, describe, expect, it, onTestFinished, vi } from 'vitest'
import type { AuditEntry } from '../../packages/gateway/src/audit/audit-log.js'
import { ownWriter } from '../../packages/gateway/src/audit/own-writer.js'
import { completeConfig } from '../../packages/gateway/src/config.js'
import { openAdminToken } from '../../packages/gateway/src/identity/admin-token.js'
import { createPolicyRegistry } from '../../packages/gateway/src/policies/policy-registry.js'
import type { StoreChange } from '../../packages/gateway/src/store/store.js'
import { agent, append, checkpoint, errorOf, numbers, row } from '../contracts/store/spec.js'
import { allowed, closeWorlds, openAuditWorld } from '../gateway/audit-world.js'
import { type PostgresServer, usePostgres } from '../postgres/server.js'
import { open } from './postgres.js'
import { folder } from './sqlite.js'

let server: PostgresServer
beforeAll(async () => {
  server = await usePostgres()
})
afterAll(() => server.close())

/** What a store tells, as `kind/key`; `all` where anything may have changed. */
function listen(store: Awaited<ReturnType<typeof open>>): string[] {
  const told: string[] = []
  store.changes?.subscribe((changes) => {
    told.push(...(changes === undefined ? ['all'] : changes.map(({ kind, key }: StoreChange) => `${kind}/${key}`)))
  })
  return told
}

const KILL_LISTENERS = `select pg_terminate_backend(pid) from pg_stat_activity
  where datname = current_database() and query like '%listen%' and pid <> pg_backend_pid()`

describe('gateways that start at the same time', () => {
  it('bring an empty database up to date once, ten at once', async () => {
    const url = await server.createDatabase()
    const stores = await Promise.all(numbers(1, 10).map((n) => open(url, `gateway-${n}`)))
    await Promise.all(stores.map((store, i) => append(store, [row(1, { writer: `gateway-${i + 1}` })])))
    expect(await stores[0]?.audit.writers()).toHaveLength(10)
    const { rows } = await server.query('select version from schema_version', url)
    expect(rows).toHaveLength(1)
  })

  it('refuse a name that another one has, and take it when that one is gone', async () => {
    const url = await server.createDatabase()
    const first = await open(url, 'gateway-a')
    await open(url, 'gateway-b')
    await expect(open(url, 'gateway-a')).rejects.toThrow(/^GATEWAY_ID: another gateway writes "gateway-a"/)
    await first.close()
    await open(url, 'gateway-a')
  })

  it('make one admin token between them, and the others say that theirs is void', async () => {
    const url = await server.createDatabase()
    const stores = await Promise.all(numbers(1, 5).map(() => open(url)))
    const warned: string[] = []
    const log = pino({ level: 'warn' }, { write: (line: string) => void warned.push(JSON.parse(line).msg) })
    const shown: string[] = []
    const dataDir = await folder()
    const made = await Promise.all(
      stores.map((store) => openAdminToken({ config: { dataDir }, store, log, onAdminToken: (token) => shown.push(token) })),
    )
    expect(made.filter((one) => one.made !== undefined)).toHaveLength(1)
    expect(new Set(made.map(({ digest }) => digest)).size).toBe(1)
    expect(shown.length - warned.length).toBe(1)
    for (const text of warned) expect(text).toMatch(/the one that was shown here is void/)
  })

  it('keep the names that they made, each in its own folder', async () => {
    const nameIn = async (dataDir: string, settings = {}) =>
      ownWriter(completeConfig({ dataDir, databaseUrl: 'postgres://user@host/db', signingKeyFile: 'keys.json', ...settings }))
    const [one, other] = [await folder(), await folder()]
    const names = await Promise.all([nameIn(one), nameIn(one), nameIn(other), nameIn(other, { gatewayId: 'pod-1' })])
    expect([names[1], names[3]]).toEqual([names[0], 'gateway-pod-1'])
    expect(names[0]).toMatch(/^gateway-[0-9a-f]{12}$/)
    expect(names[2]).not.toBe(names[0])
    await writeFile(join(one, 'gateway-id'), 'two words')
    await expect(nameIn(one)).rejects.toThrow(/^GATEWAY_ID: .*gateway-id holds no name/)
  })
})

describe('changes', () => {
  it('are told to every gateway, with what changed, and that an agent was seen is none', async () => {
    const url = await server.createDatabase()
    const [one, other] = [await open(url), await open(url)]
    const told = listen(other)
    await one.agents.insert(agent('a', { tags: ['t'] }))
    await one.agents.update('a', { lastSeenAt: 5 }, 5)
    await one.agents.update('a', { status: 'revoked', revokedAt: 6 }, 6)
    await one.policies.put({ name: 'p', rules: [] } as never, 1)
    await one.policies.delete('p')
    await one.tokens.insert({ id: 't', name: 't', scopes: [], hash: 'h', createdAt: 1 })
    await one.tokens.delete('t')
    await one.settings.set('k', 'v')
    const all = ['agents/a', 'agents/a', 'policies/p', 'policies/p', 'tokens/t', 'tokens/t', 'settings/k']
    await expect.poll(() => told, { timeout: 10_000 }).toEqual(all)
  })

  it('are known once one has caught up, whether a notification came or not', async () => {
    const url = await server.createDatabase()
    const [one, other] = [await open(url), await open(url)]
    const told = listen(other)
    for (const n of numbers(1, 20)) {
      await one.settings.set('k', `${n}`)
      await other.changes?.catchUp()
      expect(told).toHaveLength(n)
    }
  })

  it('are passed over by nobody where a transaction that was begun earlier is committed later, or never', async () => {
    const url = await server.createDatabase()
    const store = await open(url)
    const told = listen(store)
    const [early, late] = [new pg.Client({ connectionString: url }), new pg.Client({ connectionString: url })]
    await Promise.all([early.connect(), late.connect()])
    const set = (key: string) => `insert into settings values ('${key}', 'v')`
    for (const [end, first] of [
      ['commit', ['settings/early commit']],
      ['rollback', []],
    ] as const) {
      told.length = 0
      await early.query('begin')
      await early.query(set(`early ${end}`))
      const second = late.query(set(`late ${end}`))
      await store.changes?.catchUp()
      await early.query(end)
      await second
      await store.changes?.catchUp()
      expect(told).toEqual([...first, `settings/late ${end}`])
    }
    await Promise.all([early.end(), late.end()])
  })

  it('are told when the connection that listens was killed just before', async () => {
    const url = await server.createDatabase()
    const [one, other] = [await open(url), await open(url)]
    const told = listen(other)
    await server.query(KILL_LISTENERS, url)
    await one.settings.set('k', 'v')
    await expect.poll(() => told, { timeout: 10_000 }).toContain('settings/k')
  })

  it('are told as "anything" when there are too many, and after the database was put back', async () => {
    const url = await server.createDatabase()
    const store = await open(url)
    const told = listen(store)
    await server.query(`insert into settings select 'k' || n, 'v' from generate_series(1, 1500) n`, url)
    await store.changes?.catchUp()
    expect(told).toEqual(['all'])
    await server.query('update change_clock set version = 7', url)
    await store.changes?.catchUp()
    expect(told).toEqual(['all', 'all'])
  })

  it('of policies are not missed by a gateway that is just starting', async () => {
    const url = await server.createDatabase()
    const [one, other] = [await open(url), await open(url)]
    const late = { name: 'late', rules: [{ effect: 'deny', actions: ['*'] }] }
    const list = async () => {
      const policies = await one.policies.list()
      if (policies.length === 0) await other.policies.put(late as never, 1)
      await one.changes?.catchUp()
      return policies
    }
    const parts = { config: completeConfig({}), log: pino({ level: 'silent' }), now: Date.now }
    const registry = await createPolicyRegistry({ ...parts, store: { ...one, policies: { ...one.policies, list } } })
    onTestFinished(() => registry.close())
    expect(registry.current().policies.map(({ name }) => name)).toEqual(['late'])
  })

  it('are told again to a listener that failed', async () => {
    const store = await open(await server.createDatabase())
    const told: unknown[] = []
    store.changes?.subscribe((changes) => {
      told.push(changes)
      if (told.length === 1) throw new Error('not now')
    })
    await store.settings.set('k', 'v')
    await expect.poll(() => told.length, { timeout: 10_000 }).toBeGreaterThan(1)
    expect(told.at(-1)).toBeUndefined()
  })
})

describe('what gateways share', () => {
  it('is one limit: no more than there is, whoever asks', async () => {
    const url = await server.createDatabase()
    const stores = await Promise.all(numbers(1, 3).map(() => open(url)))
    const [all, few] = [
      { key: 'all', requests: 50, windowMs: 60_000 },
      { key: 'few', requests: 20, windowMs: 60_000 },
    ]
    const orders = [[all, few], [few, all], [all]]
    const taken = await Promise.all(
      stores.flatMap((store, i) => numbers(1, 40).map(() => store.limiter.take(orders[i] ?? [], 1000))),
    )
    expect(taken.filter(({ ok }) => ok).length).toBeLessThanOrEqual(50)
    const left = await Promise.all(numbers(1, 60).map(() => stores[0]?.limiter.take([all], 1000)))
    expect([...taken, ...left].filter((one) => one?.ok)).toHaveLength(50)
  })

  it('is one limit also where the clocks of gateways are minutes apart', async () => {
    const url = await server.createDatabase()
    const [one, other] = [await open(url), await open(url)]
    const few = [{ key: 'few', requests: 10, windowMs: 60_000 }]
    const machine = vi.spyOn(Date, 'now')
    onTestFinished(() => machine.mockRestore())
    const taken: boolean[] = []
    for (const n of numbers(1, 30)) {
      const realNow = performance.timeOrigin + performance.now()
      const [store, aheadMs] = n % 2 === 0 ? [one, 0] : [other, 300_000]
      machine.mockReturnValue(realNow + aheadMs)
      taken.push((await store.limiter.take(few, realNow + aheadMs)).ok)
    }
    expect(taken.filter(Boolean)).toHaveLength(10)
    // Nor does the one that is ahead take what is full for empty, and remove it.
    expect((await server.query('select key from rate_limits', url)).rowCount).toBe(1)
  })

  it('lets exactly one of many updates of one policy through', async () => {
    const url = await server.createDatabase()
    const stores = await Promise.all(numbers(1, 3).map(() => open(url)))
    for (const revision of numbers(0, 9)) {
      const puts = stores.flatMap((store) =>
        numbers(1, 3).map((n) => store.policies.put({ name: 'p', n } as never, 1, revision)),
      )
      expect((await Promise.all(puts)).filter((one) => one !== undefined)).toHaveLength(1)
    }
  })

  it('is one order of the log: whoever reads on misses nothing that others write meanwhile', async () => {
    const url = await server.createDatabase()
    const stores = await Promise.all(numbers(1, 3).map(() => open(url)))
    const writing = stores.map(async (store, i) => {
      for (const n of numbers(1, 40))
        await append(store, [row(2 * n - 1, { writer: `w${i}` }), row(2 * n, { writer: `w${i}` })])
    })
    const seen: string[] = []
    const reader = await open(url)
    let last: string | undefined
    let isWritten = false
    const written = Promise.all(writing).then(() => {
      isWritten = true
    })
    for (;;) {
      const isLast = isWritten
      const rows = (await reader.audit.after(last, 50)) ?? []
      seen.push(...rows.map(({ id }) => id))
      last = rows.at(-1)?.id ?? last
      if (isLast && rows.length === 0) break
    }
    await written
    expect([seen.length, new Set(seen).size]).toEqual([240, 240])
    expect(seen.filter((id) => id.startsWith('w1'))).toEqual(numbers(1, 80).map((n) => `w1-${n}`))
  })

  it('is no place of a chain twice: of two that write one, the second is refused', async () => {
    const url = await server.createDatabase()
    const stores = await Promise.all(numbers(1, 2).map(() => open(url)))
    const both = stores.map((store, i) => errorOf(append(store, [row(1, { id: `id-${i}` })])).catch(() => undefined))
    expect((await Promise.all(both)).filter((error) => error?.status === 409)).toHaveLength(1)
  })

  it('is cut no further back than another gateway has cut it', async () => {
    const url = await server.createDatabase()
    const [one, other] = [await open(url), await open(url)]
    await append(
      one,
      numbers(1, 9).map((n) => row(n)),
    )
    await one.audit.deleteThrough(checkpoint(6))
    expect(await other.audit.deleteThrough(checkpoint(4))).toBe(0)
    expect((await other.audit.cut('gateway'))?.sequence).toBe(6)
  })
})

describe('the months of the audit log', () => {
  const monthOf = (at: Date) => `audit_${at.toISOString().slice(0, 7).replace('-', '_')}`
  const months = async (url: string) =>
    (
      await server.query(
        `select relname from pg_inherits join pg_class on oid = inhrelid where inhparent = 'audit'::regclass`,
        url,
      )
    ).rows
      .map(({ relname }) => relname)
      .filter((name: string) => /^audit_\d{4}_\d{2}$/.test(name))
      .sort()

  it('are this one and the next, and one that is missing is made when it is written to', async () => {
    const url = await server.createDatabase()
    const store = await open(url)
    const made = await months(url)
    expect(made).toHaveLength(2)
    expect(made[0]).toBe(monthOf(new Date()))
    await server.query(`drop table ${made.join(', ')}`, url)
    await append(store, [row(1), row(2)])
    expect([await months(url), (await store.audit.query({})).items.length]).toEqual([made, 2])
  })

  it('hold no ID twice, whatever month it was stored in', async () => {
    const url = await server.createDatabase()
    const store = await open(url)
    await append(store, [row(1), row(2)])
    await server.query(`select meshguard_add_audit_month('2024-01-10Z'); update audit set stored = '2024-01-10Z'`, url)
    expect((await errorOf(store.audit.append([row(3), row(4, { id: 'gateway-1' })], checkpoint(4)))).status).toBe(409)
    expect(await store.audit.checkpoint('gateway')).toEqual(checkpoint(2))
    await append(store, [row(3)])
    expect((await store.audit.scan('gateway', 0, 9)).map(({ sequence }) => sequence)).toEqual([1, 2, 3])
  })

  it('are not dropped where a clock that was set back left later entries of a chain in an earlier one', async () => {
    const url = await server.createDatabase()
    const world = await openAuditWorld({ databaseUrl: url, signingKeyFile: join(await folder(), 'keys.json') })
    try {
      world.clock.now = Date.now()
      for (const n of numbers(1, 4)) await world.audit.append(allowed(`trace-${n}`))
      await server.query(
        `select meshguard_add_audit_month('2024-01-10Z'); update audit set stored = '2024-01-10Z' where sequence > 2`,
        url,
      )
      expect(await world.audit.applyRetention()).toBe(0)
      expect(await world.audit.verify()).toEqual({ valid: true, entries: 4 })
    } finally {
      await closeWorlds()
    }
  })

  it('are dropped as a whole by retention, and what is left of every chain verifies', async () => {
    const url = await server.createDatabase()
    const world = await openAuditWorld({
      databaseUrl: url,
      signingKeyFile: join(await folder(), 'keys.json'),
      auditRetentionDays: 90,
    })
    try {
      world.clock.now = Date.now()
      const shipped = (n: number) =>
        ({ ...allowed(`shipped-${n}`), id: `shipped-${n}`, timestamp: new Date(0).toISOString() }) as AuditEntry
      for (const n of numbers(1, 4)) await world.audit.append(allowed(`trace-old-${n}`))
      await world.audit.ship('service_1', [shipped(1), shipped(2)])
      await server.query(`select meshguard_add_audit_month('2024-01-10Z'); update audit set stored = '2024-01-10Z'`, url)
      for (const n of numbers(1, 3)) await world.audit.append(allowed(`trace-new-${n}`))
      await world.audit.ship('service_1', [shipped(3)])
      expect([await world.audit.applyRetention(), (await months(url)).includes('audit_2024_01')]).toEqual([6, false])
      expect(await world.audit.verify()).toEqual({ valid: true, entries: 4 })
      expect(await world.audit.applyRetention()).toBe(0)
      await server.query(`delete from audit where sequence = 6`, url)
      expect((await world.audit.verify()).valid).toBe(false)
    } finally {
      await closeWorlds()
    }
  })
})
