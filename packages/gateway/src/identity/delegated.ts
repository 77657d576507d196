import { AuthenticationError } from '@meshguard/core'
import type { IdentifiedAgent } from '../services.js'
import type { DelegationRecord, DelegationStore } from '../store/store.js'
import type { Claims } from './keys.js'
import type { KnownAgent, KnownAgents } from './known-agents.js'

/** The most hops of a delegation. */
export const MAX_DEPTH = 5

/** Whether a token is one of a delegation, or says that there may be one. */
export function isDelegated(claims: Claims): boolean {
  return claims['delegation'] !== undefined || claims['act'] !== undefined || claims['may_act'] !== undefined
}

/**
 * The agent that acts with a delegation's token. Every hop's delegation and agent is looked up anew: it must be there, neither
 * expired nor revoked, and be just the chain that was signed. No agent occurs twice.
 *
 * @throws AuthenticationError for anything else.
 */
export async function delegatedAgent(
  claims: Claims,
  delegations: DelegationStore,
  agents: KnownAgents,
  now: number,
): Promise<{ who: IdentifiedAgent; leaf: KnownAgent }> {
  if (claims['may_act'] !== undefined) throw refused('has a "may_act", which is not evaluated (RFC 8693, 4.4)')
  const records: DelegationRecord[] = []
  for (const id of idsOf(claims)) {
    const record = await delegations.get(id)
    if (record === undefined || record.revokedAt !== undefined || !(now < record.expiresAt)) {
      throw refused('is revoked, expired or unknown')
    }
    records.push(record)
  }
  assertChain(claims, records)
  const known: KnownAgent[] = []
  for (const id of [claims['sub'] as string, ...records.map(({ to }) => to)]) {
    const agent = await agents.get(id)
    if (agent?.isActive !== true) throw refused('has an agent that is revoked or unknown')
    known.push(agent)
  }
  const leaf = known[records.length] as KnownAgent
  if ((claims['gen'] ?? 0) !== leaf.generation) throw refused('has a token that is revoked')
  const chain = records.map((delegation, i) => ({ delegation, from: (known[i] as KnownAgent).who.agent }))
  return { who: { agent: leaf.who.agent, chain }, leaf }
}

function idsOf({ delegation }: Claims): string[] {
  const hops: unknown[] = Array.isArray(delegation) ? delegation : []
  if (hops.length === 0 || hops.length > MAX_DEPTH) throw refused(`has no hop, or more than ${MAX_DEPTH}`)
  return hops.map((hop) => {
    const id = typeof hop === 'object' && hop !== null ? (hop as { id?: unknown }).id : undefined
    if (typeof id !== 'string') throw refused('has a hop without an id')
    return id
  })
}

/** The records follow each other from the token's `sub` on, and `act` names the same agents, the last one outermost. */
function assertChain({ sub, act }: Claims, records: readonly DelegationRecord[]): void {
  const agents = new Set([sub])
  let from: unknown = sub
  let parent: string | undefined
  for (const [i, record] of records.entries()) {
    if (record.from !== from || record.parent !== parent || record.depth !== i + 1) throw refused('is not one chain')
    if (agents.has(record.to)) throw refused('has an agent twice')
    agents.add(record.to)
    from = record.to
    parent = record.id
  }
  let actor: unknown = act
  for (const { to } of records.toReversed()) {
    if (typeof actor !== 'object' || actor === null || (actor as { sub?: unknown }).sub !== to)
      throw refused('names other actors')
    actor = (actor as { act?: unknown }).act
  }
  if (actor !== undefined) throw refused('names other actors')
}

function refused(why: string): AuthenticationError {
  return new AuthenticationError(`The delegation of the token ${why}`)
}
