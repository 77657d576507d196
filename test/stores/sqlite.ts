import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import pino from 'pino'
import { onTestFinished } from 'vitest'
import { openStore } from '../../packages/gateway/src/store/open-store.js'
import type { Store } from '../../packages/gateway/src/store/store.js'

export const log = pino({ level: 'silent' })

/** A folder for one test. */
export async function folder(): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), 'meshguard-store-'))
  onTestFinished(() => rm(path, { recursive: true, force: true }))
  return path
}

/** Opens a store that is closed after the test. */
export async function open(databaseUrl: string): Promise<Store> {
  const store = await openStore(databaseUrl, { log, now: Date.now })
  onTestFinished(() => store.close())
  return store
}
