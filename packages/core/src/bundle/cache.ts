/**
 * Keeps the last good bundle, so that a new process can begin without the gateway and versions do not go back. What comes out is
 * verified like what was fetched, so keys are not kept here: whoever can write to it can bring back an older bundle, within
 * `maxStalenessMs`, but sign none. Processes may share it: what is later stays.
 */
export interface BundleCache {
  /** The JWS that was set last, or nothing. */
  get(): string | null | undefined | Promise<string | null | undefined>
  set(jws: string): unknown
}

/**
 * Keeps it in memory, for several sources of one process.
 *
 * @example
 * ```ts
 * const cache = cacheInMemory()
 * const source = fromBundle({ url, token, publicKeys, cache })
 * ```
 */
export function cacheInMemory(): BundleCache {
  let kept: string | undefined
  return {
    get: () => kept,
    set: (jws) => {
      kept = jws
    },
  }
}

/** The part of Workers KV that is used. */
export interface KeyValueNamespace {
  get(key: string): Promise<string | null>
  put(key: string, value: string): Promise<unknown>
}

/**
 * Keeps it in Workers KV, for all isolates everywhere. A value of KV may be as large as 25 MiB, and takes up to a minute to be
 * seen elsewhere.
 *
 * @param key Default `meshguard-bundle`. One for each gateway.
 *
 * @example
 * ```ts
 * const source = fromBundle({ url, token, publicKeys, cache: cacheInKv(env.BUNDLES) })
 * ```
 */
export function cacheInKv(namespace: KeyValueNamespace, key = 'meshguard-bundle'): BundleCache {
  if (typeof namespace?.get !== 'function' || typeof namespace.put !== 'function') {
    throw new TypeError('cacheInKv: expected a KV namespace, with get and put')
  }
  return { get: () => namespace.get(key), set: (jws) => namespace.put(key, jws) }
}

/** The part of the Cache API that is used. */
export interface ResponseCache {
  match(url: string): Promise<Response | undefined>
  put(url: string, response: Response): Promise<unknown>
}

/**
 * Keeps it in a cache of the Cache API (`caches.default` on Workers), for the isolates of one data centre.
 *
 * @param url What it is kept as; it is never fetched. Default `https://meshguard.invalid/v1/bundle`. One for each gateway.
 *
 * @example
 * ```ts
 * const source = fromBundle({ url, token, publicKeys, cache: cacheInCacheApi(caches.default) })
 * ```
 */
export function cacheInCacheApi(cache: ResponseCache, url = 'https://meshguard.invalid/v1/bundle'): BundleCache {
  if (typeof cache?.match !== 'function' || typeof cache.put !== 'function') {
    throw new TypeError('cacheInCacheApi: expected a cache, with match and put')
  }
  return {
    get: async () => (await cache.match(url))?.text(),
    set: (jws) => cache.put(url, new Response(jws, { headers: { 'cache-control': 'max-age=86400' } })),
  }
}
