import type { Limit, TrustTier } from '../types.js'
import type { Condition } from './conditions.js'
import type { Combine, Effect } from './document.js'

export type * from './document.js'

/** A policy that was parsed: checked, complete and frozen. Made by `parsePolicy` and `definePolicy`. */
export interface Policy {
  readonly name: string
  readonly version?: string | undefined
  readonly description?: string | undefined
  /** Absent: every agent. */
  readonly appliesTo?: AppliesTo | undefined
  readonly rules: readonly Rule[]
  readonly combine: Combine
  readonly defaultEffect: Effect
  /** Per agent, over all actions that the policy governs. */
  readonly rateLimits: readonly Limit[]
  readonly delegation?: Delegation | undefined
}

/** Which agents a policy is for; the keys that are there must all fit. */
export interface AppliesTo {
  /** `minTrustTier` is written out as the tiers it stands for. */
  readonly trustTiers?: readonly TrustTier[] | undefined
  readonly tags?: readonly string[] | undefined
  readonly agentIds?: readonly string[] | undefined
}

/** A rule with its name filled in. */
export interface Rule {
  readonly name: string
  readonly effect: Effect
  readonly actions: readonly string[]
  readonly reason?: string | undefined
  /** In order of their paths; empty when the rule is unconditional. */
  readonly conditions: readonly Condition[]
  readonly rateLimit?: Limit | undefined
}

/** How far the agents that a policy is for may hand their permissions on. */
export interface Delegation {
  /** Hops. */
  readonly maxDepth?: number | undefined
  /** Patterns, one of which must cover what is done through a delegation. */
  readonly permissionCeiling?: readonly string[] | undefined
}

/** A set of policies that decides together. Frozen; made by `createPolicies`. */
export interface Policies {
  /** A hash of what the policies say, the same in whatever order they were loaded. */
  readonly version: string
  /** In the order of their names. */
  readonly policies: readonly Policy[]
}
