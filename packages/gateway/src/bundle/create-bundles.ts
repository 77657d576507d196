import { createHash } from 'node:crypto'
import { setTimeout as pause } from 'node:timers/promises'
import type { BundleDocument } from '@meshguard/core/bundle'
import { documentOf } from '@meshguard/core/policy'
import { BUNDLE_LIFE_MS } from '../identity/create-keys.js'
import type { Services } from '../services.js'
import type { DelegationRecord } from '../store/store.js'
import { nextVersion, RENEW_MS } from './bundle-version.js'
import { BundledAgents } from './bundled-agents.js'
import type { Bundles, SignedBundle } from './bundles.js'

type Parts = Pick<Services, 'store' | 'keys' | 'policies' | 'metrics' | 'log' | 'now'>

/** How long changes are gathered before they are signed together, at least, in ms. */
const GATHER_MS = 50
/** At most; a large bundle takes longer to sign, and changes are then gathered for a multiple of that. */
const MAX_GATHER_MS = 2000
const GATHER_FACTOR = 3
const RETRY_MS = 1000
/** How often it is looked whether the bundle is an hour old, or another gateway has made new keys. */
const LOOK_MS = 15_000

/** Signs bundles of the policies, agents, delegations and token keys there are, one at a time and only when somebody wants them. */
export function createBundles(parts: Parts): Bundles {
  const publisher = new Publisher(parts)
  const changes = parts.store.changes?.subscribe((changes) => {
    if (changes === undefined) publisher.changed(undefined, true)
    for (const { kind, key } of changes ?? []) {
      if (kind === 'agents') publisher.changed(key)
      else if (kind === 'delegations') publisher.changed()
    }
  })
  const policies = parts.policies.subscribe(() => publisher.changed())
  return {
    current: () => publisher.current(),
    changed: (agentId) => publisher.changed(agentId),
    subscribe: (listener) => publisher.subscribe(listener),
    async close() {
      changes?.()
      policies()
      await publisher.close()
    },
  }
}

type Content = Omit<BundleDocument, 'version' | 'issuedAt' | 'expiresAt'>

class Publisher {
  readonly #parts: Parts
  readonly #agents: BundledAgents
  readonly #listeners = new Set<(bundle: SignedBundle) => void>()
  readonly #closing = new AbortController()
  #signed: SignedBundle | undefined
  #isChanged = true
  /** The signing that is under way, and whether it reads already: what changes from then on is for the next one. */
  #signing: Promise<SignedBundle> | undefined
  #isReading = false
  #gatherMs = 0
  /** The keys that the newest bundle was made with. */
  #kids = ''
  #timer: NodeJS.Timeout | undefined

  constructor(parts: Parts) {
    this.#parts = parts
    this.#agents = new BundledAgents(parts.store.agents, parts.keys.maxTokenAgeMs)
  }

  changed(agentId?: string, everything = false): void {
    if (agentId !== undefined || everything) this.#agents.note(agentId)
    this.#isChanged = true
    this.#keepUp()
  }

  async current(): Promise<SignedBundle> {
    if (this.#isReading) await this.#signing?.catch(() => undefined)
    return this.#isGood(this.#signed) ? this.#signed : this.#sign()
  }

  subscribe(listener: (bundle: SignedBundle) => void): () => void {
    this.#listeners.add(listener)
    this.#keepUp()
    return () => void this.#listeners.delete(listener)
  }

  /** At what nobody tells: the time, and keys that another gateway has made. */
  #look(): void {
    const looking = this.#parts.keys.refresh().then(() => {
      if (this.#kids !== this.#kidsNow()) this.#isChanged = true
      this.#keepUp()
    })
    looking.catch((error: unknown) => this.#parts.log.error({ err: error }, 'the keys could not be looked at'))
  }

  #kidsNow(): string {
    const { keys } = this.#parts
    return [keys.bundleKid(), ...keys.jwks().keys.map(({ kid }) => kid)].join()
  }

  async close(): Promise<void> {
    this.#listeners.clear()
    this.#closing.abort()
    await this.#signing?.catch(() => undefined)
    clearInterval(this.#timer)
  }

  #isGood(bundle: SignedBundle | undefined): bundle is SignedBundle {
    return bundle !== undefined && !this.#isChanged && this.#parts.now() < bundle.issuedAt + RENEW_MS
  }

  /** Signs if somebody listens and there is something to sign. What fails is tried again, as long as somebody listens. */
  #keepUp(): void {
    if (this.#listeners.size === 0 || this.#signing !== undefined || this.#isGood(this.#signed)) return
    this.#sign().catch((error: unknown) => {
      if (!this.#closing.signal.aborted) this.#parts.log.error({ err: error }, 'no bundle could be signed')
    })
  }

  #sign(): Promise<SignedBundle> {
    this.#signing ??= this.#signOnce().finally(() => {
      this.#isReading = false
      this.#signing = undefined
      this.#keepUp()
    })
    return this.#signing
  }

  async #signOnce(): Promise<SignedBundle> {
    await pause(this.#gatherMs, undefined, { signal: this.#closing.signal, ref: false })
    this.#isReading = true
    this.#isChanged = false
    const startedAt = performance.now()
    try {
      const bundle = await this.#make()
      const tookMs = performance.now() - startedAt
      this.#gatherMs = Math.min(MAX_GATHER_MS, Math.max(GATHER_MS, GATHER_FACTOR * tookMs))
      if (bundle !== this.#signed) this.#put(bundle, tookMs)
      return bundle
    } catch (error) {
      this.#isChanged = true
      this.#gatherMs = RETRY_MS
      throw error
    }
  }

  #put(bundle: SignedBundle, tookMs: number): void {
    this.#signed = bundle
    this.#timer ??= setInterval(() => this.#look(), LOOK_MS).unref()
    this.#parts.metrics.bundleSigned(bundle, tookMs / 1000)
    this.#parts.log.info({ version: bundle.version, bytes: bundle.bytes.length }, 'bundle signed')
    for (const listener of this.#listeners) listener(bundle)
  }

  /** The bundle of now; the one that is there already, if it says the same. */
  async #make(): Promise<SignedBundle> {
    const { store, keys, now } = this.#parts
    let content: Content | undefined
    const { version, issuedAt } = await nextVersion(
      store.settings,
      async () => {
        await store.changes?.catchUp()
        await keys.refresh()
        this.#kids = this.#kidsNow()
        content = await this.#read()
        return digestOf(content, keys.bundleKid())
      },
      now,
    )
    const etag = `"${version}-${issuedAt}"`
    if (etag === this.#signed?.etag) return this.#signed
    const jws = await keys.signBundle({
      version,
      issuedAt: new Date(issuedAt).toISOString(),
      expiresAt: new Date(issuedAt + BUNDLE_LIFE_MS).toISOString(),
      ...(content as Content),
    })
    return Object.freeze({ version, issuedAt, etag, bytes: new TextEncoder().encode(jws) })
  }

  async #read(): Promise<Content> {
    const { store, keys, policies, now } = this.#parts
    const documents = policies.current().policies.map(documentOf)
    const at = now()
    const live = (await store.delegations.list()).filter((one) => one.revokedAt === undefined && at < one.expiresAt)
    const parties = new Set(live.flatMap(({ from, to }) => [from, to]))
    const agents = await this.#agents.read(parties, JSON.stringify(documents).includes('agent.metadata'), at)
    return { policies: documents, agents, delegations: live.map(bundledDelegation), jwks: keys.jwks() }
  }
}

function bundledDelegation({ id, from, to, actions, parent, depth, expiresAt }: DelegationRecord) {
  return { id, from, to, actions, ...(parent !== undefined && { parent }), depth, expiresAt: new Date(expiresAt).toISOString() }
}

function digestOf(content: Content, kid: string): string {
  return createHash('sha256').update(JSON.stringify(content)).update(kid).digest('hex')
}
