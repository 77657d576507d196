import { afterAll, beforeAll, describe, it } from 'vitest'
import { assert } from '../contracts/assert.js'
import { themes } from '../contracts/store.js'
import { type PostgresServer, usePostgres } from '../postgres/server.js'
import { open } from './postgres.js'

let server: PostgresServer
beforeAll(async () => {
  server = await usePostgres()
})
afterAll(() => server.close())

describe.each(Object.entries(themes))('PostgreSQL: %s', (_theme, cases) => {
  it.each(cases)('$title', async ({ run }) => {
    const url = await server.createDatabase()
    const store = await open(url)
    const reopen = async () => {
      await store.close()
      return open(url)
    }
    await run({ store, reopen }, assert)
  })
})
