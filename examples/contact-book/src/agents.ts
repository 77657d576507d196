import { type Agent, type Authenticate, agentTokens, generateKeys, mintAgentToken } from '@meshguard/core'

/** An agent to try the contact book with. */
export interface DemoAgent {
  readonly agent: Agent
  readonly token: string
}

const HOURS_8 = 8 * 60 * 60 * 1000

const AGENTS = {
  scout: { id: 'agent_scout', name: 'scout', trustTier: 'verified', tags: ['research'] },
  nova: { id: 'agent_nova', name: 'nova', trustTier: 'trusted', tags: ['sales'] },
  steward: { id: 'agent_steward', name: 'steward', trustTier: 'privileged', tags: ['operations'] },
} as const satisfies Record<string, Agent>

/** Makes a key pair for this run, three agents of different tiers with tokens, and the check of such tokens. */
export async function createAgents(): Promise<{ agents: Record<keyof typeof AGENTS, DemoAgent>; authenticate: Authenticate }> {
  const { privateKey, publicKey } = await generateKeys()
  const mint = async (agent: Agent): Promise<DemoAgent> => ({
    agent,
    token: await mintAgentToken({ ...agent, expiresInMs: HOURS_8, key: privateKey }),
  })
  return {
    agents: { scout: await mint(AGENTS.scout), nova: await mint(AGENTS.nova), steward: await mint(AGENTS.steward) },
    authenticate: agentTokens({ publicKey }),
  }
}
