import type { BundleDocument } from '@meshguard/core/bundle'
import type { JSONWebKeySet, JWK } from 'jose'
import type { AgentRecord, DelegationRecord } from '../store/store.js'
import type { KeyKind } from './key-file.js'

/** What a verified token says; frozen, and the same object for as long as the token is remembered. */
export type Claims = Readonly<Record<string, unknown>>

/** How a token is made. */
export interface MintOptions {
  /** From 1 s to the longest life of a token. Default `JWT_EXPIRES_IN`. */
  readonly expiresInMs?: number | undefined
  /** The delegations through which the agent acts, from the root to its own: the token is then for the first one's `from`. */
  readonly chain?: readonly DelegationRecord[] | undefined
}

/** A public key, and the `typ` of what it signs. */
export type PublishedKey = JWK & { readonly typ: string }

/** The keys of this gateway: for tokens, bundles and checkpoints, each with its own `typ`. */
export interface Keys {
  /** How long a token may live: the larger of 24 h and `JWT_EXPIRES_IN`, in ms. */
  readonly maxTokenAgeMs: number
  /** The public token keys; empty where `JWT_SECRET` signs. */
  jwks(): JSONWebKeySet
  /**
   * What is published: the public keys of tokens and those of bundles, each with the `typ` of what it signs, so that neither is
   * taken for the other. Empty where `JWT_SECRET` signs, as there are no bundles then.
   */
  published(): { keys: PublishedKey[] }
  /**
   * Signs a token with `sub`, `name`, `tier`, `tags`, `gen`, `iss`, `aud`, `iat`, `exp`, `jti`, and `orgId` where the agent's
   * metadata has one. With a chain, `sub` is the root, `act` the actors with the agent outermost (RFC 8693), and `delegation` the hops.
   *
   * @throws RequestError 400 for a life that is too long.
   */
  mint(agent: AgentRecord, options?: MintOptions): Promise<{ token: string; expiresAt: number; jti: string }>
  /**
   * Verifies everything security.md asks for and returns the claims, a delegation's included, of which nothing but the signature
   * has been verified. Synchronous for a token that is remembered.
   *
   * @throws AuthenticationError
   */
  verify(token: string): Claims | Promise<Claims>
  /**
   * Makes a new key, for tokens unless it is said; the old one goes on verifying for as long as what it signed may live.
   *
   * @throws RequestError 409 where `JWT_SECRET` signs, Error when the key file cannot be written; nothing has changed then.
   */
  rotate(kind?: KeyKind): Promise<void>
  /**
   * Reads the key file again if it was changed: by a gateway that shares it, or whoever put another one in its place. Done before
   * something is signed, and when a token does not verify. A file that is no good leaves the keys as they are, and is logged.
   *
   * @returns whether there are other keys now.
   */
  refresh(): Promise<boolean>
  /** The name of the key that signs bundles. */
  bundleKid(): string
  /** Compact JWS of `typ` `meshguard-bundle+jws`. */
  signBundle(document: BundleDocument): Promise<string>
  /** Compact JWS of `typ` `meshguard-checkpoint+jws` over a checkpoint. */
  signCheckpoint(payload: Readonly<Record<string, unknown>>): Promise<string>
  /** The payload of a checkpoint's JWS. @throws Error when its signature is not ours. */
  verifyCheckpoint(jws: string): Promise<Readonly<Record<string, unknown>>>
}
