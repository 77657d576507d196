import { base64url, type JSONWebKeySet, type JWK, SignJWT } from 'jose'
import { isAgentId, parseTier, TIER_SPELLINGS } from '../agent.js'
import { assertFunction, assertOptions, isObject } from '../options.js'
import type { TrustTier } from '../types.js'
import { areTags, freezeJson, MAX_METADATA_DEPTH, MAX_TAGS } from './claims.js'
import { asymmetricKey, ED25519, ES256, secretKey, type TokenKey } from './keys.js'
import { audienceOf, issuerOf, MAX_TOKEN, secondsOf } from './options.js'

const WHERE = 'mintAgentToken'
const KEY = `${WHERE}: option "key"`
const OPTIONS = ['id', 'name', 'trustTier', 'tags', 'metadata', 'claims', 'expiresInMs', 'issuer', 'audience', 'key', 'clock']
const OWN_CLAIMS = ['sub', 'name', 'tier', 'trust', 'tags', 'metadata', 'iss', 'aud', 'iat', 'nbf', 'exp', 'jti']

/** What {@link mintAgentToken} takes. */
export interface MintAgentTokenOptions {
  /** The agent's id: 1 to 128 letters, digits and `._:@-`, beginning with a letter or digit. */
  readonly id: string
  readonly name?: string | undefined
  /** Any accepted spelling of a tier. Without one the agent is `unverified`. */
  readonly trustTier?: TrustTier | (string & {}) | undefined
  /** At most 64 of at most 64 characters. */
  readonly tags?: readonly string[] | undefined
  readonly metadata?: Readonly<Record<string, unknown>> | undefined
  /** Further claims, like `gen`; none of those that are written by themselves. */
  readonly claims?: Readonly<Record<string, unknown>> | undefined
  /** Milliseconds, rounded up to seconds. Default 24 h, which is also what {@link agentTokens} accepts at most by default. */
  readonly expiresInMs?: number | undefined
  /** Default `'meshguard'`. */
  readonly issuer?: string | undefined
  readonly audience?: string | readonly string[] | undefined
  /**
   * A private key (CryptoKey, JWK, or PKCS #8 as PEM text; Ed25519 or P-256), or a secret of at least 32 bytes. A string that
   * begins with `-----BEGIN` is a key, any other is a secret.
   */
  readonly key: CryptoKey | JWK | Uint8Array | string
  /** Milliseconds since the epoch. Default `Date.now`. */
  readonly clock?: (() => number) | undefined
}

/**
 * Signs an agent's token, for tests, scripts and whoever issues tokens without a gateway.
 *
 * It has `sub`, `name`, `tier`, `tags`, `metadata`, `iss`, `aud`, `iat`, `exp` and a random `jti`; the header has `typ: 'JWT'`
 * and the `kid` of a JWK.
 *
 * @throws TypeError naming the field that is wrong, or when the token would be longer than the 8 KiB that are accepted.
 *
 * @example
 * ```ts
 * const { privateKey, jwks } = await generateKeys()
 * const token = await mintAgentToken({ id: 'report-bot', trustTier: 'verified', tags: ['sales'], key: privateKey })
 * const authenticate = agentTokens({ jwks })
 * ```
 */
export async function mintAgentToken(options: MintAgentTokenOptions): Promise<string> {
  const claims = claimsOf(options)
  const key = signingKey(options.key)
  const { algorithm, kid } = key
  const header = { alg: algorithm.headers[0], typ: 'JWT', ...(kid !== undefined && { kid }) }
  const token = await new SignJWT(claims).setProtectedHeader(header).sign(await key.load())
  if (token.length > MAX_TOKEN) throw wrong('metadata', 'with name and tags makes a token of more than 8 KiB')
  return token
}

function signingKey(key: unknown): TokenKey {
  const secret = key instanceof Uint8Array || (typeof key === 'string' && !key.trimStart().startsWith('-----BEGIN'))
  return secret ? secretKey(KEY, key, 'sign') : asymmetricKey(KEY, key, 'sign')
}

function claimsOf(options: MintAgentTokenOptions): Record<string, unknown> {
  assertOptions(WHERE, options, OPTIONS)
  const { id, name, trustTier, tags, metadata, clock = Date.now } = options
  const tier = parseTier(trustTier)
  if (!isAgentId(id)) throw wrong('id', 'must be 1 to 128 letters, digits and ._:@-, beginning with a letter or digit')
  if (name !== undefined && typeof name !== 'string') throw wrong('name', 'must be a string')
  if (trustTier !== undefined && tier === undefined) throw wrong('trustTier', `must be one of ${TIER_SPELLINGS.join(', ')}`)
  if (tags !== undefined && !areTags(tags)) throw wrong('tags', `must be at most ${MAX_TAGS} strings of ${MAX_TAGS} characters`)
  assertFunction(WHERE, 'clock', clock)
  const [iss, aud] = [issuerOf(WHERE, options.issuer), audienceOf(WHERE, options.audience)]
  const iat = Math.floor(clock() / 1000)
  const exp = iat + Math.ceil(secondsOf(WHERE, 'expiresInMs', options.expiresInMs))
  const jti = crypto.randomUUID()
  return {
    ...furtherClaims(options.claims),
    sub: id,
    name,
    tier,
    tags,
    metadata: plainObject('metadata', metadata),
    iss,
    aud: aud?.length === 1 ? aud[0] : aud,
    iat,
    exp,
    jti,
  }
}

function wrong(name: string, why: string): TypeError {
  return new TypeError(`${WHERE}: option "${name}" ${why}`)
}

function furtherClaims(claims: unknown): Record<string, unknown> | undefined {
  const further = plainObject('claims', claims)
  const own = OWN_CLAIMS.find((claim) => further !== undefined && Object.hasOwn(further, claim))
  if (own !== undefined) throw wrong('claims', `must not hold "${own}", which is written by itself`)
  return further
}

function plainObject(name: string, value: unknown): Record<string, unknown> | undefined {
  if (value === undefined) return undefined
  const plain: unknown = JSON.parse(JSON.stringify(value) ?? 'null')
  if (isObject(plain) && freezeJson(plain, MAX_METADATA_DEPTH)) return plain
  throw wrong(name, `must be an object, at most ${MAX_METADATA_DEPTH} deep, without "__proto__", "constructor" or "prototype"`)
}

/** A key pair of {@link generateKeys}. Each JWK has a `kid` (its RFC 7638 thumbprint), `alg` and `use`. */
export interface GeneratedKeyPair {
  /** For {@link mintAgentToken}. Keep it where nobody else reads it. */
  readonly privateKey: JWK
  /** For `agentTokens({ publicKey })`. */
  readonly publicKey: JWK
  /** The public key as a set, for `agentTokens({ jwks })` and to be published. */
  readonly jwks: JSONWebKeySet
}

/** A secret of {@link generateKeys}: 32 random bytes in base64url, for `agentTokens({ secret })` and {@link mintAgentToken}. */
export interface GeneratedSecret {
  readonly secret: string
}

/**
 * Makes new keys to sign and verify agent tokens with.
 *
 * @param options `alg`: `'Ed25519'` (default), `'ES256'`, or `'HS256'` for a secret.
 * @throws TypeError for another `alg`.
 *
 * @example
 * ```ts
 * const { privateKey, publicKey } = await generateKeys()
 * const authenticate = agentTokens({ publicKey })
 * const token = await mintAgentToken({ id: 'agent_scout', key: privateKey })
 * ```
 */
export function generateKeys(options?: { readonly alg?: 'Ed25519' | 'ES256' | undefined }): Promise<GeneratedKeyPair>
export function generateKeys(options: { readonly alg: 'HS256' }): Promise<GeneratedSecret>
export async function generateKeys({
  alg = 'Ed25519',
}: {
  readonly alg?: 'Ed25519' | 'ES256' | 'HS256' | undefined
} = {}): Promise<GeneratedKeyPair | GeneratedSecret> {
  if (alg === 'HS256') return { secret: base64url.encode(crypto.getRandomValues(new Uint8Array(32))) }
  if (alg !== 'Ed25519' && alg !== 'ES256')
    throw new TypeError('generateKeys: option "alg" must be "Ed25519", "ES256" or "HS256"')
  const { params, headers } = alg === 'ES256' ? ES256 : ED25519
  const pair = (await crypto.subtle.generateKey(params, true, ['sign', 'verify'])) as CryptoKeyPair
  const { kty, crv, x, y, d } = (await crypto.subtle.exportKey('jwk', pair.privateKey)) as JWK & { kty: string }
  const point = { kty, crv, x, ...(y !== undefined && { y }) } as JWK
  const named = { kid: await thumbprint(point), alg: headers[0], use: 'sig' }
  const publicKey = { ...point, ...named }
  return { privateKey: { ...point, d, ...named } as JWK, publicKey, jwks: { keys: [publicKey] } }
}

/** RFC 7638: the SHA-256 of exactly these members in this order; an Ed25519 key has no `y`. */
async function thumbprint({ crv, kty, x, y }: JWK): Promise<string> {
  const digest = await crypto.subtle.digest('SHA-256', new TextEncoder().encode(JSON.stringify({ crv, kty, x, y })))
  return base64url.encode(new Uint8Array(digest))
}
