import type { JWK } from 'jose'

/** One way to sign tokens. */
export interface Algorithm {
  /** The values of the `alg` header that mean it. The first is the one that is written, as more verifiers know it. */
  readonly headers: readonly [string, ...string[]]
  readonly params: EcKeyImportParams & HmacImportParams
}

/** RFC 8037 calls it `EdDSA`, RFC 9864 `Ed25519`. */
export const ED25519 = algorithm(['EdDSA', 'Ed25519'], { name: 'Ed25519' })
export const ES256 = algorithm(['ES256'], { name: 'ECDSA', namedCurve: 'P-256' })
export const HS256 = algorithm(['HS256'], { name: 'HMAC', hash: 'SHA-256' })

function algorithm(headers: Algorithm['headers'], params: { name: string; namedCurve?: string; hash?: string }): Algorithm {
  return Object.freeze({ headers, params: Object.freeze(params) as Algorithm['params'] })
}

/** What a key is for. A private key never verifies, a public key never signs. */
export type KeyUse = 'sign' | 'verify'

/** A key, and the only algorithm that it may be used with. */
export interface TokenKey {
  readonly algorithm: Algorithm
  readonly kid?: string | undefined
  /** The key object, imported when it is first needed and only then. Rejects if the platform cannot read the key. */
  load(): Promise<CryptoKey>
}

/**
 * A key for HS256, copied.
 *
 * @throws TypeError naming `option` for less than 32 bytes (RFC 7518, 3.2), and for the text of a PEM file: a *public* key
 * that is taken for a secret lets everybody sign.
 */
export function secretKey(option: string, secret: unknown, use: KeyUse): TokenKey {
  const bytes = typeof secret === 'string' ? new TextEncoder().encode(secret) : secret
  if (!(bytes instanceof Uint8Array)) throw new TypeError(`${option} must be a Uint8Array or a string`)
  if (bytes.length < 32) throw new TypeError(`${option} must have at least 32 bytes, it has ${bytes.length}`)
  if (new TextDecoder().decode(bytes.subarray(0, 64)).trimStart().startsWith(PEM)) {
    throw new TypeError(`${option} is the text of a key file, not a secret`)
  }
  return importable(HS256, 'raw', new Uint8Array(bytes), use)
}

/**
 * A public key to verify with, or a private key to sign with: a CryptoKey, a JWK, or PEM (SPKI and PKCS #8).
 *
 * @throws TypeError naming `option` unless it is an Ed25519 or P-256 key of the right half.
 */
export function asymmetricKey(option: string, key: unknown, use: KeyUse): TokenKey {
  if (typeof key === 'string') return pemKey(option, key, use)
  return isCryptoKey(key) ? cryptoKey(option, key, use) : jwkKey(option, key, use)
}

/** The key of a JWK. @throws TypeError naming `option` for one that {@link jwkProblem} finds fault with. */
export function jwkKey(option: string, jwk: unknown, use: KeyUse): TokenKey {
  const problem = jwkProblem(jwk, use)
  if (problem !== undefined) throw new TypeError(`${option} ${problem}`)
  const { kty, crv, x, y, d, kid } = jwk as JWK
  const data = { kty, crv, x, ...(y !== undefined && { y }), ...(d !== undefined && { d }) } as JsonWebKey
  return importable(curveOf(jwk as JWK) as Algorithm, 'jwk', data, use, kid)
}

/** Why a JWK cannot be used, or `undefined` if it can. It can still hold a point that is not on its curve. */
export function jwkProblem(jwk: unknown, use: KeyUse): string | undefined {
  if (typeof jwk !== 'object' || jwk === null) return 'must be a CryptoKey, a JWK or PEM text'
  const key = jwk as JWK
  const algorithm = curveOf(key)
  if (algorithm === undefined) return 'must be an Ed25519 or a P-256 key'
  if ((key.d !== undefined) !== (use === 'sign')) return use === 'sign' ? 'holds no private key' : 'holds a private key'
  const numbers = [key.x, ...(key.kty === 'EC' ? [key.y] : []), ...(use === 'sign' ? [key.d] : [])]
  if (!numbers.every(isCoordinate)) return 'has members that are not 32 bytes of base64url'
  if (key.alg !== undefined && !algorithm.headers.includes(key.alg)) return `is for another "alg" than ${algorithm.headers[0]}`
  if (key.use !== undefined && key.use !== 'sig') return 'is not for signatures ("use")'
  if (key.key_ops !== undefined && !(Array.isArray(key.key_ops) && key.key_ops.includes(use)))
    return `is not to ${use} with ("key_ops")`
  return key.kid === undefined || typeof key.kid === 'string' ? undefined : 'has a "kid" that is not a string'
}

function curveOf({ kty, crv }: JWK): Algorithm | undefined {
  if (kty === 'OKP' && crv === 'Ed25519') return ED25519
  return kty === 'EC' && crv === 'P-256' ? ES256 : undefined
}

function isCoordinate(value: unknown): boolean {
  return typeof value === 'string' && /^[\w-]{43}$/.test(value)
}

function isCryptoKey(key: unknown): key is CryptoKey {
  return typeof key === 'object' && key !== null && Reflect.get(key, Symbol.toStringTag) === 'CryptoKey'
}

function cryptoKey(option: string, key: CryptoKey, use: KeyUse): TokenKey {
  const { name, namedCurve } = key.algorithm as EcKeyAlgorithm
  const algorithm = [ED25519, ES256].find(({ params }) => params.name === name && params.namedCurve === namedCurve)
  if (algorithm === undefined) throw new TypeError(`${option} must be an Ed25519 or a P-256 key`)
  const type = use === 'sign' ? 'private' : 'public'
  if (key.type !== type || !key.usages.includes(use)) throw new TypeError(`${option} must be a ${type} key, usable to ${use}`)
  return { algorithm, load: () => Promise.resolve(key) }
}

const PEM = '-----BEGIN '
/** The object identifiers of the two curves, as they stand in SPKI and PKCS #8 (RFC 8410, RFC 5480). */
const ED25519_OID = '\x06\x03\x2b\x65\x70'
const P256_OID = '\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07'

function pemKey(option: string, pem: string, use: KeyUse): TokenKey {
  const label = use === 'sign' ? 'PRIVATE KEY' : 'PUBLIC KEY'
  const [head, foot] = [`${PEM}${label}-----`, `-----END ${label}-----`]
  const text = pem.trim()
  if (!text.startsWith(head) || !text.endsWith(foot)) throw new TypeError(`${option} must be PEM text with "${head}"`)
  const binary = decodeBase64(option, text.slice(head.length, -foot.length))
  const start = binary.slice(0, 32)
  const algorithm = start.includes(ED25519_OID) ? ED25519 : start.includes(P256_OID) ? ES256 : undefined
  if (algorithm === undefined) throw new TypeError(`${option} must be an Ed25519 or a P-256 key`)
  return importable(
    algorithm,
    use === 'sign' ? 'pkcs8' : 'spki',
    Uint8Array.from(binary, (byte) => byte.charCodeAt(0)),
    use,
  )
}

function decodeBase64(option: string, text: string): string {
  try {
    return atob(text)
  } catch (cause) {
    throw new TypeError(`${option} must hold one key in base64 between its PEM lines`, { cause })
  }
}

function importable(
  algorithm: Algorithm,
  format: KeyFormat,
  data: JsonWebKey | Uint8Array<ArrayBuffer>,
  use: KeyUse,
  kid?: string | undefined,
): TokenKey {
  let imported: Promise<CryptoKey> | undefined
  const load = (): Promise<CryptoKey> => {
    imported ??= crypto.subtle.importKey(format as 'raw', data as Uint8Array<ArrayBuffer>, algorithm.params, false, [use])
    return imported
  }
  return { algorithm, kid, load }
}
