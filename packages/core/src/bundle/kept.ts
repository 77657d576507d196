import { messageOf, UnavailableError } from '../errors.js'
import { beforeDeadline } from '../settle.js'
import type { BundleCache } from './cache.js'
import { badBundle } from './head.js'
import type { FindKeys } from './keys.js'
import type { Reports } from './reports.js'
import { type Bundle, isAfter, openBundle } from './verify.js'

interface KeptSettings {
  readonly find: FindKeys
  readonly minVersion: number
  /** A cache that takes longer is one that fails. */
  readonly timeoutMs: number
}

/** The bundle in a cache, verified like one that was loaded. What goes wrong is reported and stops nothing. */
export class KeptBundle {
  readonly #cache: BundleCache
  readonly #settings: KeptSettings
  readonly #reports: Reports
  /** What was put there last. */
  #own: string | undefined

  constructor(cache: BundleCache, settings: KeptSettings, reports: Reports) {
    this.#cache = cache
    this.#settings = settings
    this.#reports = reports
  }

  /** The bundle that is there. It may be too old to decide by, but is a version to begin from. */
  async open(): Promise<Bundle | undefined> {
    try {
      const jws = await this.#inTime(this.#cache.get())
      if (jws === undefined || jws === null) return undefined
      const bundle = await this.#openWithKeys(jws)
      if (bundle.version < this.#settings.minVersion) throw badBundle('it is older than minVersion')
      return bundle
    } catch (error) {
      this.#report('The cached bundle is of no use', error)
      return undefined
    }
  }

  /**
   * What is there stays if it is later: the cache may be shared, and not all who share it learn of a bundle at once. Whoever writes
   * an earlier one between another's look and its own learns of the later one soon, and puts it there.
   */
  async replace(jws: string, bundle: Bundle): Promise<void> {
    try {
      const found = await this.#inTime(this.#cache.get())
      if (found === jws || (found !== this.#own && (await this.#isLater(found, bundle)))) return
      await this.#inTime(this.#cache.set(jws))
      this.#own = jws
    } catch (error) {
      this.#report('The bundle was not cached', error)
    }
  }

  async #openWithKeys(jws: unknown): Promise<Bundle> {
    try {
      return await openBundle(jws, this.#settings.find, Date.now())
    } catch (error) {
      if (!(error instanceof UnavailableError)) throw error
      throw new UnavailableError(`${error.message}; to begin without it, give fromBundle publicKeys as well as jwks`)
    }
  }

  async #isLater(jws: unknown, bundle: Bundle): Promise<boolean> {
    const found = await openBundle(jws, this.#settings.find, Date.now()).catch(() => undefined)
    return found !== undefined && isAfter(found, bundle)
  }

  #inTime<T>(work: T | Promise<T>): Promise<T> {
    return beforeDeadline(Promise.resolve(work), Date.now() + this.#settings.timeoutMs, 'The cache')
  }

  #report(what: string, error: unknown): void {
    this.#reports.add(new UnavailableError(`${what}: ${messageOf(error, 'it failed')}`, { cause: error }))
  }
}
