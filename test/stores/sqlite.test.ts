import { join } from 'node:path'
import { describe, it } from 'vitest'
import { assert } from '../contracts/assert.js'
import { themes } from '../contracts/store.js'
import { folder, open } from './sqlite.js'

describe.each(Object.entries(themes))('SQLite: %s', (_theme, cases) => {
  it.each(cases)('$title', async ({ run }) => {
    const url = `sqlite:${join(await folder(), 'meshguard.db')}`
    const store = await open(url)
    const reopen = async () => {
      await store.close()
      return open(url)
    }
    await run({ store, reopen }, assert)
  })
})
