import { afterAll, describe, it } from 'vitest'
import { assert } from '../contracts/assert.js'
import { type Binding, casesFor, runCase } from '../contracts/source.js'

/** Runs the contract over a binding. */
export function describeSource(binding: Binding, close?: () => Promise<void>): void {
  afterAll(async () => close?.())
  for (const [theme, cases] of casesFor(binding)) {
    describe(`${binding.name}: ${theme}`, () => {
      for (const one of cases) it(one.title, () => runCase(one, binding, assert))
    })
  }
}
