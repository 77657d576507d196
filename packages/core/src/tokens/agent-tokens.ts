import { errors, type JSONWebKeySet, type JWK, type JWSHeaderParameters, jwtVerify } from 'jose'
import { AuthenticationError, MeshGuardError, UnavailableError } from '../errors.js'
import { assertFunction, assertOptions } from '../options.js'
import type { Agent, Authenticate } from '../types.js'
import { type AgentClaims, agentFromClaims } from './claims.js'
import { type KeyRing, type KeySource, keySetSource, publicKeySource, secretSource } from './key-ring.js'
import { asymmetricKey, ED25519, ES256, HS256, secretKey } from './keys.js'
import type { Verified } from './memory.js'
import { audienceOf, issuerOf, MAX_TOKEN, secondsOf } from './options.js'

/** The keys of {@link agentTokens}: exactly one of `jwks`, `publicKey` and `secret`. Ed25519, ES256 (P-256) or HS256. */
export type AgentTokenKeys =
  | {
      /**
       * A JWK Set, or the URL of one. A URL is fetched when the first token comes, again after 10 minutes, and for a `kid`
       * that it does not hold at most every 30 s, or every second while that fails; one request at a time, 5 s each, no
       * redirects. What cannot be fetched is `UnavailableError`. Whoever can change the answer on the way makes tokens: use `https` outside of your own network.
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
const TOLERANCE_S = 5
const COMPACT = /^[\w-]+\.[\w-]+\.[\w-]+$/
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
  const source = keySourceOf(options)
  const { clock } = rules
  const admit = admission(options.isRevoked)

  const verifyNew = async (token: string, now: number): Promise<Agent> => {
    const ring = await source.load(now)
    const verified = ring.remembered.get(token) ?? (await verify(token, ring, source, rules))
    return admit(verified, clock())
  }

  return function authenticate(token) {
    if (typeof token !== 'string' || token.length > MAX_TOKEN)
      throw new AuthenticationError('The token is no string of at most 8 KiB')
    const now = clock()
    const remembered = source.current(now)?.remembered.get(token)
    if (remembered !== undefined) return admit(remembered, now)
    if (!COMPACT.test(token)) throw new AuthenticationError('The token is not a JWT: three parts of base64url')
    return verifyNew(token, now)
  }
}

/** The options that a token is held against, copied. */
interface Rules {
  readonly algorithms: string[]
  readonly issuer: string
  readonly audience: string[] | undefined
  readonly maxAgeS: number
  readonly clock: () => number
}

function rulesOf(options: AgentTokensOptions): Rules {
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

function keySourceOf({ jwks, publicKey, secret }: AgentTokensOptions): KeySource {
  if ([jwks, publicKey, secret].filter((key) => key !== undefined).length !== 1) {
    throw new TypeError('agentTokens: needs exactly one of jwks, publicKey and secret')
  }
  if (secret !== undefined) return secretSource(secretKey('agentTokens: option "secret"', secret, 'verify'))
  return publicKey === undefined
    ? keySetSource(jwks)
    : publicKeySource(asymmetricKey('agentTokens: option "publicKey"', publicKey, 'verify'))
}

/** Answers with the agent of a verified token, or refuses it: what is looked at on every request. */
type Admit = (verified: Verified, now: number) => Agent | Promise<Agent>

function admission(isRevoked: AgentTokensOptions['isRevoked']): Admit {
  const failed = (cause?: unknown): UnavailableError => new UnavailableError('isRevoked gave no answer', { cause })
  const settle = (agent: Agent, revoked: unknown): Agent => {
    if (revoked === false) return agent
    throw revoked === true ? new AuthenticationError('The token is revoked') : failed()
  }
  const ask = ({ agent, claims }: Verified): unknown => {
    try {
      return isRevoked?.(agent, claims)
    } catch (cause) {
      throw failed(cause)
    }
  }
  return (verified, now) => {
    if (!(now < verified.notAfter)) throw new AuthenticationError('The token has expired')
    if (!(now >= verified.notBefore)) throw new AuthenticationError('The token is not valid yet')
    if (isRevoked === undefined) return verified.agent
    const revoked = ask(verified)
    if (typeof revoked === 'boolean') return settle(verified.agent, revoked)
    return Promise.resolve(revoked).then(
      (answer) => settle(verified.agent, answer),
      (cause) => {
        throw failed(cause)
      },
    )
  }
}

/** Verifies a token that is not remembered, and remembers it with the keys that it was verified by. */
async function verify(token: string, loaded: KeyRing, source: KeySource, rules: Rules): Promise<Verified> {
  const { issuer, audience, algorithms, maxAgeS, clock } = rules
  let ring = loaded
  const keyFor = async (header: JWSHeaderParameters): Promise<CryptoKey> => {
    const { kid, alg } = checkHeader(header)
    let key = ring.find(kid, alg)
    if (key === undefined && kid !== undefined) {
      ring = await source.renew(clock())
      key = ring.find(kid, alg)
    }
    if (key === undefined) throw new AuthenticationError('No key is known for the token ("kid", "alg")')
    if (!key.algorithm.headers.includes(alg)) throw new AuthenticationError('The token\'s "alg" is not the one of its key')
    return key.load()
  }
  const { payload } = await jwtVerify(token, keyFor, {
    algorithms,
    issuer,
    ...(audience && { audience }),
    requiredClaims: ['sub', 'iss', 'iat', 'exp'],
    maxTokenAge: maxAgeS,
    clockTolerance: TOLERANCE_S,
    currentDate: new Date(clock()),
  }).catch((error: unknown) => {
    throw refusal(error)
  })
  return ring.remembered.add(token, verifiedFrom(payload, maxAgeS))
}

/** @throws AuthenticationError for a header that is signed, but not one of an agent's token. */
function checkHeader({ alg, kid, typ, crit }: JWSHeaderParameters): { alg: string; kid: string | undefined } {
  const type = typeof typ === 'string' ? typ.toLowerCase() : ''
  if (!['jwt', 'at+jwt', 'application/jwt', 'application/at+jwt'].includes(type)) {
    throw new AuthenticationError('The token\'s "typ" is neither JWT nor at+jwt')
  }
  if (crit !== undefined) throw new AuthenticationError('The token needs an extension ("crit") that is not known here')
  if (kid !== undefined && typeof kid !== 'string') throw new AuthenticationError('The token\'s "kid" is not a string')
  return { alg: alg as string, kid }
}

/** What went wrong, without what the token says. Only an error that jose raises for a token is about the token. */
function refusal(error: unknown): MeshGuardError {
  if (error instanceof MeshGuardError) return error
  if (error instanceof errors.JOSENotSupported)
    return new AuthenticationError('The token needs an extension ("crit") that is not known here')
  if (error instanceof errors.JOSEError) return new AuthenticationError(`The token is refused: ${error.message}`)
  return new UnavailableError('The token could not be verified', { cause: error })
}

function verifiedFrom(payload: Record<string, unknown>, maxAgeS: number): Verified {
  const { iat, exp, nbf = iat } = payload as { iat: number; exp: number; nbf?: number }
  if (exp - iat > maxAgeS + TOLERANCE_S) throw new AuthenticationError('The token is made for longer than maxTokenAgeMs')
  const agent = agentFromClaims(payload)
  return Object.freeze({
    agent,
    claims: payload,
    notBefore: (Math.max(iat, nbf) - TOLERANCE_S) * 1000,
    notAfter: (Math.min(exp, iat + maxAgeS) + TOLERANCE_S) * 1000,
  })
}
