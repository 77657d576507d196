import type { BundleAgent } from '@meshguard/core/bundle'
import type { AgentRecord, AgentStore, Page } from '../store/store.js'

/** How long past the life of a token a change of its agent is still in bundles, for guards whose clocks are behind. */
const CLOCK_SKEW_MS = 600_000
/** How often everything is read anew, so that what is over goes. */
const READ_EVERY_MS = 3_600_000
/** How many agents are read side by side. */
const SIDE_BY_SIDE = 32

/**
 * The agents that a bundle names: those whose tokens may say something else than the registry, and, where policies ask for
 * metadata, those that have any, as no token says it. Read from the store once an hour; in between, the ones that were
 * {@link BundledAgents.note noted} alone.
 */
export class BundledAgents {
  readonly #store: AgentStore
  readonly #maxTokenAgeMs: number
  #agents = new Map<string, AgentRecord>()
  #noted = new Set<string>()
  /** Any of them may have been changed since they were read. */
  #isStale = true
  #readAt = 0
  #withMetadata = false

  constructor(store: AgentStore, maxTokenAgeMs: number) {
    this.#store = store
    this.#maxTokenAgeMs = maxTokenAgeMs
  }

  /** An agent was changed; without an id, any of them may have been. */
  note(id: string | undefined): void {
    if (id === undefined) this.#isStale = true
    else this.#noted.add(id)
  }

  /**
   * The agents as they are now, by id.
   *
   * @param parties Agents that are named whether or not they changed: those of delegations.
   * @param withMetadata Whether policies ask for metadata.
   */
  async read(parties: Iterable<string>, withMetadata: boolean, now: number): Promise<Record<string, BundleAgent>> {
    const noted = this.#noted
    const isStale = this.#isStale || now < this.#readAt || now >= this.#readAt + READ_EVERY_MS
    // What is noted from here on may have been read before it was changed: it is for the next time.
    this.#noted = new Set()
    this.#isStale = false
    try {
      if (isStale || withMetadata !== this.#withMetadata) await this.#readAll(withMetadata, now)
      else await this.#readThese(noted)
    } catch (error) {
      this.note(undefined)
      throw error
    }
    const named = new Map(this.#agents)
    for (const agent of await this.#get([...parties].filter((id) => !named.has(id)))) named.set(agent.id, agent)
    const sorted = [...named.values()].sort((a, b) => (a.id < b.id ? -1 : 1))
    return Object.fromEntries(sorted.map((agent) => [agent.id, bundled(agent)]))
  }

  async #readAll(withMetadata: boolean, now: number): Promise<void> {
    const agents = new Map<string, AgentRecord>()
    const since = now - this.#maxTokenAgeMs - CLOCK_SKEW_MS
    const store = this.#store
    for await (const agent of pages((cursor) => store.changedSince(since, { cursor }))) agents.set(agent.id, agent)
    if (withMetadata) {
      for await (const agent of pages((cursor) => store.list({ status: 'active', limit: 1000, cursor }))) {
        if (hasMetadata(agent)) agents.set(agent.id, agent)
      }
    }
    this.#agents = agents
    this.#withMetadata = withMetadata
    this.#readAt = now
  }

  async #readThese(ids: ReadonlySet<string>): Promise<void> {
    for (const agent of await this.#get([...ids])) {
      const isNamed =
        agent.updatedAt > agent.createdAt || agent.status === 'revoked' || (this.#withMetadata && hasMetadata(agent))
      if (isNamed) this.#agents.set(agent.id, agent)
    }
  }

  async #get(ids: readonly string[]): Promise<AgentRecord[]> {
    const found: AgentRecord[] = []
    for (let i = 0; i < ids.length; i += SIDE_BY_SIDE) {
      const some = await Promise.all(ids.slice(i, i + SIDE_BY_SIDE).map((id) => this.#store.get(id)))
      found.push(...some.filter((agent) => agent !== undefined))
    }
    return found
  }
}

async function* pages(read: (cursor: string | undefined) => Promise<Page<AgentRecord>>): AsyncGenerator<AgentRecord> {
  let cursor: string | undefined
  do {
    const { items, nextCursor } = await read(cursor)
    yield* items
    cursor = nextCursor
  } while (cursor !== undefined)
}

function hasMetadata({ metadata }: AgentRecord): boolean {
  return Object.keys(metadata).length > 0
}

function bundled(agent: AgentRecord): BundleAgent {
  const { trustTier: tier, tags, generation: gen, name, metadata, status } = agent
  if (status === 'revoked') return { tier, tags, gen, revoked: true }
  return { tier, tags, gen, name, ...(hasMetadata(agent) && { metadata }) }
}
