import { CompactSign, type JWK } from 'jose'
import { assertOptions } from '../options.js'
import { asymmetricKey, ED25519 } from '../tokens/keys.js'
import { BUNDLE_ALG, BUNDLE_TYPE, type BundleDocument, MAX_BUNDLE } from './document.js'
import { readHead, tooLarge } from './head.js'

/** What {@link signBundle} takes. */
export interface SignBundleOptions {
  /** The private Ed25519 key: a CryptoKey, a JWK, or PKCS #8 as PEM text. Use one that signs nothing else. */
  readonly key: CryptoKey | JWK | string
  /** The name of the key, which verifiers look it up by. Default: the `kid` of a JWK. */
  readonly kid?: string | undefined
}

/**
 * Signs a bundle: a compact JWS (RFC 7515) with `alg: 'EdDSA'`, `typ: 'meshguard-bundle+jws'` and the `kid`.
 *
 * Version, times, delegations and keys are checked; policies and agents are checked by whoever verifies the bundle.
 *
 * @throws ValidationError for a document that every verifier would refuse, and for one of more than 32 MiB; TypeError for a
 * key that is not a private Ed25519 key.
 *
 * @example
 * ```ts
 * const { privateKey, publicKey } = await generateKeys()
 * const jws = await signBundle(document, { key: privateKey })
 * const { policies } = await verifyBundle(jws, { publicKeys: [publicKey] })
 * ```
 */
export async function signBundle(document: BundleDocument, options: SignBundleOptions): Promise<string> {
  assertOptions('signBundle', options, ['key', 'kid'])
  const key = asymmetricKey('signBundle: option "key"', options.key, 'sign')
  if (key.algorithm !== ED25519) throw new TypeError('signBundle: option "key" must be an Ed25519 key')
  const kid = options.kid ?? key.kid
  if (kid !== undefined && typeof kid !== 'string') throw new TypeError('signBundle: option "kid" must be a string')
  readHead(document)
  const payload = new TextEncoder().encode(JSON.stringify(document))
  const jws = await new CompactSign(payload)
    .setProtectedHeader({ alg: BUNDLE_ALG, typ: BUNDLE_TYPE, ...(kid !== undefined && { kid }) })
    .sign(await key.load())
  if (jws.length > MAX_BUNDLE) throw tooLarge()
  return jws
}
