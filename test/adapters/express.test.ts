import { createServer, type RequestListener } from 'node:http'
import { describe, it } from 'vitest'
import { type Binding, casesFor, runCase } from '../contracts/adapter.js'
import { assert } from '../contracts/assert.js'
import { kit } from './express.js'
import { served } from './sockets.js'

const binding: Binding = {
  kit,
  features: ['socket', 'any-method'],
  serve: (app) => served(createServer(app as RequestListener)),
}

for (const [theme, cases] of casesFor(binding)) {
  describe(`Express: ${theme}`, () => {
    for (const one of cases) it(one.title, () => runCase(one, binding, assert))
  })
}
