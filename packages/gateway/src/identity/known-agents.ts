import type { Agent } from '@meshguard/core'
import type { Logger } from 'pino'
import type { IdentifiedAgent } from '../services.js'
import type { AgentRecord, AgentStore } from '../store/store.js'

/** An agent of the registry, as it is remembered. */
export interface KnownAgent {
  /** The same object for as long as the record stays the same. */
  readonly who: IdentifiedAgent
  readonly isActive: boolean
  readonly generation: number
  /** When its `lastSeenAt` was written last, in ms since the epoch. */
  seenAt: number
}

/** How many agents are remembered. */
const MAX_KNOWN = 20_000
/** How old `lastSeenAt` may get before it is written again. */
const SEEN_EVERY_MS = 300_000

/** The agents of the registry, remembered until {@link KnownAgents.forget} says that one has changed. Unknown ones are not. */
export class KnownAgents {
  readonly #store: AgentStore
  readonly #log: Logger
  readonly #known = new Map<string, KnownAgent>()
  readonly #underWay = new Map<string, Promise<KnownAgent | undefined>>()

  constructor(store: AgentStore, log: Logger) {
    this.#store = store
    this.#log = log
  }

  /** The agent, at once where it is remembered. Rejects with UnavailableError when the registry cannot be read. */
  get(id: string): KnownAgent | undefined | Promise<KnownAgent | undefined> {
    return this.#known.get(id) ?? this.#underWay.get(id) ?? this.#look(id)
  }

  /** Forgets an agent, also one that is being looked up just now: what is read of it may be from before the change. */
  forget(id: string): void {
    this.#known.delete(id)
    this.#underWay.delete(id)
  }

  /** Forgets all of them: any may have changed. */
  forgetAll(): void {
    this.#known.clear()
    this.#underWay.clear()
  }

  /** Notes that an agent was seen, at most once in five minutes, and waits for nothing. */
  saw(known: KnownAgent, now: number): void {
    if (now - known.seenAt < SEEN_EVERY_MS) return
    known.seenAt = now
    const { id } = known.who.agent
    this.#store.update(id, { lastSeenAt: now }, now).catch((error: unknown) => {
      this.#log.warn({ err: error, agentId: id }, 'lastSeenAt was not written')
    })
  }

  #look(id: string): Promise<KnownAgent | undefined> {
    const looking = this.#store
      .get(id)
      .then((record) => {
        const known = record === undefined ? undefined : knownFrom(record)
        if (known !== undefined && this.#underWay.get(id) === looking) this.#remember(id, known)
        return known
      })
      .finally(() => {
        if (this.#underWay.get(id) === looking) this.#underWay.delete(id)
      })
    this.#underWay.set(id, looking)
    return looking
  }

  /** When it is full, the half that was learnt first goes: whoever of it is still there is looked up again. */
  #remember(id: string, known: KnownAgent): void {
    if (this.#known.size >= MAX_KNOWN) {
      for (const oldest of [...this.#known.keys()].slice(0, MAX_KNOWN / 2)) this.#known.delete(oldest)
    }
    this.#known.set(id, known)
  }
}

function knownFrom(record: AgentRecord): KnownAgent {
  const agent: Agent = Object.freeze({
    id: record.id,
    name: record.name,
    trustTier: record.trustTier,
    tags: Object.freeze([...record.tags]),
    metadata: record.metadata,
  })
  return {
    who: Object.freeze({ agent }),
    isActive: record.status === 'active',
    generation: record.generation,
    seenAt: record.lastSeenAt ?? 0,
  }
}
