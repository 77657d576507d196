import { AuthenticationError } from './errors.js'
import type { Agent, TrustTier } from './types.js'

/** The tiers, lowest first. */
export const TRUST_TIERS: readonly TrustTier[] = ['unverified', 'verified', 'trusted', 'privileged']

const TIER_OF: ReadonlyMap<string, TrustTier> = new Map<string, TrustTier>([
  ...TRUST_TIERS.map((tier): [string, TrustTier] => [tier, tier]),
  ['untrusted', 'unverified'],
  ['anonymous', 'unverified'],
  ['sandboxed', 'unverified'],
  ['basic', 'verified'],
])

/** Every accepted spelling of a tier. */
export const TIER_SPELLINGS: readonly string[] = [...TIER_OF.keys()]

/** The tier that a spelling stands for, or `undefined` if it stands for none. */
export function parseTier(spelling: unknown): TrustTier | undefined {
  return typeof spelling === 'string' ? TIER_OF.get(spelling) : undefined
}

/** The tier that counts for an agent: an unknown one is the lowest. */
export function tierOf(agent: Agent): TrustTier {
  return parseTier(agent.trustTier) ?? 'unverified'
}

const AGENT_ID = /^[A-Za-z0-9][A-Za-z0-9._:@-]{0,127}$/

/** Whether a string is an agent id: 1 to 128 letters, digits and `._:@-`, beginning with a letter or digit. */
export function isAgentId(id: unknown): id is string {
  return typeof id === 'string' && AGENT_ID.test(id)
}

const vouched = new WeakSet<object>()

/** Remembers an agent that was made of plain data and frozen, so that it need not be looked at again for every request. */
export function vouchFor(agent: Agent): Agent {
  vouched.add(agent)
  return agent
}

/** Whether a value that an application hands in can be decided on as an agent. */
export function isAgent(value: unknown): value is Agent {
  if (typeof value !== 'object' || value === null) return false
  if (vouched.has(value)) return true
  const { id, tags } = value as Partial<Agent>
  return isAgentId(id) && (tags === undefined || (Array.isArray(tags) && tags.every((tag) => typeof tag === 'string')))
}

/**
 * The agent that an application's `authenticate` made of a token.
 *
 * @throws AuthenticationError for anything that cannot be decided on as an agent, `undefined` included.
 */
export function assertAgent(value: unknown): Agent {
  if (isAgent(value)) return value
  throw new AuthenticationError('The token stands for no well-formed agent')
}
