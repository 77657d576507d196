import { ConnectionError, MeshGuardError, messageOf, UnavailableError } from '../errors.js'
import type { BundleCache } from './cache.js'
import { KeptBundle } from './kept.js'
import type { FindKeys } from './keys.js'
import type { LoadBundle, LoadedBundle } from './load.js'
import { Reports, tell } from './reports.js'
import { assertCurrent, type Bundle, CLOCK_SKEW_MS, isAfter, openBundle } from './verify.js'

/** What a bundle that is kept up to date is made of. */
export interface SyncParts {
  readonly load: LoadBundle
  readonly find: FindKeys
  readonly cache: BundleCache | undefined
  readonly pollMs: number
  readonly maxStalenessMs: number
  readonly minVersion: number
  readonly timeoutMs: number
  /** Told of a bundle before it is in force. */
  readonly onBundle: (bundle: Bundle) => void
  readonly onReload: (bundle: Bundle, recovered: boolean) => void
  readonly onError: (error: MeshGuardError) => void
}

/** An attempt to get the latest bundle. */
interface Attempt {
  readonly startedAt: number
  readonly aborting: AbortController
  /** There is a bundle to decide by, or the attempt is over. Never rejects. */
  readonly ready: Promise<void>
  /** It is over. Never rejects. */
  readonly done: Promise<void>
  becomeReady(): void
}

const FIRST_PAUSE_MS = 1000
/** How long a bundle of the cache waits for a newer one, if there is none in force yet. */
const CACHE_WAIT_MS = 500
/** How soon a token of an unknown key is a reason to ask again. */
const RENEW_MS = 1000
const MAX_TIMER_MS = 2 ** 31 - 1

/**
 * Keeps a bundle up to date. It begins nothing by itself: each use finds out whether it is time to ask again. One attempt at a
 * time; one that is older than its time-out counts as dead, because on Workers it ends with the request that began it. What
 * comes of an attempt after another was begun is ignored.
 */
export class BundleSync {
  readonly #parts: SyncParts
  #bundle: Bundle | undefined
  /** When the bundle in force is good, in ms since the epoch. */
  #goodFrom = Number.POSITIVE_INFINITY
  #goodUntil = Number.NEGATIVE_INFINITY
  #etag: string | undefined
  #attempt: Attempt | undefined
  #askAgain = false
  #triedAt = Number.NEGATIVE_INFINITY
  #nextAt = Number.NEGATIVE_INFINITY
  #failures = 0
  #failure: MeshGuardError | undefined
  readonly #reports: Reports
  readonly #kept: KeptBundle | undefined
  #toldVersion: number | undefined
  #timer: unknown
  #isClosed = false

  constructor(parts: SyncParts) {
    this.#parts = parts
    this.#reports = new Reports(parts.onError)
    this.#kept = parts.cache && new KeptBundle(parts.cache, parts, this.#reports)
  }

  get isClosed(): boolean {
    return this.#isClosed
  }

  /** The last good bundle, whatever its age. */
  get bundle(): Bundle | undefined {
    return this.#bundle
  }

  /** Why the last attempt failed; absent if it did not. */
  get failure(): MeshGuardError | undefined {
    return this.#failure
  }

  /** The attempt under way. */
  get attempt(): Pick<Attempt, 'ready' | 'done'> | undefined {
    return this.#attempt
  }

  /** Whether the last good bundle may be decided by. */
  isGood(now: number): boolean {
    return now <= this.#goodUntil && now >= this.#goodFrom
  }

  /** Whether it is time to ask again. A clock that was set back makes it so, too. */
  isDue(now: number): boolean {
    return now >= this.#nextAt || now < this.#triedAt
  }

  /** Begins an attempt if none is under way, or joins that one. */
  refresh(now: number): Pick<Attempt, 'ready' | 'done'> {
    const running = this.#attempt
    const isDead = running === undefined || now < running.startedAt || now > running.startedAt + 2 * this.#parts.timeoutMs
    if (!isDead) return running
    running?.aborting.abort(new ConnectionError('The attempt to get a bundle was given up'))
    return this.#begin(now)
  }

  /** There is another bundle: asks for it, after the attempt under way if there is one. */
  wake(): void {
    if (this.#isClosed) return
    this.#askAgain = this.#attempt !== undefined
    if (!this.#askAgain) this.refresh(Date.now())
  }

  /** Asks again, unless that was done just now. */
  async renew(now: number): Promise<void> {
    if (this.#isClosed || (now >= this.#triedAt && now < this.#triedAt + RENEW_MS && this.#attempt === undefined)) return
    await this.refresh(now).done
  }

  /** Says once what is wrong, until all is well again. */
  report(error: MeshGuardError): void {
    this.#reports.add(error)
  }

  close(): void {
    this.#isClosed = true
    this.#goodUntil = Number.NEGATIVE_INFINITY
    clearTimeout(this.#timer as number)
    this.#attempt?.aborting.abort(new UnavailableError('The source is closed'))
    this.#attempt?.becomeReady()
    this.#attempt = undefined
  }

  #begin(now: number): Attempt {
    clearTimeout(this.#timer as number)
    let becomeReady = (): void => undefined
    const ready = new Promise<void>((resolve) => {
      becomeReady = resolve
    })
    const begun = { startedAt: now, aborting: new AbortController(), ready, becomeReady }
    const attempt: Attempt = { ...begun, done: Promise.resolve().then(() => this.#run(attempt)) }
    this.#attempt = attempt
    this.#triedAt = now
    return attempt
  }

  async #run(attempt: Attempt): Promise<void> {
    let error: unknown
    try {
      await this.#update(attempt)
    } catch (cause) {
      error = cause ?? new UnavailableError('Loading the bundle failed')
    }
    attempt.becomeReady()
    if (this.#isLate(attempt)) return
    this.#attempt = undefined
    if (error === undefined && this.#bundle !== undefined) this.#succeeded(this.#bundle)
    else this.#failed(error)
    this.#schedule()
  }

  async #update(attempt: Attempt): Promise<void> {
    const cached = this.#bundle === undefined ? await this.#kept?.open() : undefined
    const loading = this.#load(attempt)
    const waiting = cached === undefined ? undefined : this.#holdLater(attempt, cached, loading)
    try {
      const loaded = await loading
      if (loaded === undefined) return
      const { jws, etag } = typeof loaded === 'string' ? { jws: loaded } : loaded
      const bundle = await openBundle(jws, this.#parts.find, Date.now())
      if (this.#isLate(attempt)) return
      if (this.#isNewer(bundle, cached)) {
        this.#hold(bundle)
        attempt.becomeReady()
        await this.#kept?.replace(jws, bundle)
      }
      this.#etag = etag
    } finally {
      waiting?.()
      if (cached !== undefined && this.#bundle === undefined && !this.#isLate(attempt)) this.#hold(cached)
    }
  }

  /** A bundle of the cache is decided by once it is clear that there is no newer one, or that one takes too long. */
  #holdLater(attempt: Attempt, cached: Bundle, loading: Promise<unknown>): () => void {
    const hold = (): void => {
      if (this.#bundle !== undefined || this.#isLate(attempt)) return
      this.#hold(cached)
      attempt.becomeReady()
    }
    loading.catch(hold)
    const timer = setTimeout(hold, CACHE_WAIT_MS)
    return () => clearTimeout(timer)
  }

  #isLate(attempt: Attempt): boolean {
    return this.#isClosed || this.#attempt !== attempt
  }

  async #load({ aborting }: Attempt): Promise<string | LoadedBundle | undefined> {
    const { load, timeoutMs } = this.#parts
    const { signal } = aborting
    signal.throwIfAborted()
    const etag = this.#etag
    const late = new ConnectionError(`No bundle came within ${timeoutMs} ms`)
    const timer = setTimeout(() => aborting.abort(late), Math.min(timeoutMs, MAX_TIMER_MS))
    try {
      const ended = new Promise<never>((_resolve, reject) => {
        signal.addEventListener('abort', () => reject(signal.reason), { once: true })
      })
      const loaded = await Promise.race([load({ etag, signal }), ended])
      if (loaded === undefined && etag === undefined) throw new UnavailableError('No bundle was loaded')
      return loaded
    } finally {
      clearTimeout(timer)
    }
  }

  /** Whether a bundle goes before the one in force. @throws ValidationError if it must not be used at all. */
  #isNewer(bundle: Bundle, cached: Bundle | undefined): boolean {
    const { minVersion, maxStalenessMs } = this.#parts
    const known = this.#bundle ?? cached
    assertCurrent(bundle, Math.max(minVersion, known?.version ?? 0), maxStalenessMs, Date.now())
    return known === undefined || isAfter(bundle, known)
  }

  #hold(bundle: Bundle): void {
    this.#parts.onBundle(bundle)
    this.#bundle = bundle
    this.#goodFrom = bundle.issuedAt - CLOCK_SKEW_MS
    this.#goodUntil = Math.min(bundle.issuedAt + this.#parts.maxStalenessMs, bundle.expiresAt) + CLOCK_SKEW_MS
  }

  #succeeded(bundle: Bundle): void {
    const recovered = this.#failures > 0
    const isOther = this.#toldVersion !== undefined && this.#toldVersion !== bundle.version
    this.#toldVersion = bundle.version
    this.#reports.clear()
    if (recovered || isOther) tell(() => this.#parts.onReload(bundle, recovered))
    this.#failures = 0
    this.#failure = undefined
    this.#nextAt = Date.now() + this.#parts.pollMs * (0.9 + Math.random() / 5)
  }

  #failed(error: unknown): void {
    const message = messageOf(error, 'Loading the bundle failed')
    this.#failure = error instanceof MeshGuardError ? error : new UnavailableError(message, { cause: error })
    const pauseMs = Math.min(FIRST_PAUSE_MS * 2 ** this.#failures++, this.#parts.pollMs)
    this.#nextAt = Date.now() + pauseMs * (0.75 + Math.random() / 2)
    this.report(this.#failure)
  }

  /** The timer keeps no process alive; where timers end with the request that set them, the next use asks instead. */
  #schedule(): void {
    if (this.#askAgain) {
      this.#askAgain = false
      this.refresh(Date.now())
      return
    }
    const delay = Math.min(Math.max(0, this.#nextAt - Date.now()), MAX_TIMER_MS)
    this.#timer = setTimeout(() => this.refresh(Date.now()), delay)
    ;(this.#timer as { unref?(): void }).unref?.()
  }
}
