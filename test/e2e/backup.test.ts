import { cp, mkdir, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import Database from 'libsql'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { build } from './build.js'
import { stop } from './process.js'
import { type Served, serve } from './serve.js'

const MINUTES_3 = 180_000

let folder: string
const gateways: Served[] = []

beforeAll(async () => {
  await build()
  folder = await mkdtemp(join(tmpdir(), 'meshguard-backup-'))
}, MINUTES_3)
afterAll(async () => {
  await Promise.all(gateways.map(({ running }) => stop(running)))
  await rm(folder, { recursive: true, force: true })
})

async function start(dataDir: string): Promise<Served> {
  const gateway = await serve(dataDir)
  gateways.push(gateway)
  return gateway
}

it('a backup that was made while the gateway served is restored as docs/operating-the-gateway.md says', async () => {
  const dataDir = join(folder, 'data')
  const gateway = await start(dataDir)
  const { id, token } = await gateway.admin<{ id: string; token: string }>('/agents', { name: 'reader' })
  const asking = Array.from({ length: 50 }, (_, nr) => gateway.check(token, 'read:x', `before-backup-${nr}`))
  await Promise.all(asking.slice(0, 25))

  const backup = join(folder, 'backup')
  await mkdir(backup)
  const database = new Database(join(dataDir, 'meshguard.db'))
  database.exec(`VACUUM INTO '${join(backup, 'meshguard.db')}'`)
  database.close()
  await cp(join(dataDir, 'keys'), join(backup, 'keys'), { recursive: true })
  await Promise.all(asking)
  await stop(gateway.running)

  const restored = await start(backup)
  expect(await restored.admin('/audit/verify')).toMatchObject({ valid: true })
  expect(await restored.admin(`/agents/${id}`)).toMatchObject({ id, name: 'reader' })
  expect(await restored.admin('/audit/traces/before-backup-7')).toMatchObject({ entries: [{ agentId: id, decision: 'allow' }] })
  expect(await restored.check(token, 'read:x')).toBe(200)
})
