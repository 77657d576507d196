import pino from 'pino'
import { expect, it, onTestFinished } from 'vitest'
import { BundledAgents } from '../../packages/gateway/src/bundle/bundled-agents.js'
import { openStore } from '../../packages/gateway/src/store/open-store.js'
import type { AgentStore } from '../../packages/gateway/src/store/store.js'
import { agent } from '../contracts/store/spec.js'

const NOW = Date.now()
const DAY_MS = 86_400_000

/** A registry with an agent, and what bundles name of it; something can be done while it is being read. */
async function registry() {
  const store = await openStore('sqlite::memory:', { log: pino({ level: 'silent' }), now: Date.now })
  onTestFinished(() => store.close())
  await store.agents.insert(agent('a', { createdAt: 1, updatedAt: 1 }))
  const reading = { meanwhile: async () => {} }
  const changedSince: AgentStore['changedSince'] = async (since, page) => {
    const read = await store.agents.changedSince(since, page)
    await reading.meanwhile()
    reading.meanwhile = async () => {}
    return read
  }
  const get: AgentStore['get'] = async (id) => {
    await reading.meanwhile()
    return store.agents.get(id)
  }
  const bundled = new BundledAgents({ ...store.agents, changedSince, get }, DAY_MS)
  const revoke = () => store.agents.update('a', { status: 'revoked', revokedAt: NOW }, NOW)
  return { bundled, revoke, reading }
}

it.each([
  ['one of them was changed', 'a'],
  ['any of them may have been changed', undefined],
])('a bundle names whom it is told of while the agents are read: %s', async (_, id) => {
  const { bundled, revoke, reading } = await registry()
  reading.meanwhile = async () => {
    await revoke()
    bundled.note(id)
  }
  await bundled.read([], false, NOW)
  expect(await bundled.read([], false, NOW + 1000)).toMatchObject({ a: { revoked: true } })
})

it('a bundle names who was revoked, although the agents were read while the clock was days ahead', async () => {
  const { bundled, revoke } = await registry()
  await revoke()
  expect(await bundled.read([], false, NOW + 3 * DAY_MS)).toEqual({})
  expect(await bundled.read([], false, NOW)).toMatchObject({ a: { revoked: true } })
})

it('a bundle names whom it was told of before the agents could not be read', async () => {
  const { bundled, revoke, reading } = await registry()
  await bundled.read([], false, NOW)
  await revoke()
  bundled.note('a')
  reading.meanwhile = async () => {
    throw new Error('no database')
  }
  await expect(bundled.read([], false, NOW)).rejects.toThrow('no database')
  reading.meanwhile = async () => {}
  expect(await bundled.read([], false, NOW)).toMatchObject({ a: { revoked: true } })
})
