import { MeshGuardClient } from '@meshguard/client'
import { describe, expect, it } from 'vitest'
import { assert } from '../contracts/assert.js'
import { calls } from '../contracts/client/operator.js'
import { runCase, themes } from '../contracts/client.js'
import { startTold } from './scripted.js'

for (const [theme, cases] of Object.entries(themes)) {
  describe(`the client on Node: ${theme}`, () => {
    for (const one of cases) it(one.title, () => runCase(one, { name: 'Node', start: startTold }, assert))
  })
}

it('the contract has at least 100 cases, each with a title of its own', () => {
  const titles = Object.values(themes).flatMap((cases) => cases.map(({ title }) => title))
  expect(titles.length).toBeGreaterThanOrEqual(100)
  expect(new Set(titles).size).toBe(titles.length)
})

it('the contract calls every method of the administration', () => {
  const administration = Object.getPrototypeOf(MeshGuardClient.prototype)
  const methods = Object.getOwnPropertyNames(administration).filter((name) => name !== 'constructor')
  expect(calls.map(([name]) => name).sort()).toEqual(methods.sort())
})
