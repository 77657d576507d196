import { createPolicies, type Issue, type Policies, type Policy, parsePolicy, ValidationError } from '@meshguard/core'
import { type LoadedPolicies, loadPolicies } from '@meshguard/core/node'
import { documentOf } from '@meshguard/core/policy'
import { conflict, notFound, preconditionFailed } from '../http/errors.js'
import type { ListedPolicy, PolicyRegistry, Services } from '../services.js'
import type { StoredPolicy } from '../store/store.js'

type Parts = Pick<Services, 'store' | 'config' | 'log' | 'now'>

/**
 * The policies of `POLICIES_DIR`, which is watched, and those that came through the API, as one set. A file wins over an API
 * policy of its name, which is then shadowed: listed, and not in force. A change is in force whole or not at all: a bad file,
 * or a folder with which the set would be too large, leaves the last good set and is a {@link PolicyRegistry.problem}.
 *
 * @throws ValidationError at the start for a bad file, for a policy in the database that no longer parses, and for more than
 * 100 000 rules in all: a gateway that does not know all of its policies does not start.
 */
export async function createPolicyRegistry(parts: Parts): Promise<PolicyRegistry> {
  const stored = new Map((await parts.store.policies.list()).map((one) => [one.name, readStored(one)]))
  const registry = new Registry(parts, stored)
  await registry.watchFolder()
  const { changes } = parts.store
  const refresh = () => registry.serially(() => registry.refresh())
  changes?.subscribe(async (all) => {
    if (all === undefined || all.some(({ kind }) => kind === 'policies')) await refresh()
  })
  /** Operators are answered by what the database holds, whichever gateway they ask. */
  const upToDate = async () => {
    if (changes !== undefined) await refresh()
  }
  // What was changed since they were read above was told to nobody.
  await upToDate()
  return {
    current: () => registry.current,
    list: async () => {
      await upToDate()
      return registry.list()
    },
    get: async (name) => {
      await upToDate()
      return registry.get(name)
    },
    put: async (document, ifRevision) => {
      await upToDate()
      return registry.serially(() => registry.put(document, ifRevision))
    },
    delete: (name, ifRevision) => registry.serially(() => registry.delete(name, ifRevision)),
    problem: () => registry.problem,
    subscribe(listener) {
      registry.listeners.add(listener)
      return () => void registry.listeners.delete(listener)
    },
    close: () => registry.close(),
  }
}

/** A policy of the database, parsed. */
interface ApiPolicy extends StoredPolicy {
  readonly policy: Policy
}

/** A policy of the folder, and since when it says what it says, as far as this process has seen. */
interface FilePolicy {
  readonly policy: Policy
  readonly updatedAt: number
}

function readStored(stored: StoredPolicy): ApiPolicy {
  try {
    return { ...stored, policy: parsePolicy(stored.document) }
  } catch (error) {
    if (!(error instanceof ValidationError)) throw error
    const file = `the policy "${stored.name}" in the database`
    throw new ValidationError(error.issues.map((issue): Issue => ({ ...issue, file })))
  }
}

class Registry {
  current: Policies = createPolicies([])
  readonly listeners = new Set<() => void>()
  readonly #parts: Parts
  #api: Map<string, ApiPolicy>
  #files = new Map<string, FilePolicy>()
  /** The last good state of the folder, while there is no room for it. */
  #waiting: Policies | undefined
  #badFolder: string | undefined
  #tooMuch: string | undefined
  #badStored: string | undefined
  #folder: LoadedPolicies | undefined
  #last: Promise<unknown> = Promise.resolve()

  constructor(parts: Parts, api: Map<string, ApiPolicy>) {
    this.#parts = parts
    this.#api = api
  }

  async watchFolder(): Promise<void> {
    const { policiesDir } = this.#parts.config
    if (policiesDir !== undefined) {
      this.#folder = await loadPolicies(policiesDir, {
        watch: true,
        onReload: ({ policies }) => this.#takeFolder(policies),
        onError: ({ message }) => {
          this.#badFolder = message
          this.#say(message)
        },
      })
      this.#files = this.#readFiles(this.#folder.current())
    }
    try {
      this.current = this.#union(this.#files, this.#api)
    } catch (error) {
      await this.#folder?.close()
      throw error
    }
  }

  get problem(): string | undefined {
    return this.#badFolder ?? this.#badStored ?? this.#tooMuch
  }

  list(): readonly ListedPolicy[] {
    const files = [...this.#files.values()].map(listedFile)
    const api = [...this.#api.values()].map((one) => listedApi(one, this.#files.has(one.name)))
    return [...files, ...api].sort((a, b) => (a.document.name < b.document.name ? -1 : 1))
  }

  get(name: string): ListedPolicy | undefined {
    const file = this.#files.get(name)
    if (file !== undefined) return listedFile(file)
    const api = this.#api.get(name)
    return api && listedApi(api, false)
  }

  /** One change after the other, so that each is judged by what the one before made. */
  serially<T>(change: () => Promise<T>): Promise<T> {
    const done = this.#last.then(change, change)
    this.#last = done
    return done
  }

  /**
   * Reads the policies of the API again, which other gateways may have changed. One that does not parse here, or a set that is too
   * large, leaves the last good set in force.
   */
  async refresh(): Promise<void> {
    const stored = await this.#parts.store.policies.list()
    const isSame = ({ name, revision }: StoredPolicy) => this.#api.get(name)?.revision === revision
    if (stored.length === this.#api.size && stored.every(isSame) && this.#badStored === undefined) return
    try {
      this.#api = new Map(
        stored.map((one) => [one.name, isSame(one) ? (this.#api.get(one.name) as ApiPolicy) : readStored(one)]),
      )
      this.#badStored = undefined
      this.#apply()
    } catch (error) {
      if (!(error instanceof ValidationError)) throw error
      if (this.#badStored !== error.message) this.#say(error.message)
      this.#badStored = error.message
    }
  }

  async put(document: StoredPolicy['document'], ifRevision: number | undefined): Promise<ListedPolicy> {
    const policy = parsePolicy(document)
    this.#refuseFile(policy.name)
    const { store, now } = this.#parts
    const candidate = { name: policy.name, document, policy, revision: 0, updatedAt: 0 }
    this.#union(this.#files, new Map(this.#api).set(policy.name, candidate))
    const stored = await store.policies.put(document, now(), ifRevision)
    if (stored === undefined) throw lostUpdate(policy.name)
    const api = { ...stored, policy }
    this.#api.set(policy.name, api)
    this.#apply()
    return listedApi(api, this.#files.has(policy.name))
  }

  async delete(name: string, ifRevision: number | undefined): Promise<void> {
    this.#refuseFile(name)
    const outcome = await this.#parts.store.policies.delete(name, ifRevision)
    if (outcome === 'changed') throw lostUpdate(name)
    if (this.#api.delete(name)) this.#apply()
    if (outcome === 'unknown') throw notFound(`There is no policy "${name}"`)
  }

  async close(): Promise<void> {
    await this.#folder?.close()
    await this.#last.catch(() => undefined)
  }

  #refuseFile(name: string): void {
    if (!this.#files.has(name)) return
    throw conflict(`The policy "${name}" comes from a file in POLICIES_DIR and is read-only here: change the file`)
  }

  #takeFolder(policies: Policies): void {
    this.#badFolder = undefined
    this.#waiting = policies
    this.#apply()
  }

  /** Puts in force what there is now: with the newest state of the folder if there is room for it, otherwise with the one before. */
  #apply(): void {
    const newest = this.#waiting && this.#readFiles(this.#waiting)
    this.#tooMuch = this.#putInForce(newest ?? this.#files)
    if (this.#tooMuch === undefined) {
      this.#waiting = undefined
      return
    }
    this.#say(this.#tooMuch)
    if (newest !== undefined) this.#putInForce(this.#files)
  }

  /** @returns what is wrong, in which case nothing has changed. */
  #putInForce(files: Map<string, FilePolicy>): string | undefined {
    try {
      const policies = this.#union(files, this.#api)
      this.#files = files
      if (policies.version === this.current.version) return undefined
      this.current = policies
      this.#parts.log.info({ policies: policies.policies.length, version: policies.version }, 'policies changed')
      for (const listener of this.listeners) listener()
      return undefined
    } catch (error) {
      if (!(error instanceof ValidationError)) throw error
      return error.message
    }
  }

  #say(problem: string): void {
    this.#parts.log.error({ problem }, 'policies not reloaded, the last good ones stay in force')
  }

  #readFiles(policies: Policies): Map<string, FilePolicy> {
    const now = this.#parts.now()
    return new Map(
      policies.policies.map((policy) => {
        const before = this.#files.get(policy.name)
        const isSame = before !== undefined && JSON.stringify(before.policy) === JSON.stringify(policy)
        return [policy.name, isSame ? before : { policy, updatedAt: now }]
      }),
    )
  }

  #union(files: ReadonlyMap<string, FilePolicy>, api: ReadonlyMap<string, ApiPolicy>): Policies {
    const unshadowed = [...api.values()].filter(({ name }) => !files.has(name))
    return createPolicies([...files.values(), ...unshadowed].map(({ policy }) => policy))
  }
}

function lostUpdate(name: string): Error {
  return preconditionFailed(`The policy "${name}" was changed meanwhile: read it again`)
}

function listedFile({ policy, updatedAt }: FilePolicy): ListedPolicy {
  return { document: documentOf(policy), origin: 'file', updatedAt }
}

function listedApi({ document, revision, updatedAt }: ApiPolicy, isShadowed: boolean): ListedPolicy {
  return { document, origin: 'api', revision, updatedAt, ...(isShadowed ? { shadowed: true } : {}) }
}
