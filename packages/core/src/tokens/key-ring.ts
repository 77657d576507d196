import { createRemoteJWKSet, customFetch, type JSONWebKeySet } from 'jose'
import { UnavailableError } from '../errors.js'
import { isObject } from '../options.js'
import { textOf } from '../transport/fetch.js'
import { Call } from '../transport/transport.js'
import { jwkKey, jwkProblem, type TokenKey } from './keys.js'
import { TokenMemory } from './memory.js'

/** One generation of keys and the tokens that they have verified: with the keys goes the memory. */
export interface KeyRing<T> {
  readonly remembered: TokenMemory<T>
  /** The key that a token's header names; without a `kid`, the only one that its `alg` fits. */
  find(kid: string | undefined, alg: string): TokenKey | undefined
}

/** Where the keys come from. `now` is in ms since the epoch. */
export interface KeySource<T> {
  /** The keys in use; `undefined` when they have to be fetched first. */
  current(now: number): KeyRing<T> | undefined
  /** The keys in use, fetched if they are older than 10 minutes. */
  load(now: number): Promise<KeyRing<T>>
  /** For a token that names an unknown key: the keys, fetched anew if that was not done within the last 30 s. */
  renew(now: number): Promise<KeyRing<T>>
}

/** @param fallback The key for whatever `kid` a token names, where a single key without a name of its own is configured. */
export function keyRing<T>(keys: readonly TokenKey[], fallback?: TokenKey): KeyRing<T> {
  const named = new Map<string, TokenKey>()
  for (const key of keys) if (key.kid !== undefined && !named.has(key.kid)) named.set(key.kid, key)
  return {
    remembered: new TokenMemory<T>(),
    find(kid, alg) {
      if (kid !== undefined) return named.get(kid) ?? fallback
      const fitting = keys.filter((key) => key.algorithm.headers.includes(alg))
      return fitting.length === 1 ? fitting[0] : undefined
    },
  }
}

function fixed<T>(ring: KeyRing<T>): KeySource<T> {
  const loaded = Promise.resolve(ring)
  return { current: () => ring, load: () => loaded, renew: () => loaded }
}

/** Keys side by side. A secret has no name, so a token that names a key is none of its own. */
export function keysSource<T>(keys: readonly TokenKey[]): KeySource<T> {
  return fixed(keyRing(keys))
}

/** One public key. If it has no `kid` itself, a token's does not matter. */
export function publicKeySource<T>(key: TokenKey): KeySource<T> {
  return fixed(keyRing([key], key.kid === undefined ? key : undefined))
}

/**
 * A JWK Set, given or behind a URL.
 *
 * @throws TypeError for a URL that is not http(s) or holds a password, and for a given set with a key that cannot verify
 * tokens or two keys of one name. Such keys in a fetched set are passed over.
 */
export function keySetSource<T>(jwks: unknown): KeySource<T> {
  if (typeof jwks === 'string' || jwks instanceof URL) return remoteKeySource('agentTokens', jwks, usableKeys)
  return fixed(keyRing(keysOfSet('agentTokens', jwks)))
}

/** The keys of a JWK Set. @throws TypeError for a key that cannot verify tokens, two of one name, or none. */
export function keysOfSet(where: string, jwks: unknown): TokenKey[] {
  if (!isObject(jwks) || !Array.isArray(jwks['keys']))
    throw new TypeError(`${where}: option "jwks" must be a URL or { keys: [...] }`)
  const keys = jwks['keys'].flatMap((jwk, i) =>
    isForTokens(jwk) ? jwkKey(`${where}: option "jwks": keys[${i}]`, jwk, 'verify') : [],
  )
  const kids = keys.flatMap(({ kid }) => kid ?? [])
  if (new Set(kids).size < kids.length) throw new TypeError(`${where}: option "jwks" has two keys with the same "kid"`)
  if (keys.length === 0) throw new TypeError(`${where}: option "jwks" has no keys`)
  return keys
}

/**
 * A JWK Set behind a URL.
 *
 * @param keysIn The keys of a fetched set that count.
 * @throws TypeError naming the option "jwks" for a URL that is not http(s) or holds a password.
 */
export function remoteKeySource<T>(
  where: string,
  address: string | URL,
  keysIn: (set: JSONWebKeySet) => TokenKey[],
): KeySource<T> {
  const url = URL.canParse(address) ? new URL(address) : undefined
  if (url === undefined || !['https:', 'http:'].includes(url.protocol) || url.username !== '' || url.password !== '') {
    throw new TypeError(`${where}: option "jwks" must be an http(s) URL without user and password`)
  }
  return fetched(url, keysIn)
}

const MAX_AGE_MS = 600_000
const COOLDOWN_MS = 30_000
/** How long a set that could not be fetched is left alone, however many unknown keys tokens name. */
const FAILED_MS = 1000

/** Our own ring is what counts: it is changed, and its age begins, in one step when an answer is there. */
function fetched<T>(url: URL, keysIn: (set: JSONWebKeySet) => TokenKey[]): KeySource<T> {
  const keySet = createRemoteJWKSet(url, { [customFetch]: fetchCapped })
  let ring = keyRing<T>([])
  let text = ''
  let fetchedAt = Number.NEGATIVE_INFINITY
  let failure: { readonly at: number; readonly error: UnavailableError } | undefined
  const within = (ms: number, now: number): boolean => now >= fetchedAt && now < fetchedAt + ms
  const reload = async (now: number): Promise<KeyRing<T>> => {
    await keySet.reload().catch((cause: unknown) => {
      const reason = cause instanceof Error ? cause.message : String(cause)
      const error = new UnavailableError(`The key set at ${url.origin}${url.pathname} could not be fetched: ${reason}`, {
        cause,
      })
      failure = { at: now, error }
      throw error
    })
    failure = undefined
    const set = keySet.jwks() as JSONWebKeySet
    const newText = JSON.stringify(set)
    if (newText !== text) ring = keyRing(keysIn(set))
    text = newText
    fetchedAt = now
    return ring
  }
  return {
    current: (now) => (within(MAX_AGE_MS, now) ? ring : undefined),
    load: async (now) => (within(MAX_AGE_MS, now) ? ring : reload(now)),
    async renew(now) {
      if (within(COOLDOWN_MS, now)) return ring
      if (failure !== undefined && now >= failure.at && now < failure.at + FAILED_MS) throw failure.error
      return reload(now)
    },
  }
}

/** Reads no more than 1 MiB of an answer. */
async function fetchCapped(url: string, init: RequestInit): Promise<Response> {
  const response = await fetch(url, init)
  const text = await textOf(response, new Call())
  if (text === undefined) throw new TypeError('the answer is too long')
  return new Response(text || null, response)
}

/** The keys of a set that can verify tokens; the others are passed over. */
export function usableKeys({ keys }: JSONWebKeySet): TokenKey[] {
  return keys
    .filter((jwk) => isForTokens(jwk) && jwkProblem(jwk, 'verify') === undefined)
    .map((jwk) => jwkKey('jwks', jwk, 'verify'))
}

/** A gateway publishes the keys of its bundles beside those of its tokens, and marks which is which. */
function isForTokens(jwk: unknown): boolean {
  return !isObject(jwk) || jwk['typ'] === undefined || jwk['typ'] === 'JWT'
}
