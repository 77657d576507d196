import { setTimeout as sleep } from 'node:timers/promises'
import { printable } from '../audit-line.js'
import { ValidationError } from '../errors.js'
import { assertFunction, assertOptions } from '../options.js'
import type { Policies } from '../policy/policy.js'
import { type FileSet, fingerprintOf, parseFiles, readFiles } from './policy-folder.js'
import { type PathWatch, watchPath } from './watch-path.js'

/** What a reload came to. */
export interface ReloadInfo {
  /** The set that is in force now; the same object as before if the policies say the same as before. */
  readonly policies: Policies
  readonly files: readonly string[]
  /** The reload before this one had failed. */
  readonly recovered: boolean
}

/** Options of {@link loadPolicies}. */
export interface LoadPoliciesOptions {
  /** Reload when a file changes. Default `false`. It does not keep the process alive. */
  readonly watch?: boolean | undefined
  /** Told when the policies changed, or can be read again. Default: a line on stderr. */
  readonly onReload?: ((info: ReloadInfo) => void) | undefined
  /** Told once of each bad state of the files; the last good set stays in force. Default: lines on stderr. */
  readonly onError?: ((error: ValidationError) => void) | undefined
}

/** The policies of a file or folder. Can be handed to `fromPolicies`, which then always decides by the set in force. */
export interface LoadedPolicies extends AsyncDisposable {
  /** The set in force: always a whole one, either the old or the new. */
  current(): Policies
  /** The files that the set in force was read from. */
  readonly files: readonly string[]
  /**
   * Reads again now; with the same content nothing changes.
   *
   * @throws ValidationError when the set is bad; the last good one stays in force.
   */
  reload(): Promise<Policies>
  /** Stops watching. `current` goes on answering. */
  close(): Promise<void>
}

/**
 * Loads the policies of a file, or of a folder: every `.yaml`, `.yml` and `.json` file in it, but not those whose names begin
 * with a dot. Subfolders are not read; one that holds policy files is an error, so that none is left out unnoticed. A set
 * loads whole or not at all.
 *
 * With `watch`, a set that has become bad is reported once and the last good one stays in force; so does one that has vanished.
 *
 * @throws ValidationError, when the set is bad at the start, with file, line and column of everything that is wrong.
 * @throws TypeError for wrong options.
 *
 * @example
 * ```ts
 * const policies = await loadPolicies('./policies', { watch: true })
 * const guard = createGuard({ source: fromPolicies(policies), authenticate })
 * ```
 */
export async function loadPolicies(path: string, options: LoadPoliciesOptions = {}): Promise<LoadedPolicies> {
  if (typeof path !== 'string' || path === '') throw new TypeError('loadPolicies: expected the path of a file or folder')
  assertOptions('loadPolicies', options, ['watch', 'onReload', 'onError'])
  const { watch = false, onReload = sayReloaded, onError = sayFailed } = options
  if (typeof watch !== 'boolean') throw new TypeError('loadPolicies: option "watch" must be true or false')
  assertFunction('loadPolicies', 'onReload', onReload)
  assertFunction('loadPolicies', 'onError', onError)
  const fingerprint = await fingerprintOf(path)
  const set = await readFiles(path)
  const loader = new Loader({ path, onReload, onError, fingerprint }, set, parseFiles(set))
  if (watch) loader.watch()
  const close = () => loader.close()
  return Object.freeze({
    current: () => loader.current,
    get files() {
      return loader.files
    },
    reload: () => loader.reload(),
    close,
    [Symbol.asyncDispose]: close,
  })
}

/** Events that come close together are one change, and a change is over when nothing was touched for this long. */
const SETTLE_MS = 50
const MAX_SETTLING = 40

interface Loading {
  readonly path: string
  /** Of the path, before it was read for the first time. */
  readonly fingerprint: string
  readonly onReload: (info: ReloadInfo) => void
  readonly onError: (error: ValidationError) => void
}

class Loader {
  current: Policies
  files: readonly string[]
  readonly #loading: Loading
  #fingerprint: string
  /** Of the content that was parsed last, good or bad; empty when it could not be read. */
  #digest: string
  #failure: ValidationError | undefined
  #last: Promise<void> = Promise.resolve()
  #watching: PathWatch | undefined
  #checking = false
  #hinted = false
  #closed = false

  constructor(loading: Loading, set: FileSet, policies: Policies) {
    this.#loading = loading
    this.#fingerprint = loading.fingerprint
    this.#digest = set.digest
    this.current = policies
    this.files = pathsOf(set)
  }

  watch(): void {
    this.#watching = watchPath(this.#loading.path, () => this.#hint())
  }

  async reload(): Promise<Policies> {
    await this.#refreshNext()
    if (this.#failure !== undefined) throw this.#failure
    return this.current
  }

  async close(): Promise<void> {
    this.#closed = true
    this.#watching?.close()
    await this.#last
  }

  /** One after the other. */
  #refreshNext(): Promise<void> {
    this.#last = this.#last.then(() => this.#refresh())
    return this.#last
  }

  /** Reads the files; what is wrong with them is reported and kept in `#failure`. */
  async #refresh(): Promise<void> {
    const { path } = this.#loading
    this.#fingerprint = await fingerprintOf(path)
    try {
      const before = this.#digest
      this.#digest = ''
      const set = await readFiles(path)
      this.#digest = set.digest
      if (set.digest !== before) this.#take(parseFiles(set), set)
    } catch (error) {
      this.#fail(error instanceof ValidationError ? error : unexpected(error, path))
    }
  }

  #take(policies: Policies, set: FileSet): void {
    const recovered = this.#failure !== undefined
    const isSame = policies.version === this.current.version
    this.#failure = undefined
    if (!isSame) this.current = policies
    this.files = pathsOf(set)
    const info = { policies: this.current, files: this.files, recovered }
    if (!isSame || recovered) tell(() => this.#loading.onReload(info))
  }

  #fail(error: ValidationError): void {
    const isKnown = this.#failure?.message === error.message
    this.#failure = error
    if (!isKnown) tell(() => this.#loading.onError(error))
  }

  #hint(): void {
    this.#hinted = true
    if (!this.#checking) void this.#check()
  }

  async #check(): Promise<void> {
    this.#checking = true
    while (this.#hinted && !this.#closed) {
      this.#hinted = false
      if ((await fingerprintOf(this.#loading.path)) === this.#fingerprint) continue
      await this.#settle()
      if (this.#closed) break
      await this.#refreshNext()
    }
    this.#checking = false
  }

  /** Waits until whoever is writing is done, but not for ever. */
  async #settle(): Promise<void> {
    let before = ''
    for (let i = 0; i < MAX_SETTLING && !this.#closed; i++) {
      const now = await fingerprintOf(this.#loading.path)
      if (now === before) return
      before = now
      await sleep(SETTLE_MS, undefined, { ref: false })
    }
  }
}

function pathsOf({ files }: FileSet): readonly string[] {
  return Object.freeze(files.map(({ path }) => path))
}

function unexpected(cause: unknown, file: string): ValidationError {
  return new ValidationError([{ message: `cannot be loaded: ${String(cause)}`, path: [], file }], { cause })
}

/** What a callback throws is its own affair: the policies are in force, or not, all the same. */
function tell(callback: () => void): void {
  try {
    callback()
  } catch (error) {
    console.error('MeshGuard: a callback of loadPolicies threw', error)
  }
}

function sayReloaded({ policies, files, recovered }: ReloadInfo): void {
  const what = recovered ? 'policies can be read again' : 'policies reloaded'
  const counts = `policies: ${policies.policies.length}, files: ${files.length}`
  console.error(`MeshGuard: ${what} (${counts}, version ${policies.version})`)
}

function sayFailed({ message }: ValidationError): void {
  const lines = message.split('\n').map((line) => `  ${printable(line)}`)
  console.error(['MeshGuard: policies not reloaded, the last good ones stay in force:', ...lines].join('\n'))
}
