import { afterAll, beforeAll, vi } from 'vitest'
import { bindBundle } from './bundle-binding.js'
import { describeSource } from './contract.js'

beforeAll(() => void vi.useFakeTimers({ toFake: ['Date'], now: Date.UTC(2030, 0, 7) }))
afterAll(() => void vi.useRealTimers())

const setClock = (ms: number): void => void vi.setSystemTime(ms)

for (const way of ['tokens', 'agents', 'agents that the bundle knows'] as const) describeSource(bindBundle(way, setClock))
