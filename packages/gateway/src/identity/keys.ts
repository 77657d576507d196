import type { JSONWebKeySet } from 'jose'
import type { AgentRecord, DelegationRecord } from '../store/store.js'

/** The keys of this gateway: for tokens and for checkpoints, each with its own `typ`. */
export interface Keys {
  /** The public token keys; empty where `JWT_SECRET` signs. */
  jwks(): JSONWebKeySet
  /** Signs a token with `sub`, `name`, `tier`, `tags`, `gen`, `iss`, `iat`, `exp`, `jti`. */
  mint(
    agent: AgentRecord,
    options?: { expiresInMs?: number; chain?: readonly DelegationRecord[] },
  ): Promise<{ token: string; expiresAt: number; jti: string }>
  /** Verifies everything security.md asks for and returns the claims, a delegation's included. @throws AuthenticationError */
  verify(token: string): Promise<Readonly<Record<string, unknown>>>
  /** Makes a new token key; the old one goes on verifying for as long as its tokens may live. */
  rotate(): Promise<void>
  /** Compact JWS of `typ` `meshguard-checkpoint+jws` over a checkpoint. */
  signCheckpoint(payload: Readonly<Record<string, unknown>>): Promise<string>
  /** The payload of a checkpoint's JWS. @throws Error when its signature is not ours. */
  verifyCheckpoint(jws: string): Promise<Readonly<Record<string, unknown>>>
}
