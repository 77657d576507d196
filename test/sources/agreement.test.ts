import { afterAll, describe, it, vi } from 'vitest'
import { agreementCases } from '../contracts/agreement.js'
import { assert } from '../contracts/assert.js'
import { bindGateway } from './bindings.js'
import { bindBundle } from './bundle-binding.js'

const RUNS = Number(process.env['MESHGUARD_RUNS'] ?? 60)
const setClock = (ms: number): void => void vi.setSystemTime(ms)

const gateway = await bindGateway('ids')
afterAll(gateway.close)

const bundles = (['tokens', 'agents', 'agents that the bundle knows'] as const).map((way) => bindBundle(way, setClock))

for (const binding of [gateway, ...bundles]) {
  describe(`${binding.name} agrees with policies in process`, () => {
    for (const one of agreementCases(RUNS)) it(one.title, () => one.run(binding, assert), 60_000)
  })
}
