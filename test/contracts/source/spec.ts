import type { Agent, Answer, DecisionRequest, DecisionSource, PolicyDocument } from '@meshguard/core'
import type { Assert } from '../assert.js'

/** What a source can do; a case that needs more than a binding has is not run there. */
export type Feature =
  /** Explains its decisions. */
  | 'explain'
  /** Decides many at once, on one version. */
  | 'many'
  /** Is told what is known of the HTTP request. */
  | 'request'
  /** Takes any resource and a context of any size. */
  | 'any-text'
  /** Is told of agents whose tier nobody knows. */
  | 'any-tier'
  /** Answers without waiting. */
  | 'synchronous'
  /** Verifies tokens. */
  | 'tokens'

/** Policies in force, and the agents that exist. */
export interface Setup {
  readonly policies: readonly PolicyDocument[]
  readonly agents: readonly Agent[]
}

/** A source as a test works with it. */
export interface SourceWorld {
  readonly source: DecisionSource
  /** How this source is told who asks. */
  as(agent: Agent): Pick<DecisionRequest, 'agent' | 'token'>
  /** Moves the clock of the policies; it never goes back. */
  moveTo(ms: number): Promise<void>
  /** Other policies from now on. */
  replace(policies: readonly PolicyDocument[]): Promise<void>
}

/** An implementation, and how it is brought to decide by a setup. */
export interface Binding {
  readonly name: string
  readonly features: ReadonlySet<Feature>
  open(setup: Setup): Promise<SourceWorld>
}

/** A question, without what every question has. */
export type Question = Partial<Omit<DecisionRequest, 'agent' | 'token'>> & { readonly action: string }

/** What a case works with. */
export interface Context extends SourceWorld {
  /** Asks, as the agent if one is named. */
  ask(question: Question | string, agent?: Agent): Promise<Answer>
  /** The time at which the case begins, in ms since the epoch: a Monday, 00:00 UTC. */
  readonly start: number
}

/** Something that holds of every source. */
export interface Case {
  readonly title: string
  readonly policies: readonly PolicyDocument[]
  /** Default {@link nova} and {@link rook}. */
  readonly agents?: readonly Agent[]
  readonly needs?: readonly Feature[]
  run(context: Context, assert: Assert): Promise<void>
}

export const nova: Agent = {
  id: 'agent_nova',
  name: 'nova',
  trustTier: 'verified',
  tags: ['production', 'sales'],
  metadata: { team: 'growth', limit: 100 },
}
export const rook: Agent = { id: 'agent_rook', name: 'rook', trustTier: 'unverified', tags: [] }
export const root: Agent = { id: 'agent_root', name: 'root', trustTier: 'privileged', tags: ['ops'] }

/** What of an answer is compared between sources: who decided, and what an agent may be told of it. */
export function essence({ allowed, code, policy, rule, reason, retryAfter, limit }: Answer) {
  return { allowed, code, policy, rule, reason: code === 'denied' ? reason : undefined, retryAfter, limit }
}

/** An agent as a registry knows it: everything of it is there, if only empty. */
export function registered({ id, name = id, trustTier, tags = [], metadata = {} }: Agent) {
  return { id, name, trustTier, tags, metadata }
}
