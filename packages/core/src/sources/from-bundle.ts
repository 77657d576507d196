import { checksActions } from '../action.js'
import { printable } from '../audit-line.js'
import type { BundleCache } from '../bundle/cache.js'
import { type BundleKeys, bundleKeys } from '../bundle/keys.js'
import { type LoadBundle, loadFromGateway } from '../bundle/load.js'
import { BundleStream } from '../bundle/stream.js'
import { BundleSync } from '../bundle/sync.js'
import { assertVersion, type Bundle } from '../bundle/verify.js'
import { type MeshGuardError, UnavailableError } from '../errors.js'
import { assertFunction, assertMs, assertOptions } from '../options.js'
import { createMemoryLimiter } from '../policy/limiter.js'
import { ED25519, ES256 } from '../tokens/keys.js'
import { audienceOf, issuerOf, secondsOf } from '../tokens/options.js'
import { IO_OUTLIVES_REQUESTS } from '../transport/requests.js'
import { assertToken, readGatewayUrl } from '../transport/transport.js'
import type { Answer, AnswerExplanation, DecisionRequest, DecisionSource, Limiter } from '../types.js'
import { BundleDecider } from './bundle-decider.js'

/** Options of {@link fromBundle}: where bundles come from, the keys that sign them, and how old one may be. */
export type FromBundleOptions = BundleKeys & BundleOrigin & BundleSettings

/** Where bundles come from: exactly one of `url` and `load`. */
export type BundleOrigin =
  | {
      /** Where the gateway is: `https://gateway.example`. */
      readonly url: string
      /** A *service token* with the scope `bundle`. */
      readonly token?: string | undefined
      /**
       * Listens to the gateway's wake-ups as well, from the first use on, so that a change is known at once and not at the next
       * poll. Default `false`. The open connection keeps a process alive until `close()`; not for Workers.
       */
      readonly stream?: boolean | undefined
      readonly load?: undefined
    }
  | {
      /** Loads the latest bundle from wherever it is kept. */
      readonly load: LoadBundle
      readonly url?: undefined
      readonly token?: undefined
      readonly stream?: undefined
    }

/** What does not depend on where bundles come from. */
export interface BundleSettings {
  /** How often to ask for a newer bundle, in ms, give or take a tenth. Default 30 000. */
  readonly pollMs?: number | undefined
  /**
   * How long a bundle is decided by after it was issued, in ms. Default 6 h. A gateway signs anew every hour: less than that
   * is too little. This is how long a revocation can be unknown while the gateway is away.
   */
  readonly maxStalenessMs?: number | undefined
  /** An older version is refused, for a process without a cache. */
  readonly minVersion?: number | undefined
  /** Keeps the last good bundle beyond this process: `cacheInFile`, `cacheInKv`, `cacheInCacheApi`. Default: nowhere else. */
  readonly cache?: BundleCache | undefined
  /** How long loading a bundle may take, in ms. Default 10 000; on Workers 2500. */
  readonly timeoutMs?: number | undefined
  /** Counts rate limits. Default: in the memory of this process, for this process alone. */
  readonly limiter?: Limiter | undefined
  /** The `iss` that agents' tokens must have. Default `'meshguard'`. */
  readonly issuer?: string | undefined
  /** The `aud` that agents' tokens must have, or one of several. Default: any. */
  readonly audience?: string | readonly string[] | undefined
  /** The longest life of an agent's token, in ms. Default 24 h. */
  readonly maxTokenAgeMs?: number | undefined
  /** Told when another version is in force, or bundles can be had again. Default: a line on stderr. */
  readonly onReload?: ((info: BundleReloadInfo) => void) | undefined
  /**
   * Told once of each thing that is wrong: a bundle that is refused (`ValidationError`), one that cannot be had
   * (`UnavailableError`, `ConnectionError`), one that is too old. The last good one stays in force. Default: lines on stderr.
   */
  readonly onError?: ((error: MeshGuardError) => void) | undefined
}

/** The bundle in force. */
export interface BundleInfo {
  readonly version: number
  /** In ms since the epoch. */
  readonly issuedAt: number
  /** In ms since the epoch. */
  readonly expiresAt: number
  readonly policyVersion: string
  /** Whether it is decided by: not expired, and not older than `maxStalenessMs`. */
  readonly isGood: boolean
}

/** What a reload came to. */
export interface BundleReloadInfo extends BundleInfo {
  /** The attempt before this one had failed. */
  readonly recovered: boolean
}

/** A source that decides in process by a signed bundle. With a bundle and the default limiter it answers synchronously. */
export interface BundleSource extends DecisionSource {
  readonly name: 'bundle'
  readonly authenticates: true
  readonly delegates: true
  /** The last good bundle; `undefined` before there is one. */
  readonly bundle: BundleInfo | undefined
  decide(request: DecisionRequest, now?: number): Answer | Promise<Answer>
  decideMany(requests: readonly DecisionRequest[], now?: number): readonly Answer[] | Promise<readonly Answer[]>
  explain(request: DecisionRequest, now?: number): Promise<AnswerExplanation>
  /**
   * Asks for the latest bundle now; for the start of a server, so that the first request does not wait.
   *
   * @throws ValidationError for one that is refused, UnavailableError or ConnectionError when there is none to be had. The last
   * good one stays in force, that of the cache included.
   */
  refresh(): Promise<BundleInfo>
  /** Stops asking for bundles. What is decided later is `unavailable`. */
  close(): Promise<void>
}

const WHERE = 'fromBundle'
const OPTIONS = [
  ...['url', 'token', 'stream', 'load', 'publicKeys', 'jwks', 'pollMs', 'maxStalenessMs', 'minVersion', 'cache', 'timeoutMs'],
  ...['limiter', 'issuer', 'audience', 'maxTokenAgeMs', 'onReload', 'onError'],
]
const POLL_MS = 30_000
const MAX_STALENESS_MS = 6 * 3_600_000
/** What a request on Workers began may end with it: soon another one must be able to try. */
const TIMEOUT_MS = IO_OUTLIVES_REQUESTS ? 10_000 : 2500

/**
 * Decides in process by a bundle that a gateway signed: its policies, its agents' revocations, tiers and tags, its delegations,
 * and its keys for agents' tokens. Nothing is asked per decision, and nothing is needed of the gateway until the bundle is
 * older than `maxStalenessMs`.
 *
 * Nothing is fetched before the first use. Afterwards a newer bundle is asked for every `pollMs`, by a timer that keeps no process
 * alive or, where timers end with a request (Workers), by the next decision, which does not wait for it. A bundle is verified before
 * anything in it is read; its version never goes back; one that is refused is reported and leaves the last good one in force.
 *
 * Without a good bundle everything is `unavailable`. It rejects with `ConnectionError`, which `onUnavailable` may open for, only when
 * the last attempt did not *reach* the gateway; agents that the last bundle says to be revoked stay refused even then.
 *
 * A token is verified here, with the bundle's keys; an agent that the application hands in is looked up by its id. Rate limits are
 * counted in this process: with `n` processes an agent has up to `n` times the limit.
 *
 * @throws TypeError for wrong options.
 *
 * @example
 * ```ts
 * const source = fromBundle({ url: 'https://gateway.example', token: 'msvc_…', publicKeys: [bundleKey] })
 * const guard = createGuard({ source, audit: auditToGateway({ url, token }) })
 * ```
 */
export function fromBundle(options: FromBundleOptions): BundleSource {
  assertOptions(WHERE, options, OPTIONS)
  const { onReload = sayReloaded, onError = sayFailed, limiter = createMemoryLimiter(), stream: listens = false } = options
  assertFunction(WHERE, 'onReload', onReload)
  assertFunction(WHERE, 'onError', onError)
  if (typeof limiter?.take !== 'function') throw new TypeError('fromBundle: option "limiter" must have a function take')
  const { load, gateway } = originOf(options)
  const sync = new BundleSync({
    ...settingsOf(options),
    load,
    find: bundleKeys(WHERE, options),
    onBundle: (bundle) => decider.take(bundle),
    onReload: (bundle, recovered) => onReload({ ...infoOf(bundle, sync.isGood(Date.now())), recovered }),
    onError,
  })
  const stream = gateway && listens ? new BundleStream({ gateway, token: options.token, ...wakes(sync) }) : undefined
  const decider = new BundleDecider(sync, limiter, tokenRulesOf(options), () => stream?.open())
  return {
    name: 'bundle',
    authenticates: true,
    delegates: true,
    get bundle() {
      return sync.bundle && infoOf(sync.bundle, sync.isGood(Date.now()))
    },
    decide: checksActions((request: DecisionRequest, now?: number) => decider.decide(request, now)),
    decideMany: (requests, now) => decider.decideMany(requests, now),
    explain: (request, now) => decider.explain(request, now),
    async refresh() {
      if (sync.isClosed) throw new UnavailableError('The source is closed')
      stream?.open()
      await sync.attempt?.done // it may have asked before what the caller knows of
      await sync.refresh(Date.now()).done
      if (sync.failure !== undefined || sync.bundle === undefined)
        throw sync.failure ?? new UnavailableError('There is no bundle')
      return infoOf(sync.bundle, sync.isGood(Date.now()))
    },
    async close() {
      stream?.close()
      sync.close()
    },
  }
}

function wakes(sync: BundleSync): { wake: () => void; report: (error: MeshGuardError) => void } {
  return { wake: () => sync.wake(), report: (error) => sync.report(error) }
}

function originOf(options: FromBundleOptions) {
  const { url, load, token, stream } = options
  if ((url === undefined) === (load === undefined)) throw new TypeError('fromBundle: needs exactly one of url and load')
  if (stream !== undefined && typeof stream !== 'boolean')
    throw new TypeError('fromBundle: option "stream" must be true or false')
  if (load !== undefined) {
    assertFunction(WHERE, 'load', load)
    if (token !== undefined || stream !== undefined)
      throw new TypeError('fromBundle: options "token" and "stream" go with "url"')
    return { load }
  }
  const gateway = readGatewayUrl(WHERE, url)
  if (token !== undefined) assertToken(WHERE, token)
  return { load: loadFromGateway(gateway, token), gateway }
}

function settingsOf(options: BundleSettings) {
  const { pollMs = POLL_MS, maxStalenessMs = MAX_STALENESS_MS, timeoutMs = TIMEOUT_MS, minVersion = 1, cache } = options
  for (const [name, value] of Object.entries({ pollMs, maxStalenessMs, timeoutMs })) assertMs(WHERE, name, value)
  assertVersion(WHERE, minVersion)
  if (cache !== undefined && (typeof cache?.get !== 'function' || typeof cache.set !== 'function')) {
    throw new TypeError('fromBundle: option "cache" must have functions get and set')
  }
  return { pollMs, maxStalenessMs, timeoutMs, minVersion, cache }
}

function tokenRulesOf({ issuer, audience, maxTokenAgeMs }: BundleSettings) {
  return Object.freeze({
    algorithms: [...ED25519.headers, ...ES256.headers],
    issuer: issuerOf(WHERE, issuer),
    audience: audienceOf(WHERE, audience),
    maxAgeS: secondsOf(WHERE, 'maxTokenAgeMs', maxTokenAgeMs),
    clock: () => Date.now(),
  })
}

function infoOf({ version, issuedAt, expiresAt, policies }: Bundle, isGood: boolean): BundleInfo {
  return { version, issuedAt, expiresAt, policyVersion: policies.version, isGood }
}

function sayReloaded({ version, policyVersion, recovered }: BundleReloadInfo): void {
  const what = recovered ? 'bundles can be had again' : 'another bundle is in force'
  console.error(`MeshGuard: ${what} (version ${version}, policies ${policyVersion})`)
}

function sayFailed({ message }: MeshGuardError): void {
  const lines = message.split('\n').map((line) => `  ${printable(line)}`)
  console.error(['MeshGuard: no new bundle, the last good one stays in force while it is good:', ...lines].join('\n'))
}
