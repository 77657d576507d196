import { describe, it } from 'vitest'
import { casesFor, runCase } from '../contracts/adapter.js'
import { assert } from '../contracts/assert.js'
import { bindings } from './bindings.js'

for (const [theme, cases] of casesFor(bindings.fastify)) {
  describe(`Fastify: ${theme}`, () => {
    for (const one of cases) it(one.title, () => runCase(one, bindings.fastify, assert))
  })
}
