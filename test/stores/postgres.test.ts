import pino from 'pino'
import { afterAll, beforeAll, describe, it, onTestFinished } from 'vitest'
import { openStore } from '../../packages/gateway/src/store/open-store.js'
import { assert } from '../contracts/assert.js'
import { themes } from '../contracts/store.js'
import { type PostgresServer, usePostgres } from '../postgres/server.js'

let server: PostgresServer
beforeAll(async () => {
  server = await usePostgres()
})
afterAll(() => server.close())

const log = pino({ level: 'silent' })

describe.each(Object.entries(themes))('PostgreSQL: %s', (_theme, cases) => {
  it.each(cases)('$title', async ({ run }) => {
    const url = await server.createDatabase()
    const open = async () => {
      const store = await openStore(url, { log, now: Date.now })
      onTestFinished(() => store.close())
      return store
    }
    const store = await open()
    const reopen = async () => {
      await store.close()
      return open()
    }
    await run({ store, reopen }, assert)
  })
})
