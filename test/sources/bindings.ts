/** The sources, each as the contract and the vectors work with it. Their clock is `Date`, which the tests move. */
import { type Agent, type DecisionSource, fromGateway, fromPolicies, type PolicyDocument } from '@meshguard/core'
import { vi } from 'vitest'
import type { AgentRecord } from '../../packages/gateway/src/store/store.js'
import { registered } from '../contracts/source/spec.js'
import type { Binding, SourceWorld } from '../contracts/source.js'
import { startGateway, type World } from '../gateway/gateway-world.js'
import { gatewayCan, policiesCan, type Way } from './features.js'

const moveTo = async (ms: number): Promise<void> => void vi.setSystemTime(ms)

/** Policies in process. */
export const policies: Binding = {
  name: 'fromPolicies',
  features: policiesCan,
  async open(setup) {
    let source = fromPolicies([...setup.policies])
    return {
      get source() {
        return { ...source, decide: (request) => source.decide(request, Date.now()) } satisfies DecisionSource
      },
      as: (agent) => ({ agent }),
      moveTo,
      replace: async (documents) => {
        source = fromPolicies([...documents])
      },
    }
  },
}

/** A real gateway, started once, whose policies and agents are changed for each case. */
export async function bindGateway(
  way: Way,
): Promise<Binding & { readonly url: string; readonly service: string | undefined; close(): Promise<void> }> {
  vi.useFakeTimers({ toFake: ['Date'], now: Date.UTC(2030, 0, 7) })
  const gateway = await startGateway({ policies: [], deniedRpm: 1_000_000 })
  const service = way === 'tokens' ? undefined : await gateway.createService('decide')
  const source = fromGateway({ url: gateway.url, token: service, timeoutMs: 10_000 })
  return {
    name: `fromGateway by ${way}`,
    url: gateway.url,
    service,
    features: gatewayCan(way),
    async open(setup): Promise<SourceWorld> {
      await replacePolicies(gateway, setup.policies)
      for (const agent of setup.agents) await putAgent(gateway, agent)
      const tokens = new Map<string, string>()
      const mintAll = async (): Promise<void> => {
        for (const { id } of setup.agents) tokens.set(id, await mint(gateway, id))
      }
      return {
        source,
        as: (agent) => (way === 'ids' ? { agent } : { token: tokens.get(agent.id) ?? 'unknown' }),
        async moveTo(ms) {
          await moveTo(ms)
          if (way !== 'ids') await mintAll()
        },
        replace: (documents) => replacePolicies(gateway, documents),
      }
    },
    async close() {
      await source.close()
      await gateway.close()
      vi.useRealTimers()
    },
  }
}

let inForce: { gateway: World; text: string } | undefined

async function replacePolicies(gateway: World, documents: readonly PolicyDocument[]): Promise<void> {
  const text = JSON.stringify(documents)
  if (inForce?.gateway === gateway && inForce.text === text) return
  const { policies: registry } = gateway.services
  const kept = new Set(documents.map(({ name }) => name))
  for (const document of documents) await registry.put(document)
  for (const { document } of await registry.list()) if (!kept.has(document.name)) await registry.delete(document.name)
  inForce = { gateway, text }
}

async function putAgent({ services }: World, agent: Agent): Promise<void> {
  const { store, identity } = services
  const { id: _, trustTier, ...rest } = registered(agent)
  const given = { ...rest, trustTier: trustTier as AgentRecord['trustTier'] }
  const known = await store.agents.get(agent.id)
  if (known === undefined) {
    const now = Date.now()
    await store.agents.insert({ id: agent.id, ...given, status: 'active', generation: 0, createdAt: now, updatedAt: now })
  } else {
    await store.agents.update(agent.id, given, Date.now())
  }
  identity.forget(agent.id)
}

async function mint({ services }: World, id: string): Promise<string> {
  const record = await services.store.agents.get(id)
  if (record === undefined) throw new Error(`There is no agent ${id}`)
  return (await services.keys.mint(record)).token
}
