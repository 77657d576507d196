/** Runs in workerd: an application that decides by bundles. The source stands in global scope, where nothing may be begun. */
import { createGuard, fromBundle } from '@meshguard/core'
import { type BundleCache, cacheInKv } from '@meshguard/core/bundle'

declare const GATEWAY: string
declare const BUNDLE_KEY: string

interface Env {
  readonly BUNDLES: { get(key: string): Promise<string | null>; put(key: string, value: string): Promise<void> }
}

let env: Env | undefined
const cache: BundleCache = {
  get: () => env && cacheInKv(env.BUNDLES).get(),
  set: (jws) => env && cacheInKv(env.BUNDLES).set(jws),
}
const options = { url: GATEWAY, publicKeys: [JSON.parse(BUNDLE_KEY)], pollMs: 50, cache, onReload: () => undefined }
const source = fromBundle({ ...options, onError: () => undefined })
const guard = createGuard({ source, timeoutMs: 4000 })

export default {
  async fetch(request: Request, bindings: Env, life: { waitUntil(promise: Promise<unknown>): void }): Promise<Response> {
    env = bindings
    const token = request.headers.get('authorization')?.slice(7)
    const waitUntil = (promise: Promise<unknown>) => life.waitUntil(promise)
    const decision = await guard.decide({ action: 'read:contacts', token, traceId: 'trace-0001', waitUntil })
    return Response.json({ code: decision.code, version: source.bundle?.version })
  },
}
