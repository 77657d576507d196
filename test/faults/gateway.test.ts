/** A real gateway behind a network that fails: nothing is allowed that it denies, and its audit is complete afterwards. */
import { auditToGateway, createGuard, fromGateway, fromPolicies } from '@meshguard/core'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { startGateway, type World, type WorldAgent } from '../gateway/gateway-world.js'
import { auditedTraces } from './audited.js'
import { faultNames, type Network, randomFrom, startNetwork } from './network.js'

const SEED = Number(process.env['MESHGUARD_SEED'] ?? Date.now() % 1_000_000)
const ROUNDS = Number(process.env['MESHGUARD_ROUNDS'] ?? 40)
const policies = [
  { name: 'readers', appliesTo: { tags: ['reader'] }, rules: [{ effect: 'allow' as const, actions: ['read:contacts'] }] },
]

let gateway: World
let network: Network
let [nova, rook]: [WorldAgent, WorldAgent] = [] as never
let random: () => number

beforeEach(async () => {
  gateway = await startGateway({ policies, deniedRpm: 1_000_000 })
  ;[nova, rook] = [await gateway.createAgent({ tags: ['reader'] }), await gateway.createAgent()]
  random = randomFrom(SEED)
  network = await startNetwork(gateway.url, random)
})
afterEach(async () => {
  await network.close()
  await gateway.close()
})

/** Whether every fault was met. */
const isAllDone = () => Object.keys(network.done).length === faultNames.length

let asked = 0
const traceId = () => `trace-${String(++asked).padStart(6, '0')}`

describe(`a network that refuses, resets, cuts, trickles, repeats, delays and swallows at random (seed ${SEED})`, () => {
  it.each(['tokens', 'tokens and a service', 'ids'])(
    'never makes fromGateway allow what is denied, asking by %s',
    async (way) => {
      const token = way === 'tokens' ? undefined : await gateway.createService('decide')
      const asking = (url: string, timeoutMs = 150) => fromGateway({ url, token, timeoutMs })
      const who = ({ id, token: own }: WorldAgent) =>
        way === 'ids' ? { agent: { id, trustTier: 'verified' } } : { token: own }
      const questions = [nova, rook].flatMap((agent) =>
        ['read:contacts', 'write:contacts'].map((action) => ({
          agent,
          action,
          allowed: agent === nova && action === 'read:contacts',
        })),
      )
      let source = asking(network.url)
      const answered: string[] = []
      for (let round = 0; round < ROUNDS || !isAllDone(); round++) {
        if (round % 5 === 4) source = asking(network.url)
        const answers = await Promise.all(
          questions.map(async ({ agent, action, allowed }) => {
            const id = traceId()
            const answer = await Promise.resolve(source.decide({ action, ...who(agent), traceId: id })).catch(() => undefined)
            if (answer?.allowed === true) expect(allowed, `${agent.id} ${action}`).toBe(true)
            return answer?.code === 'allowed' || answer?.code === 'no_match' ? [id] : []
          }),
        )
        answered.push(...answers.flat())
      }
      expect(answered.length, 'some were answered').toBeGreaterThan(0)
      network.calm()
      const calm = asking(network.url, 10_000)
      for (const { agent, action, allowed } of questions) {
        expect(await calm.decide({ action, ...who(agent), traceId: traceId() })).toMatchObject({ allowed })
      }
      const audited = new Set(await auditedTraces(gateway))
      expect(answered.filter((id) => !audited.has(id))).toEqual([])
    },
    30_000,
  )

  it(
    'leaves every decision in the audit log once, when it is over',
    async () => {
      const audit = auditToGateway({ url: network.url, token: await gateway.createService('audit:write'), timeoutMs: 150 })
      const guard = createGuard({ source: fromPolicies(policies), audit })
      const recorded: string[] = []
      for (let round = 0; round < ROUNDS; round++) {
        const { agentId: _, ...decision } = await guard.check('read:contacts', {
          agent: { id: nova.id, trustTier: 'verified', tags: ['reader'] },
          traceId: traceId(),
        })
        recorded.push(decision.traceId)
        await new Promise((resolve) => setTimeout(resolve, 15))
      }
      network.calm()
      const inLog = () => auditedTraces(gateway)
      await expect.poll(async () => (await inLog()).length, { timeout: 20_000 }).toBe(recorded.length)
      await guard.close()
      expect(await inLog()).toEqual(recorded.sort())
      expect(audit.dropped).toEqual({ allowed: 0, denied: 0, outcomes: 0 })
      expect(await (await gateway.admin('GET', '/admin/audit/verify')).json()).toMatchObject({ valid: true })
    },
    30_000 + 200 * ROUNDS,
  )

  it.each(['tokens', 'tokens and a service', 'ids'])(
    'never takes the answer to a request that arrived twice for that to the next one, asking by %s',
    async (way) => {
      const repeating = await startNetwork(gateway.url, random, { share: 1, faults: ['repeat'] })
      try {
        const token = way === 'tokens' ? undefined : await gateway.createService('decide')
        const source = fromGateway({ url: repeating.url, token, timeoutMs: 10_000 })
        const who = ({ id, token: own }: WorldAgent) =>
          way === 'ids' ? { agent: { id, trustTier: 'verified' } } : { token: own }
        const codes: unknown[] = []
        for (let i = 0; i < 2 * ROUNDS; i++) {
          const agent = random() < 0.5 ? nova : rook
          const asks = Promise.resolve(source.decide({ action: 'read:contacts', ...who(agent), traceId: traceId() }))
          const { code, allowed } = await asks.catch(() => ({ code: 'unavailable', allowed: false }))
          if (allowed) expect(agent).toBe(nova)
          codes.push(code)
        }
        expect(codes).toContain('allowed')
      } finally {
        await repeating.close()
      }
    },
    30_000,
  )
})
