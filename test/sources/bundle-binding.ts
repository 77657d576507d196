/** fromBundle as the contract and the vectors work with it, in any runtime: bundles are signed and loaded in process. */
import { type Agent, fromBundle, generateKeys, mintAgentToken } from '@meshguard/core'
import { type BundleAgent, type BundleDocument, signBundle } from '@meshguard/core/bundle'
import { parseTier } from '@meshguard/core/policy'
import type { Binding, Feature, Setup, SourceWorld } from '../contracts/source.js'

const DAY_MS = 86_400_000
/** Nobody else decides in between, so it may be asked all the time. */
const SETTINGS = { pollMs: 3_600_000, onReload: () => undefined } as const

/** How the source is told who asks: with tokens, or with agents, of which the bundle knows nothing or everything. */
export type BundleWay = 'tokens' | 'agents' | 'agents that the bundle knows'

/** Makes keys, one for bundles and one for tokens. The clock is `Date`. */
export async function createSigner() {
  const [bundles, tokens] = await Promise.all([generateKeys(), generateKeys()])
  let version = 0
  return {
    bundles,
    tokens,
    options: { publicKeys: [bundles.publicKey] },
    /** Signs the next version of a bundle, good for a day from now on. */
    sign(changes: Partial<BundleDocument> = {}): Promise<string> {
      const now = Date.now()
      const times = { issuedAt: new Date(now).toISOString(), expiresAt: new Date(now + DAY_MS).toISOString() }
      const empty = { policies: [], agents: {}, delegations: [], jwks: tokens.jwks }
      return signBundle({ version: ++version, ...times, ...empty, ...changes }, { key: bundles.privateKey })
    },
    mint(agent: Agent, claims: Readonly<Record<string, unknown>> = { gen: 0 }): Promise<string> {
      const { id, name, tags, metadata } = agent
      return mintAgentToken({
        id,
        name,
        trustTier: tierOf(agent),
        tags,
        metadata,
        claims,
        key: tokens.privateKey,
        clock: () => Date.now(),
      })
    },
  }
}

/** What a bundle says of an agent that it knows. */
export function stateOf(agent: Agent): BundleAgent {
  const { name, tags = [], metadata = {} } = agent
  return { tier: tierOf(agent), tags, gen: 0, ...(name !== undefined && { name }), metadata }
}

/** The tier that counts: a registry has no other. */
function tierOf({ trustTier }: Agent) {
  return parseTier(trustTier) ?? 'unverified'
}

/** @param setClock Moves `Date`. */
export function bindBundle(way: BundleWay, setClock: (ms: number) => void): Binding {
  const who: Feature[] = way === 'tokens' ? ['tokens'] : ['synchronous', ...(way === 'agents' ? (['any-tier'] as const) : [])]
  return {
    name: `fromBundle by ${way}`,
    features: new Set<Feature>(['explain', 'many', 'request', 'any-text', ...who]),
    open: (setup) => openWorld(way, setup, setClock),
  }
}

async function openWorld(way: BundleWay, { policies, agents }: Setup, setClock: (ms: number) => void): Promise<SourceWorld> {
  const signer = await createSigner()
  const known = Object.fromEntries(agents.map((agent) => [agent.id, stateOf(agent)]))
  let inForce = policies
  const load = () => signer.sign({ policies: inForce, agents: way === 'agents that the bundle knows' ? known : {} })
  const source = fromBundle({ load, ...signer.options, ...SETTINGS })
  const tokens = new Map<string, string>()
  const renew = async (): Promise<void> => {
    await source.refresh()
    if (way === 'tokens') for (const agent of agents) tokens.set(agent.id, await signer.mint(agent))
  }
  await renew()
  return {
    source,
    as: (agent) =>
      way === 'tokens' ? { token: tokens.get(agent.id) ?? 'unknown' } : { agent: way === 'agents' ? agent : bare(agent) },
    async moveTo(ms) {
      setClock(ms)
      await renew()
    },
    async replace(documents) {
      inForce = documents
      await source.refresh()
    },
  }
}

/** An agent as an application hands it in that knows no more than its id. */
const bares = new WeakMap<Agent, Agent>()
function bare(agent: Agent): Agent {
  const made = bares.get(agent) ?? { id: agent.id, trustTier: 'unverified' }
  bares.set(agent, made)
  return made
}
