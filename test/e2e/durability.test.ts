import { execFileSync } from 'node:child_process'
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import Database from 'libsql'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { build } from './build.js'
import { stop } from './process.js'
import { type Served, serve } from './serve.js'

const MINUTES_10 = 600_000
/** How often the gateway is killed: `MESHGUARD_ROUNDS=50` for many. */
const ROUNDS = Number(process.env['MESHGUARD_ROUNDS'] ?? 4)

let folder: string
const gateways: Served[] = []

beforeAll(async () => {
  await build()
  folder = await mkdtemp(join(tmpdir(), 'meshguard-durability-'))
}, MINUTES_10)
afterEach(() => Promise.all(gateways.splice(0).map(({ running }) => stop(running))))
afterAll(() => rm(folder, { recursive: true, force: true }))

async function start(dataDir: string, env?: NodeJS.ProcessEnv): Promise<Served> {
  const gateway = await serve(dataDir, env)
  gateways.push(gateway)
  return gateway
}

const newAgent = async (gateway: Served) => (await gateway.admin<{ token: string }>('/agents', { name: 'reader' })).token

/** The trace IDs of all entries. */
async function recorded({ admin }: Served): Promise<Set<string>> {
  const traces = new Set<string>()
  let cursor = ''
  do {
    const page = await admin<{ entries: { traceId: string }[]; nextCursor?: string }>(`/audit?limit=1000${cursor}`)
    for (const { traceId } of page.entries) traces.add(traceId)
    cursor = page.nextCursor === undefined ? '' : `&cursor=${encodeURIComponent(page.nextCursor)}`
  } while (cursor !== '')
  return traces
}

describe('a gateway that is killed under load', () => {
  it(
    `has every decision that it answered in its log, ${ROUNDS} times over`,
    async () => {
      const dataDir = join(folder, 'killed')
      const token = await newAgent(await start(dataDir))
      await Promise.all(gateways.splice(0).map(({ running }) => stop(running)))
      const answered: string[] = []
      for (let round = 0; round < ROUNDS; round++) {
        const gateway = await start(dataDir)
        let killed = false
        const load = Array.from({ length: 16 }, async (_, worker) => {
          for (let nr = 0; !killed; nr++) {
            const traceId = `round-${round}-${worker}-${nr}`
            const status = await gateway.check(token, nr % 4 === 0 ? 'write:x' : 'read:x', traceId).catch(() => undefined)
            if (status === undefined) return
            expect([200, 403]).toContain(status)
            answered.push(traceId)
          }
        })
        await expect
          .poll(() => answered.filter((id) => id.startsWith(`round-${round}-`)).length, { timeout: 20_000 })
          .toBeGreaterThan(100 + 37 * round)
        gateway.running.child.kill('SIGKILL')
        killed = true
        await Promise.all(load)
        await gateway.running.ended
      }
      const gateway = await start(dataDir)
      const traces = await recorded(gateway)
      expect(answered.filter((traceId) => !traces.has(traceId))).toEqual([])
      expect(await gateway.admin('/audit/verify')).toMatchObject({ valid: true })
      expect(await gateway.check(token, 'read:x')).toBe(200)
    },
    MINUTES_10,
  )
})

describe('a gateway that cannot write', () => {
  it('answers 503 while another process holds its database, and goes on by itself', async () => {
    const dataDir = join(folder, 'locked')
    const gateway = await start(dataDir)
    const token = await newAgent(gateway)
    expect(await gateway.check(token, 'read:x')).toBe(200)
    const other = new Database(join(dataDir, 'meshguard.db'))
    other.exec('BEGIN EXCLUSIVE')
    expect(
      await Promise.all([gateway.check(token, 'read:x', 'locked-allow'), gateway.check(token, 'write:x', 'locked-deny')]),
    ).toEqual([503, 503])
    other.exec('ROLLBACK')
    other.close()
    await expect.poll(() => gateway.check(token, 'read:x'), { timeout: 10_000 }).toBe(200)
    expect(await gateway.admin('/audit/verify')).toMatchObject({ valid: true })
  }, 60_000)

  it('answers 503 when the disk is full, keeps what it has, and goes on when there is room', async () => {
    const dataDir = join(folder, 'full')
    await mkdir(dataDir)
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=4m', 'tmpfs', dataDir]) // needs root; without it this test fails, as it should
    try {
      const gateway = await start(dataDir)
      const token = await newAgent(gateway)
      expect(await gateway.check(token, 'read:x', 'before-it-was-full')).toBe(200)
      await writeFile(join(dataDir, 'ballast'), Buffer.alloc(8 << 20)).catch((error) => expect(error.code).toBe('ENOSPC'))
      const asked = Array.from({ length: 400 }, (_, nr) => `while-it-is-full-${nr}`)
      const statuses = await Promise.all(asked.map((traceId) => gateway.check(token, 'read:x', traceId)))
      expect(statuses.filter((status) => status !== 200 && status !== 503)).toEqual([])
      expect(await gateway.check(token, 'read:x')).toBe(503)
      await rm(join(dataDir, 'ballast'))
      await expect.poll(() => gateway.check(token, 'read:x', 'there-is-room-again'), { timeout: 10_000 }).toBe(200)
      const traces = await recorded(gateway)
      expect([traces.has('before-it-was-full'), traces.has('there-is-room-again')]).toEqual([true, true])
      expect(asked.filter((traceId, nr) => statuses[nr] === 200 && !traces.has(traceId))).toEqual([])
      expect(await gateway.admin('/audit/verify')).toMatchObject({ valid: true })
    } finally {
      await Promise.all(gateways.splice(0).map(({ running }) => stop(running)))
      execFileSync('umount', [dataDir])
    }
  }, 60_000)
})

describe('a second gateway on one database', () => {
  it('refuses to start, and takes over when the first was killed', async () => {
    const dataDir = join(folder, 'shared')
    const first = await start(dataDir)
    await expect(serve(dataDir)).rejects.toThrow(/Another gateway has the database open\. Stop it first/)
    expect((await fetch(`${first.url}/health`)).status).toBe(200)
    first.running.child.kill('SIGKILL')
    await first.running.ended
    expect((await fetch(`${(await start(dataDir)).url}/health`)).status).toBe(200)
  }, 60_000)
})

describe('an audit log that somebody changed', () => {
  it.each([
    ['edits an entry', `UPDATE audit SET entry = replace(entry, '"allow"', '"deny"') WHERE sequence = 3`, 3],
    ['edits a column', `UPDATE audit SET decision = 'deny' WHERE sequence = 3`, 3],
    ['tears an entry', 'UPDATE audit SET entry = substr(entry, 1, 40) WHERE sequence = 3', 3],
    ['removes an entry', 'DELETE FROM audit WHERE sequence = 3', 4],
    ['cuts the newest off', 'DELETE FROM audit WHERE sequence > 4', undefined],
  ])(
    'is found out by verify when it %s, and the entry is named',
    async (name, change, sequence) => {
      const dataDir = join(folder, name.replaceAll(' ', '-'))
      const before = await start(dataDir)
      const token = await newAgent(before)
      for (let nr = 1; nr <= 6; nr++) await before.check(token, 'read:x', `entry-of-verify-${nr}`)
      expect(await before.admin('/audit/verify')).toMatchObject({ valid: true })
      before.running.child.kill('SIGTERM')
      await before.running.ended

      const database = new Database(join(dataDir, 'meshguard.db'))
      const row = database.prepare('SELECT id FROM audit WHERE sequence = ?').get(sequence ?? 4) as { id: string }
      database.exec(change)
      database.close()

      const found = await (await start(dataDir)).admin<{ valid: boolean; firstBad?: { id: string; reason: string } }>(
        '/audit/verify',
      )
      expect(found).toMatchObject({ valid: false, firstBad: { reason: expect.any(String) } })
      if (sequence !== undefined) expect(found.firstBad?.id).toBe(row.id)
    },
    60_000,
  )
})
