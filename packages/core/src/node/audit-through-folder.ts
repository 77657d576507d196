import { mkdirSync, readdirSync, statSync } from 'node:fs'
import { type FileHandle, open, readFile, rm, stat } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { type BoundedSink, boundedSink, checkQueueOptions } from '../audit.js'
import { type GatewaySinkOptions, MAX_GATHER_MS, sum } from '../audit-gateway.js'
import { printable } from '../audit-line.js'
import { type Entry, Shipper, toEntry } from '../audit-shipper.js'
import { messageOf } from '../errors.js'
import { assertMs, isObject } from '../options.js'
import { assertToken, readGatewayUrl } from '../transport/transport.js'
import type { AuditEvent, DecisionEvent } from '../types.js'
import { claimFolder } from './claim-folder.js'
import { isMissing } from './is-missing.js'

/** Options of {@link auditThroughFolder}. */
export interface FolderSinkOptions extends GatewaySinkOptions {
  /** How many bytes may wait on disk. Default 64 MiB. */
  readonly maxBytes?: number | undefined
}

const WHERE = 'auditThroughFolder'
const TIMEOUT_MS = 5000
const MAX_BYTES = 64 * 1024 * 1024
/** A file is shipped as a whole, and begun anew after a crash. */
const MAX_FILE = 1_000_000
const NAME = /^(\d{12})\.jsonl$/

/**
 * Ships decisions to the gateway's audit log like `auditToGateway`, by way of files: what could not be shipped yet outlives the
 * process, and is shipped by the next one that is given the same folder. A folder is for one sink of one process; a claim in it, a
 * file `claim-…`, ends with that process, however it ends.
 *
 * Decisions are written and flushed to disk in batches; what a crash takes is what was recorded since the last one. Entries keep
 * their ids, so what is shipped twice is recorded once. When `maxBytes` wait, further decisions are lost and counted or, with
 * `onFull: 'deny'`, held in memory up to `capacity` and then refused. After `close()` the rest is tried three times and otherwise stays.
 *
 * @throws TypeError for wrong options, and for a folder that cannot be made or read, or that somebody else uses.
 *
 * @example
 * ```ts
 * const audit = auditThroughFolder('/var/lib/app/audit', { url, token: 'msvc_…' })
 * const guard = createGuard({ source, audit })
 * ```
 */
export function auditThroughFolder(folder: string, options: FolderSinkOptions): BoundedSink {
  checkQueueOptions(WHERE, options, ['url', 'token', 'timeoutMs', 'maxBytes'])
  const { url, token, timeoutMs = TIMEOUT_MS, maxBytes = MAX_BYTES, capacity, onFull } = options
  const gateway = readGatewayUrl(WHERE, url)
  assertToken(WHERE, token)
  assertMs(WHERE, 'timeoutMs', timeoutMs)
  if (!Number.isSafeInteger(maxBytes) || maxBytes < MAX_FILE) {
    throw new TypeError(`${WHERE}: option "maxBytes" must be a whole number from ${MAX_FILE}`)
  }
  const shipper = new Shipper(gateway, token, timeoutMs, true)
  const queue = new FolderQueue(folder, maxBytes, shipper)
  const sink = boundedSink({ capacity, onFull, name: `audit folder ${folder}`, write: (events) => queue.write(events) })
  let closing: Promise<void> | undefined
  const close = async (): Promise<void> => {
    await sink.close()
    shipper.hurry()
    await queue.close()
  }
  queue.ship()
  return {
    record(event) {
      if (event.type === 'decision') sink.record(event)
    },
    get dropped() {
      return sum(sink.dropped, shipper.lost)
    },
    close() {
      closing ??= close()
      return closing
    },
  }
}

interface QueuedFile {
  readonly path: string
  size: number
}

class FolderQueue {
  readonly #folder: string
  readonly #maxBytes: number
  readonly #shipper: Shipper
  /** What is written again after a failure keeps its id. */
  readonly #entries = new WeakMap<AuditEvent, Entry>()
  /** The oldest first; the last one is written to while `#open` is there. */
  readonly #files: QueuedFile[]
  #open: FileHandle | undefined
  #next: number
  /** Writing and ending a file, one after the other. */
  #turn: Promise<unknown> = Promise.resolve()
  #shipping: Promise<void> | undefined
  readonly #leave: () => void

  /** @throws TypeError */
  constructor(folder: string, maxBytes: number, shipper: Shipper) {
    this.#folder = folder
    this.#maxBytes = maxBytes
    this.#shipper = shipper
    const { files, leave } = openFolder(folder)
    this.#files = files
    this.#leave = leave
    this.#next = Number(NAME.exec(basename(this.#files.at(-1)?.path ?? ''))?.[1] ?? 0) + 1
  }

  async write(events: readonly AuditEvent[]): Promise<void> {
    const lines = events.map((event) => `${this.#entryOf(event).json}\n`).join('')
    await this.#inTurn(() => this.#append(new TextEncoder().encode(lines)))
    this.ship()
  }

  /** Begins to ship what waits, if that is not being done already. */
  ship(): void {
    this.#shipping ??= this.#shipAll()
  }

  async close(): Promise<void> {
    try {
      if (this.#files.length > 0) this.ship()
      await this.#shipping
      await this.#inTurn(() => this.#endFile())
    } finally {
      this.#leave()
    }
  }

  #entryOf(event: AuditEvent): Entry {
    const entry = this.#entries.get(event) ?? toEntry(event)
    this.#entries.set(event, entry)
    return entry
  }

  #inTurn(work: () => Promise<void>): Promise<void> {
    const done = this.#turn.then(work)
    this.#turn = done.catch(() => undefined)
    return done
  }

  async #append(bytes: Uint8Array): Promise<void> {
    const waiting = this.#files.reduce((sum, { size }) => sum + size, 0)
    if (waiting + bytes.length > this.#maxBytes) throw new Error(`${waiting} bytes wait on disk already`)
    const file = await this.#fileToWrite()
    try {
      await this.#open?.writeFile(bytes)
      await this.#open?.datasync()
    } catch (error) {
      await this.#undo(file)
      throw error
    }
    file.size += bytes.length
    if (file.size >= MAX_FILE) await this.#endFile()
  }

  /** Leaves no part of a batch behind; where that fails, the file ends in a torn line and is added to no more. */
  async #undo({ size }: QueuedFile): Promise<void> {
    try {
      await this.#open?.truncate(size)
    } catch {
      await this.#endFile()
    }
  }

  async #fileToWrite(): Promise<QueuedFile> {
    const last = this.#files.at(-1)
    if (this.#open !== undefined && last !== undefined) return last
    const file = { path: join(this.#folder, `${String(this.#next++).padStart(12, '0')}.jsonl`), size: 0 }
    this.#open = await open(file.path, 'ax', 0o600)
    this.#files.push(file)
    return file
  }

  async #endFile(): Promise<void> {
    const ending = this.#open
    this.#open = undefined
    await ending?.close()
  }

  /** Never fails: what cannot be read is reported, and tried again with the next decision. */
  async #shipAll(): Promise<void> {
    await undefined
    try {
      for (let [file] = this.#files; file !== undefined && !this.#shipper.hasGivenUp; [file] = this.#files) {
        if (this.#files.length === 1) await pause(MAX_GATHER_MS)
        if (this.#files.length === 1) await this.#inTurn(() => this.#endFile())
        if (await this.#shipFile(file)) this.#files.shift()
      }
    } catch (error) {
      console.error(`MeshGuard: audit folder ${this.#folder} cannot be shipped: ${printable(messageOf(error, 'it failed'))}`)
    }
    this.#shipping = undefined
  }

  /** Whether nothing is left of a file; what somebody else has added meanwhile is yet to be shipped. */
  async #shipFile({ path }: QueuedFile): Promise<boolean> {
    const bytes = await readIfThere(path)
    if (bytes === undefined) {
      console.error(`MeshGuard: ${path} was removed by somebody else; has the folder one process alone?`)
      return true
    }
    await this.#shipper.shipEntries(entriesIn(path, bytes))
    if (this.#shipper.hasGivenUp) return false
    const isWhole = (await sizeOf(path)) <= bytes.length
    if (isWhole) await rm(path, { force: true })
    return isWhole
  }
}

async function readIfThere(path: string): Promise<Buffer | undefined> {
  try {
    return await readFile(path)
  } catch (error) {
    if (isMissing(error)) return undefined
    throw error
  }
}

async function sizeOf(path: string): Promise<number> {
  try {
    return (await stat(path)).size
  } catch (error) {
    if (isMissing(error)) return 0
    throw error
  }
}

/** Makes and claims a folder. @throws TypeError */
function openFolder(folder: string): { files: QueuedFile[]; leave: () => void } {
  let leave: (() => void) | undefined
  try {
    mkdirSync(folder, { recursive: true, mode: 0o700 })
    leave = claimFolder(folder)
    const names = readdirSync(folder).filter((name) => NAME.test(name))
    const files = names.sort().map((name) => ({ path: join(folder, name), size: statSync(join(folder, name)).size }))
    return { files, leave }
  } catch (cause) {
    leave?.()
    const why = messageOf(cause, 'it failed')
    throw new TypeError(`${WHERE}: cannot use the folder ${JSON.stringify(folder)}: ${why}`, { cause })
  }
}

/** A line that a crash has torn is left out: nobody was told that it was recorded. */
function entriesIn(path: string, bytes: Buffer): Entry[] {
  const lines = bytes.toString('utf8').split('\n')
  return lines.flatMap((json) => {
    if (json === '') return []
    const entry = parsed(json)
    if (entry === undefined) console.error(`MeshGuard: a torn line in ${path} is left out`)
    return entry === undefined ? [] : [{ json, event: eventOf(entry) }]
  })
}

function parsed(json: string): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(json)
    return isObject(value) ? value : undefined
  } catch {
    return undefined
  }
}

/** As much of a decision as has to be known to count it. */
function eventOf({ decision, mode }: Record<string, unknown>): AuditEvent {
  return { type: 'decision', allowed: decision === 'allow' || mode === 'audit' } as DecisionEvent
}
