import type { TrustTier } from '../types.js'

/** What a rule does, and what happens when none does anything. */
export type Effect = 'allow' | 'deny'

/** How the rules of one policy are combined: the first that matches decides, or any deny does. */
export type Combine = 'first-match' | 'deny-overrides'

/** A tier, or an accepted spelling of one. */
export type TierSpelling = TrustTier | 'untrusted' | 'anonymous' | 'sandboxed' | 'basic'

/** What a condition can compare an attribute with. */
export type Literal = string | number | boolean | null

/**
 * A policy as its author writes it. Everything that is not described here is refused when it is parsed.
 *
 * @example
 * ```ts
 * const policy: PolicyDocument = {
 *   name: 'contacts-agents',
 *   appliesTo: { minTrustTier: 'verified' },
 *   rules: [
 *     { effect: 'deny', actions: ['*:secrets'], reason: 'Secrets are for people' },
 *     { effect: 'allow', actions: ['read:*'], rateLimit: { requests: 10, per: '1m' } },
 *   ],
 * }
 * ```
 */
export interface PolicyDocument {
  /** Unique in the set, `[a-z0-9][a-z0-9._-]{0,63}`. */
  readonly name: string
  /** Free text, kept for people. */
  readonly version?: string | undefined
  readonly description?: string | undefined
  /** Absent: every agent. */
  readonly appliesTo?: AppliesToDocument | undefined
  /** 1 to 10 000 rules, in order. */
  readonly rules: readonly RuleDocument[]
  /** Default `first-match`. */
  readonly combine?: Combine | undefined
  /** Default `deny`. */
  readonly defaultEffect?: Effect | undefined
  /** Per agent, over all actions that this policy governs. */
  readonly rateLimits?: RateLimitsDocument | undefined
  /** How far the agents that this policy is for may hand their permissions on. */
  readonly delegation?: DelegationDocument | undefined
}

/** Which agents a policy is for. The keys that are there must all fit; inside a key any value is enough. */
export interface AppliesToDocument {
  readonly trustTiers?: readonly TierSpelling[] | undefined
  /** This tier or above. Not together with `trustTiers`. */
  readonly minTrustTier?: TierSpelling | undefined
  readonly tags?: readonly string[] | undefined
  readonly agentIds?: readonly string[] | undefined
}

/** One rule. */
export interface RuleDocument {
  /** Unique in the policy. Default `<effect> <first pattern>`, a second one of that name with ` #2`. */
  readonly name?: string | undefined
  readonly effect: Effect
  /** 1 to 64 patterns, any of which is enough. */
  readonly actions: readonly string[]
  /** What an agent that this rule denies is told. */
  readonly reason?: string | undefined
  /** At most 16, all of which must hold. */
  readonly conditions?: ConditionsDocument | undefined
  /** Per agent; counts what this rule allows. */
  readonly rateLimit?: RateLimitDocument | undefined
}

/** `{ requests: 10, per: '1m' }`: whole numbers, and `s`, `m`, `h` or `d`. */
export interface RateLimitDocument {
  readonly requests: number
  readonly per: string
}

/** Limits of a whole policy, per agent. */
export interface RateLimitsDocument {
  readonly requestsPerMinute?: number | undefined
  readonly requestsPerHour?: number | undefined
}

/** How far an agent may hand its permissions on. It binds whoever has a part in a delegation, the agent that acts included. */
export interface DelegationDocument {
  /** Hops, 0 to 5; 0 allows none. Default 5. */
  readonly maxDepth?: number | undefined
  /** Patterns beyond which nothing can be delegated. Default: no ceiling. */
  readonly permissionCeiling?: readonly string[] | undefined
}

/** Tests by the path of what they look at; all must hold. */
export interface ConditionsDocument {
  readonly resource?: Test | undefined
  readonly 'agent.id'?: Test | undefined
  readonly 'agent.name'?: Test | undefined
  readonly 'agent.trustTier'?: Test | undefined
  /** A list: only `contains` and `exists` say something about it. */
  readonly 'agent.tags'?: OperatorsDocument | undefined
  readonly 'request.method'?: Test | undefined
  /** The registered pattern of the route; there is no path. */
  readonly 'request.route'?: Test | undefined
  readonly 'request.ip'?: Test | undefined
  readonly time?: TimeDocument | undefined
  /** `context: { amount: … }` is `context.amount: …`, one level only. */
  readonly context?: Readonly<Record<string, Test>> | undefined
  readonly [path: `context.${string}`]: Test | undefined
  readonly [path: `agent.metadata.${string}`]: Test | undefined
}

/** A literal (equals), a list (equals any), or operators, all of which must hold. */
export type Test = Literal | readonly Literal[] | OperatorsDocument

/** Comparisons of one attribute. One with a missing attribute, or one of another type, is *unknown*. */
export interface OperatorsDocument {
  readonly equals?: Literal | undefined
  readonly notEquals?: Literal | undefined
  readonly in?: readonly Literal[] | undefined
  readonly notIn?: readonly Literal[] | undefined
  readonly startsWith?: string | readonly string[] | undefined
  readonly endsWith?: string | readonly string[] | undefined
  /** Part of a string, or member of a list. */
  readonly contains?: Literal | readonly Literal[] | undefined
  /** A glob with `*` and `?`. */
  readonly matches?: string | readonly string[] | undefined
  readonly notMatches?: string | readonly string[] | undefined
  /** A number, or a date: `YYYY-MM-DD`, or RFC 3339 with `Z` or an offset. */
  readonly gt?: number | string | undefined
  readonly gte?: number | string | undefined
  readonly lt?: number | string | undefined
  readonly lte?: number | string | undefined
  /** Never unknown. */
  readonly exists?: boolean | undefined
}

/** A day of the week. */
export type Day = 'mon' | 'tue' | 'wed' | 'thu' | 'fri' | 'sat' | 'sun'

/** When: `between`, `days` or both. */
export interface TimeDocument {
  /** `09:00-18:00`: the start is in, the end is out; a range across midnight belongs to the day it began on. */
  readonly between?: string | undefined
  /** An IANA name. Default `UTC`. */
  readonly timezone?: string | undefined
  readonly days?: readonly Day[] | undefined
}
