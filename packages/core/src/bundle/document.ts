import type { JSONWebKeySet } from 'jose'
import type { PolicyDocument, TierSpelling } from '../policy/document.js'

/**
 * What a bundle says: everything that is needed to decide without asking the gateway. Times are ISO 8601 in UTC
 * (`2026-01-31T09:00:00.000Z`). A member that is not described here makes a bundle bad: it could be one that denies.
 *
 * @example
 * ```ts
 * const document: BundleDocument = {
 *   version: 17,
 *   issuedAt: new Date().toISOString(),
 *   expiresAt: new Date(Date.now() + 86_400_000).toISOString(),
 *   policies: [{ name: 'readers', rules: [{ effect: 'allow', actions: ['read:*'] }] }],
 *   agents: { agent_7: { revoked: true } },
 *   delegations: [],
 *   jwks,
 * }
 * ```
 */
export interface BundleDocument {
  /** A whole number from 1. It never goes back; the same one may be signed again, later. */
  readonly version: number
  readonly issuedAt: string
  readonly expiresAt: string
  readonly policies: readonly PolicyDocument[]
  /** Agents whose state is not what their tokens say, and all that have a part in a delegation; by id. */
  readonly agents: Readonly<Record<string, BundleAgent>>
  /** Every delegation that is neither expired nor revoked. */
  readonly delegations: readonly BundleDelegation[]
  /** Public keys of agents' tokens; may be empty where the application authenticates. */
  readonly jwks: JSONWebKeySet
}

/** An agent as the registry knows it. It counts instead of what a token says. */
export type BundleAgent = RevokedAgent | CurrentAgent

/** No token of it is good. */
export interface RevokedAgent {
  readonly revoked: true
  readonly tier?: TierSpelling | undefined
  readonly tags?: readonly string[] | undefined
  readonly gen?: number | undefined
}

/** Its tokens are good if they are of generation `gen`. */
export interface CurrentAgent {
  readonly revoked?: false | undefined
  readonly tier: TierSpelling
  /** At most 64 of at most 64 characters. */
  readonly tags: readonly string[]
  readonly gen: number
  /** Default: what the token says. */
  readonly name?: string | undefined
  /** Default: what the token says. */
  readonly metadata?: Readonly<Record<string, unknown>> | undefined
}

/** One hop of a chain of delegations. */
export interface BundleDelegation {
  readonly id: string
  readonly from: string
  readonly to: string
  /** Patterns. */
  readonly actions: readonly string[]
  /** The delegation that this one extends; absent for the first of a chain. */
  readonly parent?: string | undefined
  /** 1 for the first of a chain, at most 5. */
  readonly depth: number
  readonly expiresAt: string
}

/** The `typ` of a bundle, and of the keys in a JWK Set that sign bundles. */
export const BUNDLE_TYPE = 'meshguard-bundle+jws'
/** The only `alg`. */
export const BUNDLE_ALG = 'EdDSA'
/** The longest bundle, in bytes of its JWS. */
export const MAX_BUNDLE = 32 * 1024 * 1024
