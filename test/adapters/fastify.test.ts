import type { FastifyInstance } from 'fastify'
import { describe, it } from 'vitest'
import { type Binding, casesFor, runCase } from '../contracts/adapter.js'
import { assert } from '../contracts/assert.js'
import { kit } from './fastify.js'
import { served } from './sockets.js'

const binding: Binding = {
  kit,
  features: ['socket', 'any-method'],
  async serve(app) {
    const instance = app as FastifyInstance
    await instance.listen({ port: 0, host: '127.0.0.1' })
    return served(instance.server, () => instance.close())
  },
}

for (const [theme, cases] of casesFor(binding)) {
  describe(`Fastify: ${theme}`, () => {
    for (const one of cases) it(one.title, () => runCase(one, binding, assert))
  })
}
