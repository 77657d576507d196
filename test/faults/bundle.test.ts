/** Applications that decide by the bundles of a real gateway, behind a network that fails. */
import { auditToGateway, createGuard, fromBundle } from '@meshguard/core'
import { verifyBundle } from '@meshguard/core/bundle'
import { afterEach, beforeEach, expect, it, vi } from 'vitest'
import { startGateway, type World, type WorldAgent } from '../gateway/gateway-world.js'
import { auditedTraces } from './audited.js'
import { faultNames, type Network, randomFrom, startNetwork } from './network.js'

const SEED = Number(process.env['MESHGUARD_SEED'] ?? Date.now() % 1_000_000)
const ROUNDS = Number(process.env['MESHGUARD_ROUNDS'] ?? 40)

let gateway: World
let network: Network
let random: () => number
let log: ReturnType<typeof vi.spyOn>

beforeEach(async () => {
  log = vi.spyOn(console, 'error').mockImplementation(() => undefined)
  gateway = await startGateway({ policies: [] })
  random = randomFrom(SEED)
  network = await startNetwork(gateway.url, random)
})
afterEach(async () => {
  await network.close()
  await gateway.close()
  log.mockRestore()
})

const ACTIONS = ['read:contacts', 'write:contacts', 'delete:contacts']

it(`decides by what the gateway signed, never goes back, and leaves every decision in its audit log once (seed ${SEED})`, async () => {
  const agents = await Promise.all(Array.from({ length: 4 }, () => gateway.createAgent()))
  const service = await gateway.createService('bundle', 'audit:write')
  const state = { allowed: new Set<string>(), revoked: new Set<string>() }
  /** What each version of the bundle allows: `agent action`. */
  const versions = new Map<number, Set<string>>()
  const change = async (): Promise<void> => {
    await changeSomething(state, agents)
    versions.set(await signedVersion(service), allowedBy(state, agents))
  }
  await change()

  const at = { url: network.url, token: service, timeoutMs: 200 }
  const source = fromBundle({ ...at, jwks: `${network.url}/.well-known/jwks.json`, stream: true, pollMs: 15 })
  const audit = auditToGateway({ ...at, timeoutMs: 1000 })
  const guard = createGuard({ source, audit, timeoutMs: 500 })
  const decided: string[] = []
  let byBundle = 0
  let seen = 0
  const isAllDone = () => Object.keys(network.done).length === faultNames.length
  for (let round = 0; round < ROUNDS || !isAllDone(); round++) {
    if (round % 4 === 0) await change()
    for (const agent of agents) {
      const action = ACTIONS[Math.floor(random() * ACTIONS.length)] as string
      const before = source.bundle?.version ?? 0
      const decision = await guard.check(action, { token: agent.token })
      const after = source.bundle?.version ?? 0
      decided.push(decision.traceId)
      expect(before).toBeGreaterThanOrEqual(seen)
      seen = after
      const inForce = [...versions].filter(([version]) => version >= before && version <= after).map(([, allowed]) => allowed)
      const isKnown = inForce.length > 0 && decision.code !== 'unavailable'
      if (decision.allowed) expect(inForce.some((allowed) => allowed.has(`${agent.id} ${action}`))).toBe(true)
      else if (isKnown) expect(inForce.some((allowed) => !allowed.has(`${agent.id} ${action}`))).toBe(true)
      if (isKnown) byBundle++
    }
    await new Promise((resolve) => setTimeout(resolve, 10))
  }
  expect(byBundle, 'a bundle came through').toBeGreaterThan(0)

  network.calm()
  const newest = Math.max(...versions.keys())
  await vi.waitFor(() => expect(source.bundle?.version).toBe(newest), { timeout: 15_000, interval: 20 })
  for (const agent of agents) {
    for (const action of ACTIONS) {
      const { allowed, traceId } = await guard.check(action, { token: agent.token })
      expect(allowed).toBe(versions.get(newest)?.has(`${agent.id} ${action}`))
      decided.push(traceId)
    }
  }
  await guard.close()
  expect(audit.dropped).toEqual({ allowed: 0, denied: 0, outcomes: 0 })
  expect(await shippedTraces()).toEqual(decided.sort())
  expect(await (await gateway.admin('GET', '/admin/audit/verify')).json()).toMatchObject({ valid: true })
}, 60_000)

it('loses no decision when it is closed at the moment that the network comes back', async () => {
  const service = await gateway.createService('audit:write')
  const guards = Array.from({ length: 20 }, () => {
    const audit = auditToGateway({ url: network.url, token: service })
    return {
      audit,
      guard: createGuard({ source: { name: 'allow', decide: () => ({ allowed: true, code: 'allowed' }) }, audit }),
    }
  })
  const decided: string[] = []
  for (let round = 0; round < 10; round++) {
    for (const { guard } of guards) {
      decided.push((await guard.check('read:x', { agent: { id: 'agent_nova', trustTier: 'verified' } })).traceId)
    }
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
  network.calm()
  await Promise.all(guards.map(({ guard }) => guard.close()))
  for (const { audit } of guards) expect(audit.dropped).toEqual({ allowed: 0, denied: 0, outcomes: 0 })
  expect(await shippedTraces()).toEqual(decided.sort())
}, 30_000)

interface State {
  /** Actions that the policy allows. */
  readonly allowed: Set<string>
  readonly revoked: Set<string>
}

/** A policy or an agent of the gateway, asked for directly. */
async function changeSomething({ allowed, revoked }: State, agents: readonly WorldAgent[]): Promise<void> {
  const victim = agents[Math.floor(random() * agents.length)] as WorldAgent
  if (random() < 0.15 && revoked.size < agents.length - 1 && !revoked.has(victim.id)) {
    expect((await gateway.admin('DELETE', `/admin/agents/${victim.id}`)).ok).toBe(true)
    revoked.add(victim.id)
    return
  }
  const action = ACTIONS[Math.floor(random() * ACTIONS.length)] as string
  if (!allowed.delete(action)) allowed.add(action)
  const rules = ACTIONS.map((one) => ({ effect: allowed.has(one) ? 'allow' : 'deny', actions: [one] }))
  expect((await gateway.admin('PUT', '/admin/policies/contacts', { name: 'contacts', rules })).ok).toBe(true)
}

function allowedBy({ allowed, revoked }: State, agents: readonly WorldAgent[]): Set<string> {
  const good = agents.filter(({ id }) => !revoked.has(id))
  return new Set(good.flatMap(({ id }) => [...allowed].map((action) => `${id} ${action}`)))
}

/** The version of the bundle that the gateway answers now, which holds every change of before. */
async function signedVersion(token: string): Promise<number> {
  const response = await gateway.fetch('/v1/bundle', { headers: { authorization: `Bearer ${token}` } })
  const { document } = await verifyBundle(await response.text(), { jwks: `${gateway.url}/.well-known/jwks.json` })
  return document.version
}

/** The trace IDs of all entries that were shipped. */
const shippedTraces = () => auditedTraces(gateway, ({ writer }) => writer !== undefined)
