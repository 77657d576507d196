import { parseTier, vouchFor } from '../agent.js'
import { AuthenticationError } from '../errors.js'
import { isObject } from '../options.js'
import { agentFromClaims } from '../tokens/claims.js'
import type { Agent, Answer, ChainLink, DelegationHop } from '../types.js'
import type { BundleAgent, BundleDelegation } from './document.js'
import type { Bundle } from './verify.js'

/** For whom a verified token was made: an agent, or one that acts for others. The bundle has the last word on each. */
export type Subject = OneAgent | Chain

interface OneAgent {
  readonly gen: unknown
  /** As the token says. */
  readonly agent: Agent
}

interface Chain {
  readonly gen: unknown
  /** From the root to the one that acts; whether they are agents, the delegations say. */
  readonly ids: readonly unknown[]
  /** The delegations from each to the next. */
  readonly hops: readonly string[]
}

/** Who is decided on. */
export interface Who {
  readonly agent: Agent
  readonly delegation?: readonly DelegationHop[] | undefined
  /** The same, as it is recorded. */
  readonly chain?: readonly ChainLink[] | undefined
}

/**
 * What a verified token says.
 *
 * @throws AuthenticationError for a token that is none of an agent, and for one with `may_act`: who may become an actor (RFC 8693,
 * 4.4) is not evaluated, and means less than it says where that is passed over.
 */
export function subjectOf(claims: Record<string, unknown>): Subject {
  const gen = claims['gen'] ?? 0
  if (claims['may_act'] !== undefined) throw new AuthenticationError('The token\'s "may_act" is not evaluated here')
  if (claims['act'] === undefined && claims['delegation'] === undefined)
    return Object.freeze({ gen, agent: agentFromClaims(claims) })
  const ids = [claims['sub'], ...actorsOf(claims['act'])]
  const hops = hopsOf(claims['delegation'])
  if (ids.length !== hops.length + 1 || new Set(ids).size < ids.length) {
    throw new AuthenticationError('The delegation of the token is not a chain of agents')
  }
  return Object.freeze({ gen, ids, hops })
}

/** RFC 8693, 4.1: the outermost actor is the one that acts; here it is the last. */
function actorsOf(act: unknown): unknown[] {
  const actors: unknown[] = []
  for (let at = act; isObject(at); at = at['act']) actors.unshift(at['sub'])
  return actors
}

function hopsOf(delegation: unknown): string[] {
  const hops: unknown[] = Array.isArray(delegation) ? delegation : []
  if (hops.length === 0) throw new AuthenticationError('The delegation of the token has no hop')
  return hops.map((hop) => {
    const id = isObject(hop) ? hop['id'] : undefined
    if (typeof id === 'string') return id
    throw new AuthenticationError('The delegation of the token has a hop without an id')
  })
}

const refused = (reason: string): Answer => Object.freeze({ allowed: false, code: 'unauthenticated', reason })
const AGENT_REVOKED = refused('The agent is revoked')
const TOKEN_REVOKED = refused('The token is revoked')
const DELEGATION_REVOKED = refused('The delegation of the token is revoked, expired or unknown')
/** The bundle says that an agent, or its token, is revoked. */
export const REVOKED: ReadonlySet<Answer> = new Set([AGENT_REVOKED, TOKEN_REVOKED, DELEGATION_REVOKED])
const OTHER_AGENT = refused('The token is for another agent')
const NOBODY = refused('No credential was presented')

/** The agents of one bundle, as they count: what the bundle says goes before what tokens and applications say. */
export class Directory {
  readonly #agents: ReadonlyMap<string, BundleAgent>
  readonly #delegations: ReadonlyMap<string, BundleDelegation>
  /** The agents that were made of others; by these, so that what is remembered of them is found again. */
  readonly #made = new WeakMap<object, Agent>()
  readonly #strangers = new WeakMap<Agent, string>()

  constructor({ agents, delegations }: Pick<Bundle, 'agents' | 'delegations'>) {
    this.#agents = agents
    this.#delegations = new Map(delegations.map((delegation) => [delegation.id, delegation]))
  }

  /** Whether the bundle says something about an agent. One of which it says nothing is remembered, by the id that it had. */
  knows(agent: Agent): boolean {
    if (this.#agents.size === 0) return false
    const { id } = agent
    if (this.#strangers.get(agent) === id) return false
    if (this.#agents.has(id)) return true
    this.#strangers.set(agent, id)
    return false
  }

  /**
   * Who is decided on; or the answer to who is not good.
   *
   * @param subject Of the request's token, which was verified; absent if it has none.
   */
  resolve(given: Who | { readonly agent?: undefined }, subject: Subject | undefined, now: number): Who | Answer {
    if (subject === undefined) return given.agent === undefined ? NOBODY : this.#resolveGiven(given)
    const who = 'hops' in subject ? this.#resolveChain(subject, now) : this.#resolveAgent(subject)
    if ('code' in who || given.agent === undefined) return who
    return given.agent.id === who.agent.id ? who : OTHER_AGENT
  }

  #resolveGiven({ agent, delegation }: Who): Who | Answer {
    const acting = this.#current(agent)
    if (acting === undefined) return AGENT_REVOKED
    if (delegation === undefined) return { agent: acting }
    const hops: DelegationHop[] = []
    for (const hop of delegation) {
      const from = this.#current(hop.from)
      if (from === undefined) return AGENT_REVOKED
      hops.push({ ...hop, from })
    }
    return chained(acting, hops)
  }

  #resolveAgent({ agent, gen }: OneAgent): Who | Answer {
    const current = this.#current(agent)
    if (current === undefined) return AGENT_REVOKED
    const known = this.#agents.get(agent.id)
    return known === undefined || known.gen === gen ? { agent: current } : TOKEN_REVOKED
  }

  /** The delegations follow each other and are good now, and the bundle knows every agent. */
  #resolveChain({ ids, hops, gen }: Chain, now: number): Who | Answer {
    const delegation: DelegationHop[] = []
    for (const [i, id] of hops.entries()) {
      const hop = this.#delegations.get(id)
      if (hop === undefined || !(now < Date.parse(hop.expiresAt))) return DELEGATION_REVOKED
      const isNext = hop.from === ids[i] && hop.to === ids[i + 1] && hop.parent === hops[i - 1] && hop.depth === i + 1
      if (!isNext) return DELEGATION_REVOKED
      const from = this.#registered(hop.from)
      if (from === undefined) return AGENT_REVOKED
      delegation.push({ from, actions: hop.actions })
    }
    const last = ids[hops.length] as string // the `to` of the last hop
    const agent = this.#registered(last)
    if (agent === undefined) return AGENT_REVOKED
    return this.#agents.get(last)?.gen === gen ? chained(agent, delegation, hops) : TOKEN_REVOKED
  }

  /** An agent of which there is no token; `undefined` if it is revoked or unknown. */
  #registered(id: string): Agent | undefined {
    const known = this.#agents.get(id)
    if (known === undefined || known.revoked === true) return undefined
    const made = this.#made.get(known) ?? agentOf({ id, trustTier: known.tier }, known)
    this.#made.set(known, made)
    return made
  }

  /** An agent with what the bundle says of it; `undefined` if it is revoked. */
  #current(agent: Agent): Agent | undefined {
    const known = this.#agents.get(agent.id)
    if (known === undefined) return agent
    if (known.revoked === true) return undefined
    const made = this.#made.get(agent)
    if (made !== undefined && isStill(made, agent, known)) return made
    const current = agentOf(agent, known)
    this.#made.set(agent, current)
    return current
  }
}

/** An agent that acts for others, over delegations of these IDs. */
function chained(agent: Agent, delegation: readonly DelegationHop[], ids: readonly string[] = []): Who {
  const chain = delegation.map(({ from, actions }, i) => ({
    delegation: ids[i],
    from: from.id,
    to: (delegation[i + 1]?.from ?? agent).id,
    actions,
  }))
  return { agent, delegation, chain }
}

function agentOf(agent: Agent, known: Exclude<BundleAgent, { revoked: true }>): Agent {
  const { tier, tags, name = agent.name, metadata = agent.metadata } = known
  const trustTier = parseTier(tier) ?? 'unverified'
  return vouchFor(Object.freeze({ id: agent.id, name, trustTier, tags, metadata }))
}

/** What an application hands in may have been changed since. */
function isStill(
  made: Agent,
  agent: Agent,
  { name = agent.name, metadata = agent.metadata }: { name?: string | undefined; metadata?: Agent['metadata'] },
): boolean {
  return made.id === agent.id && made.name === name && made.metadata === metadata
}
