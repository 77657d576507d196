import type { JSONWebKeySet, JWK } from 'jose'
import { isObject } from '../options.js'
import { remoteKeySource } from '../tokens/key-ring.js'
import { asymmetricKey, ED25519, jwkKey, jwkProblem, type TokenKey } from '../tokens/keys.js'
import { BUNDLE_ALG, BUNDLE_TYPE } from './document.js'

/** The keys that bundles are signed with: `publicKeys` or `jwks`, or `publicKeys` and the URL of a set. Ed25519 alone. */
export type BundleKeys =
  | {
      /** Each a CryptoKey, a JWK, or SPKI as PEM text. One that has a `kid` is only tried for bundles that name it. */
      readonly publicKeys: readonly (CryptoKey | JWK | string)[]
      readonly jwks?: undefined
    }
  | {
      /**
       * A JWK Set, or the URL of one, like the gateway's `/.well-known/jwks.json`. A URL is fetched when the first bundle
       * comes, again after 10 minutes, and for a `kid` that it does not hold at most every 30 s. Keys whose member `typ` names
       * something else than bundles are passed over. While it cannot be fetched, a bundle of the cache cannot be verified either: a
       * process that is to begin then needs `publicKeys` as well. Whoever can change the answer on the way signs bundles: use `https`
       * outside of your own network, or `publicKeys`.
       */
      readonly jwks: string | URL | JSONWebKeySet
      readonly publicKeys?: undefined
    }
  | {
      /** Keys of the set that are known already: they count as well, and the URL is asked only for a bundle of another key. */
      readonly publicKeys: readonly (CryptoKey | JWK | string)[]
      readonly jwks: string | URL
    }

/** The keys to try for a bundle that names a key, or none. */
export type FindKeys = (kid: string | undefined, now: number) => readonly TokenKey[] | Promise<readonly TokenKey[]>

/** @throws TypeError naming the option for no key, a list and a set of them, or one that is not Ed25519. */
export function bundleKeys(where: string, { publicKeys, jwks }: BundleKeys): FindKeys {
  const isRemote = typeof jwks === 'string' || jwks instanceof URL
  if ((publicKeys === undefined) === (jwks === undefined) && !isRemote) {
    throw new TypeError(`${where}: needs exactly one of publicKeys and jwks`)
  }
  const others = isRemote ? remote(where, jwks) : undefined
  if (others !== undefined && publicKeys === undefined) return others
  const keys = publicKeys === undefined ? keysOfSet(where, jwks) : listed(where, publicKeys)
  return (kid, now) => {
    const found = keys.filter((key) => kid === undefined || key.kid === undefined || key.kid === kid)
    return found.length === 0 && others !== undefined ? others(kid, now) : found
  }
}

function listed(where: string, publicKeys: unknown): TokenKey[] {
  if (!Array.isArray(publicKeys) || publicKeys.length === 0) {
    throw new TypeError(`${where}: option "publicKeys" must be a list of at least one key`)
  }
  return publicKeys.map((key, i) => {
    const option = `${where}: option "publicKeys[${i}]"`
    const read = asymmetricKey(option, key, 'verify')
    if (read.algorithm !== ED25519) throw new TypeError(`${option} must be an Ed25519 key`)
    return read
  })
}

function keysOfSet(where: string, jwks: unknown): TokenKey[] {
  if (!isObject(jwks) || !Array.isArray(jwks['keys']))
    throw new TypeError(`${where}: option "jwks" must be a URL or { keys: [...] }`)
  const keys = usable(jwks as unknown as JSONWebKeySet)
  if (keys.length === 0) throw new TypeError(`${where}: option "jwks" has no Ed25519 key for bundles`)
  return keys
}

/** The keys of a set that sign bundles: Ed25519, and not marked for something else. */
function usable({ keys }: JSONWebKeySet): TokenKey[] {
  return keys
    .filter((jwk) => jwkProblem(jwk, 'verify') === undefined && isForBundles(jwk))
    .map((jwk) => jwkKey('jwks', jwk, 'verify'))
    .filter(({ algorithm }) => algorithm === ED25519)
}

/** A gateway publishes the keys of its tokens beside those of its bundles, and marks which is which. */
function isForBundles(jwk: object): boolean {
  const typ: unknown = Reflect.get(jwk, 'typ')
  return typ === undefined || typ === BUNDLE_TYPE
}

function remote(where: string, url: string | URL): FindKeys {
  const source = remoteKeySource(where, url, usable)
  return async (kid, now) => {
    const key = (await source.load(now)).find(kid, BUNDLE_ALG) ?? (await source.renew(now)).find(kid, BUNDLE_ALG)
    return key === undefined ? [] : [key]
  }
}
