import type { JSONWebKeySet, JWK } from 'jose'
import { AuthenticationError, UnavailableError } from '../errors.js'
import { assertFunction, assertOptions } from '../options.js'
import { isPromise } from '../settle.js'
import type { Agent, Authenticate } from '../types.js'
import { type AgentClaims, agentFromClaims } from './claims.js'
import { type KeySource, keySetSource, keysSource, publicKeySource } from './key-ring.js'
import { asymmetricKey, ED25519, ES256, HS256, secretKey } from './keys.js'
import type { Verified } from './memory.js'
import { audienceOf, issuerOf, secondsOf } from './options.js'
import { type TokenRules, tokenVerifier } from './verify.js'

/** The keys of {@link agentTokens}: exactly one of `jwks`, `publicKey` and `secret`. Ed25519, ES256 (P-256) or HS256. */
export type AgentTokenKeys =
  | {
      /**
       * A JWK Set, or the URL of one. A URL is fetched when the first token comes, again after 10 minutes, and for a `kid`
       * that it does not hold at most every 30 s, or every second while that fails; one request at a time, 5 s and
       * 1 MiB each, no redirects. What cannot be fetched is `UnavailableError`. Whoever can change the answer on the way makes tokens: use `https` outside of your own network.
       */
      readonly jwks: string | URL | JSONWebKeySet
      readonly publicKey?: undefined
      readonly secret?: undefined
    }
  | {
      /** A CryptoKey, a JWK, or SPKI as PEM text (`-----BEGIN PUBLIC KEY-----`). */
      readonly publicKey: CryptoKey | JWK | string
      readonly jwks?: undefined
      readonly secret?: undefined
    }
  | {
      /** At least 32 bytes; a string counts as its UTF-8 bytes. Whoever knows it can make tokens. */
      readonly secret: Uint8Array | string
      readonly jwks?: undefined
      readonly publicKey?: undefined
    }

/** What {@link agentTokens} takes. */
export type AgentTokensOptions = AgentTokenKeys & {
  /** The `iss` that a token must have. Default `'meshguard'`. */
  readonly issuer?: string | undefined
  /** The `aud` that a token must have, or one of several. Without it any `aud` is good, that of another API included. */
  readonly audience?: string | readonly string[] | undefined
  /** The longest life of a token, from `iat` on, in ms; one that is made for longer is refused. Default 24 h. */
  readonly maxTokenAgeMs?: number | undefined
  /**
   * Asked on every request, for remembered tokens too; a synchronous answer keeps the request synchronous. A throw, a
   * rejection or anything but a boolean is `UnavailableError`.
   */
  readonly isRevoked?: ((agent: Agent, claims: AgentClaims) => boolean | Promise<boolean>) | undefined
  /** Milliseconds since the epoch. Default `Date.now`. */
  readonly clock?: (() => number) | undefined
}

const WHERE = 'agentTokens'
const OPTIONS = ['jwks', 'publicKey', 'secret', 'issuer', 'audience', 'maxTokenAgeMs', 'isRevoked', 'clock']

/**
 * Verifies bearer tokens: JWTs of `typ` `JWT` or `at+jwt` with `sub` (an agent id), `iss`, `iat` and `exp`; `nbf` is honoured,
 * clocks may differ by 5 s. `name`, `tier`, `tags` and `metadata` make the agent.
 *
 * Up to 10 000 verified tokens are remembered for as long as the keys stay the same. A remembered token is answered
 * synchronously, always with the same frozen agent; its times and `isRevoked` are looked at again on every request.
 *
 * What it returns throws, or rejects with, `AuthenticationError` for a token that is not good, with a message for the
 * operator, and `UnavailableError` when that cannot be told: the key set cannot be had, or `isRevoked` failed. A token that
 * carries a delegation (`act`, `may_act`, `delegation`) is refused, as it is not evaluated here.
 *
 * @throws TypeError naming the option for no key or more than one, a key that is not Ed25519, P-256 or a secret of at least
 * 32 bytes, an unknown option or one of the wrong type.
 *
 * @example
 * ```ts
 * const guard = createGuard({
 *   source: fromPolicies(policies),
 *   authenticate: agentTokens({ jwks: 'https://gateway.example.com/.well-known/jwks.json', audience: 'contacts-api' }),
 * })
 * ```
 */
export function agentTokens(options: AgentTokensOptions): Authenticate {
  const rules = rulesOf(options)
  const verify = tokenVerifier(keySourceOf(options), rules, agentFromClaims)
  const admit = admission(options.isRevoked)

  return function authenticate(token) {
    const verified = verify(token)
    return isPromise(verified) ? verified.then(admit) : admit(verified)
  }
}

function rulesOf(options: AgentTokensOptions): TokenRules {
  assertOptions(WHERE, options, OPTIONS)
  const { secret, issuer, audience, maxTokenAgeMs, isRevoked, clock = Date.now } = options
  assertFunction(WHERE, 'isRevoked', isRevoked)
  assertFunction(WHERE, 'clock', clock)
  return Object.freeze({
    algorithms: secret === undefined ? [...ED25519.headers, ...ES256.headers] : [...HS256.headers],
    issuer: issuerOf(WHERE, issuer),
    audience: audienceOf(WHERE, audience),
    maxAgeS: secondsOf(WHERE, 'maxTokenAgeMs', maxTokenAgeMs),
    clock,
  })
}

function keySourceOf({ jwks, publicKey, secret }: AgentTokensOptions): KeySource<Agent> {
  if ([jwks, publicKey, secret].filter((key) => key !== undefined).length !== 1) {
    throw new TypeError('agentTokens: needs exactly one of jwks, publicKey and secret')
  }
  if (secret !== undefined) return keysSource([secretKey('agentTokens: option "secret"', secret, 'verify')])
  return publicKey === undefined
    ? keySetSource(jwks)
    : publicKeySource(asymmetricKey('agentTokens: option "publicKey"', publicKey, 'verify'))
}

/** Answers with the agent of a verified token, or refuses it: what is looked at on every request. */
type Admit = (verified: Verified<Agent>) => Agent | Promise<Agent>

function admission(isRevoked: AgentTokensOptions['isRevoked']): Admit {
  if (isRevoked === undefined) return ({ value: agent }) => agent
  const failed = (cause?: unknown): UnavailableError => new UnavailableError('isRevoked gave no answer', { cause })
  return ({ value: agent, claims }) => {
    const settle = (revoked: unknown): Agent => {
      if (revoked === false) return agent
      throw revoked === true ? new AuthenticationError('The token is revoked') : failed()
    }
    let revoked: unknown
    try {
      revoked = isRevoked(agent, claims)
    } catch (cause) {
      throw failed(cause)
    }
    if (typeof revoked === 'boolean') return settle(revoked)
    const late = Promise.resolve(revoked).catch((cause: unknown) => {
      throw failed(cause)
    })
    return late.then(settle)
  }
}
