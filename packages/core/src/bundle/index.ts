/**
 * Signed bundles: what a gateway publishes so that applications decide by themselves, with `fromBundle` of `@meshguard/core`.
 *
 * @module
 */
export { bundleSchema } from './bundle-schema.js'
export {
  type BundleCache,
  cacheInCacheApi,
  cacheInKv,
  cacheInMemory,
  type KeyValueNamespace,
  type ResponseCache,
} from './cache.js'
export type {
  BundleAgent,
  BundleDelegation,
  BundleDocument,
  CurrentAgent,
  RevokedAgent,
} from './document.js'
export { BUNDLE_TYPE } from './document.js'
export type { BundleKeys } from './keys.js'
export type { BundleRequest, LoadBundle, LoadedBundle } from './load.js'
export { type SignBundleOptions, signBundle } from './sign.js'
export { type VerifiedBundle, type VerifyBundleOptions, verifyBundle } from './verify.js'
