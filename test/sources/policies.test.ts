import { afterAll, beforeAll, expect, it, vi } from 'vitest'
import { themes } from '../contracts/source.js'
import { policies } from './bindings.js'
import { describeSource } from './contract.js'

beforeAll(() => void vi.useFakeTimers({ toFake: ['Date'] }))
afterAll(() => void vi.useRealTimers())

describeSource(policies)

it('the contract has at least 40 cases, each with a title of its own', () => {
  const titles = Object.values(themes).flatMap((cases) => cases.map(({ title }) => title))
  expect(titles.length).toBeGreaterThanOrEqual(40)
  expect(new Set(titles).size).toBe(titles.length)
})
