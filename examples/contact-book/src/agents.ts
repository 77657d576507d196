import type { MeshGuardClient } from '@meshguard/client'
import type { TrustTier } from '@meshguard/core'

/** An agent to try the contact book with. */
export interface DemoAgent {
  readonly id: string
  readonly name: string
  readonly trustTier: TrustTier
  readonly token: string
}

const AGENTS = {
  scout: { trustTier: 'verified', tags: ['research'] },
  nova: { trustTier: 'trusted', tags: ['sales'] },
  steward: { trustTier: 'privileged', tags: ['operations'] },
} as const

/** The agents of the demo by name. */
export type DemoAgents = Readonly<Record<keyof typeof AGENTS, DemoAgent>>

/** Registers three agents of different tiers unless the gateway knows them from an earlier start, and gives each a new token. */
export async function registerAgents(operator: MeshGuardClient): Promise<DemoAgents> {
  const known = await operator.listAgents({ tag: 'demo', status: 'active' })
  const agentOf = async (name: keyof typeof AGENTS): Promise<DemoAgent> => {
    const { trustTier, tags } = AGENTS[name]
    const agent =
      known.find((one) => one.name === name) ?? (await operator.createAgent({ name, trustTier, tags: ['demo', ...tags] }))
    const { token } = await operator.issueToken(agent.id, { expiresIn: '8h' })
    return { id: agent.id, name, trustTier: agent.trustTier, token }
  }
  return { scout: await agentOf('scout'), nova: await agentOf('nova'), steward: await agentOf('steward') }
}

/** The name of an agent of the demo; the id of another one. */
export function nameOf(agents: DemoAgents, id: string | undefined): string | undefined {
  return Object.values(agents).find((agent) => agent.id === id)?.name ?? id
}
