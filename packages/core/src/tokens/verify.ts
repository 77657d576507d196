import { errors, type JWSHeaderParameters, jwtVerify } from 'jose'
import { AuthenticationError, MeshGuardError, UnavailableError } from '../errors.js'
import type { KeyRing, KeySource } from './key-ring.js'
import type { Verified } from './memory.js'
import { MAX_TOKEN } from './options.js'

/** The options that a token is held against, copied. */
export interface TokenRules {
  /** The values of `alg` that any of the keys may have. */
  readonly algorithms: string[]
  readonly issuer: string
  readonly audience: string[] | undefined
  readonly maxAgeS: number
  readonly clock: () => number
}

/** Verifies a token; synchronous where it is remembered. @throws AuthenticationError, UnavailableError. */
export type VerifyToken<T> = (token: string) => Verified<T> | Promise<Verified<T>>

const TOLERANCE_S = 5
const COMPACT = /^[\w-]+\.[\w-]+\.[\w-]+$/

/**
 * Verifies tokens and remembers the good ones for as long as the keys stay the same. Their times are looked at on every request.
 *
 * @param read Makes of the claims of a new token what is remembered with it; what it throws refuses the token.
 */
export function tokenVerifier<T>(
  source: KeySource<T>,
  rules: TokenRules,
  read: (claims: Record<string, unknown>) => T,
): VerifyToken<T> {
  const verifyNew = async (token: string, now: number): Promise<Verified<T>> => {
    const ring = await source.load(now)
    const verified = ring.remembered.get(token) ?? (await verify(token, ring, source, rules, read))
    return inTime(verified, rules.clock())
  }
  return (token) => {
    if (typeof token !== 'string' || token.length > MAX_TOKEN)
      throw new AuthenticationError('The token is no string of at most 8 KiB')
    const now = rules.clock()
    const remembered = source.current(now)?.remembered.get(token)
    if (remembered !== undefined) return inTime(remembered, now)
    if (!COMPACT.test(token)) throw new AuthenticationError('The token is not a JWT: three parts of base64url')
    return verifyNew(token, now)
  }
}

function inTime<T>(verified: Verified<T>, now: number): Verified<T> {
  if (!(now < verified.notAfter)) throw new AuthenticationError('The token has expired')
  if (!(now >= verified.notBefore)) throw new AuthenticationError('The token is not valid yet')
  return verified
}

/** Verifies a token that is not remembered, and remembers it with the keys that it was verified by. */
async function verify<T>(
  token: string,
  loaded: KeyRing<T>,
  source: KeySource<T>,
  rules: TokenRules,
  read: (claims: Record<string, unknown>) => T,
): Promise<Verified<T>> {
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
  return ring.remembered.add(token, verifiedFrom(payload, maxAgeS, read))
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

function verifiedFrom<T>(
  payload: Record<string, unknown>,
  maxAgeS: number,
  read: (claims: Record<string, unknown>) => T,
): Verified<T> {
  const { iat, exp, nbf = iat } = payload as { iat: number; exp: number; nbf?: number }
  if (exp - iat > maxAgeS + TOLERANCE_S) throw new AuthenticationError('The token is made for longer than maxTokenAgeMs')
  return Object.freeze({
    value: read(payload),
    claims: payload,
    notBefore: (Math.max(iat, nbf) - TOLERANCE_S) * 1000,
    notAfter: (Math.min(exp, iat + maxAgeS) + TOLERANCE_S) * 1000,
  })
}
