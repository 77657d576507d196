import pino from 'pino'
import { onTestFinished } from 'vitest'
import { openStore } from '../../packages/gateway/src/store/open-store.js'
import type { Store } from '../../packages/gateway/src/store/store.js'

const log = pino({ level: 'silent' })

/** Opens a store that is closed after the test. */
export async function open(databaseUrl: string, writer?: string): Promise<Store> {
  const store = await openStore(databaseUrl, { log, now: Date.now, writer })
  onTestFinished(() => store.close())
  return store
}
