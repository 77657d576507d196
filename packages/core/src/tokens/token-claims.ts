import type { JSONWebKeySet } from 'jose'
import { AuthenticationError } from '../errors.js'
import { assertFunction, assertOptions } from '../options.js'
import { isPromise } from '../settle.js'
import { type AgentClaims, freezeJson, MAX_METADATA_DEPTH } from './claims.js'
import { keysOfSet, keysSource } from './key-ring.js'
import { ED25519, ES256, HS256, secretKey } from './keys.js'
import { audienceOf, issuerOf, secondsOf } from './options.js'
import { tokenVerifier } from './verify.js'

/** What {@link tokenClaims} takes: `jwks`, `secret` or both, which are then accepted side by side, each for its own `alg`. */
export interface TokenClaimsOptions {
  readonly jwks?: JSONWebKeySet | undefined
  /** At least 32 bytes; a string counts as its UTF-8 bytes. A token that names a `kid` is never verified with it. */
  readonly secret?: Uint8Array | string | undefined
  /** Default `'meshguard'`. */
  readonly issuer?: string | undefined
  readonly audience?: string | readonly string[] | undefined
  /** Default 24 h. */
  readonly maxTokenAgeMs?: number | undefined
  /** Milliseconds since the epoch. Default `Date.now`. */
  readonly clock?: (() => number) | undefined
}

const WHERE = 'tokenClaims'
const OPTIONS = ['jwks', 'secret', 'issuer', 'audience', 'maxTokenAgeMs', 'clock']

/**
 * Verifies tokens as `agentTokens` does, and answers their claims instead of an agent: for an issuer that knows its agents
 * itself, like the gateway.
 *
 * Of a delegation (`act`, `delegation`) nothing but the signature has been verified. Who uses this has to look up every hop,
 * and whether agent and token are still good.
 *
 * The claims of a remembered token are answered synchronously and are always the same frozen object.
 *
 * @throws TypeError naming the option that is wrong.
 *
 * @example
 * ```ts
 * const claimsOf = tokenClaims({ jwks, audience: 'contacts-api' })
 * const { sub } = await claimsOf(token)
 * ```
 */
export function tokenClaims(options: TokenClaimsOptions): (token: string) => AgentClaims | Promise<AgentClaims> {
  assertOptions(WHERE, options, OPTIONS)
  const { jwks, secret, issuer, audience, maxTokenAgeMs, clock = Date.now } = options
  assertFunction(WHERE, 'clock', clock)
  const keys = [
    ...(jwks === undefined ? [] : keysOfSet(WHERE, jwks)),
    ...(secret === undefined ? [] : [secretKey(`${WHERE}: option "secret"`, secret, 'verify')]),
  ]
  if (keys.length === 0) throw new TypeError(`${WHERE}: needs jwks, secret or both`)
  const rules = Object.freeze({
    algorithms: [...ED25519.headers, ...ES256.headers, ...HS256.headers],
    issuer: issuerOf(WHERE, issuer),
    audience: audienceOf(WHERE, audience),
    maxAgeS: secondsOf(WHERE, 'maxTokenAgeMs', maxTokenAgeMs),
    clock,
  })
  const verify = tokenVerifier(keysSource<AgentClaims>(keys), rules, frozen)
  return (token) => {
    const verified = verify(token)
    return isPromise(verified) ? verified.then(({ value }) => value) : verified.value
  }
}

function frozen(claims: Record<string, unknown>): AgentClaims {
  if (freezeJson(claims, MAX_METADATA_DEPTH + 1)) return claims
  throw new AuthenticationError('The token\'s claims are nested too deeply, or name "__proto__"')
}
