import type { Server } from 'node:http'
import { createAdaptorServer } from '@hono/node-server'
import type { Hono } from 'hono'
import { describe, it } from 'vitest'
import { type Binding, casesFor, runCase } from '../contracts/adapter.js'
import { assert } from '../contracts/assert.js'
import { kit } from './hono.js'
import { served } from './sockets.js'

const binding: Binding = {
  kit,
  features: ['socket', 'any-method'],
  serve: (app) => served(createAdaptorServer({ fetch: (app as Hono).fetch }) as Server),
}

for (const [theme, cases] of casesFor(binding)) {
  describe(`Hono: ${theme}`, () => {
    for (const one of cases) it(one.title, () => runCase(one, binding, assert))
  })
}
