import { randomUUID } from 'node:crypto'
import { closeSync, openSync, readdirSync, readFileSync, readlinkSync, rmSync, statSync, writeSync } from 'node:fs'
import { hostname } from 'node:os'
import { join } from 'node:path'
import { printable } from '../audit-line.js'
import { messageOf } from '../errors.js'
import { isObject } from '../options.js'
import { isMissing } from './is-missing.js'

const NAME = /^claim-[0-9a-f-]{36}$/
const BEAT_MS = 2000
/** A claim of another machine or container is dead when it has not beaten for so long. */
const SILENT_MS = 10_000

/** Who made a claim. */
interface Claimant {
  readonly pid: number
  /** Where process ids mean the same: the machine, its boot and the container. */
  readonly place: string
  /** Tells the process from later ones of the same id; absent where the system does not say. */
  readonly startedAt?: string | undefined
}

/**
 * Claims a folder for one user of it, in this process or any other, for as long as that process lives or until it is given up.
 *
 * A claim is a file that is written to every 2 s. It is dead when its process is; where that cannot be found out, on another machine
 * or in another container, when it was not written to for 10 s. Of two that claim a folder at the same moment neither may get it.
 *
 * @returns gives the claim up.
 * @throws Error that says who has the folder, and the file system's.
 */
export function claimFolder(folder: string): () => void {
  const path = join(folder, `claim-${randomUUID()}`)
  const text = JSON.stringify({ pid: process.pid, place: placeOf(), startedAt: startOf(process.pid) } satisfies Claimant)
  const file = openSync(path, 'wx', 0o600)
  const giveUp = (): void => {
    closeSync(file)
    rmSync(path, { force: true })
  }
  try {
    writeSync(file, text)
    removeDead(folder, path)
  } catch (error) {
    giveUp()
    throw error
  }
  // At once, as a write under way could meet another file once this one is closed.
  const beat = (): void => {
    try {
      writeSync(file, text, 0)
    } catch (error) {
      console.error(`MeshGuard: ${path} cannot be written: ${printable(messageOf(error, 'it failed'))}`)
    }
  }
  const timer = setInterval(beat, BEAT_MS).unref()
  return () => {
    clearInterval(timer)
    giveUp()
  }
}

/** @throws Error for a claim that is not dead. */
function removeDead(folder: string, own: string): void {
  const others = readdirSync(folder)
    .filter((name) => NAME.test(name))
    .map((name) => join(folder, name))
    .filter((path) => path !== own)
  const now = statSync(own).mtimeMs // by the clock of the file system, which may be another machine's
  for (const path of others) {
    const silentMs = now - (statSync(path, { throwIfNoEntry: false })?.mtimeMs ?? 0)
    const claimant = claimantIn(path)
    if (!isAlive(claimant, silentMs)) continue
    const who = claimant === undefined ? 'another process' : `process ${claimant.pid} (${claimant.place.split(' ')[0]})`
    throw new Error(`${who} uses it; give each process a folder of its own, or end that one first`)
  }
  for (const path of others) rmSync(path, { force: true })
}

function isAlive(claimant: Claimant | undefined, silentMs: number): boolean {
  if (claimant?.place === placeOf()) {
    if (!isRunning(claimant.pid)) return false
    const startedAt = startOf(claimant.pid)
    if (startedAt !== undefined) return startedAt === claimant.startedAt
  }
  return silentMs < SILENT_MS
}

/** `undefined` for a claim that is gone, or not written yet. */
function claimantIn(path: string): Claimant | undefined {
  try {
    const value: unknown = JSON.parse(readFileSync(path, 'utf8'))
    return isObject(value) && typeof value['pid'] === 'number' && typeof value['place'] === 'string'
      ? (value as never)
      : undefined
  } catch (error) {
    if (error instanceof SyntaxError || isMissing(error)) return undefined
    throw error
  }
}

function isRunning(pid: number): boolean {
  try {
    return process.kill(pid, 0)
  } catch (error) {
    return !(error instanceof Error && 'code' in error && error.code === 'ESRCH')
  }
}

/** Of Linux: the machine's name, its boot, and the container's process ids. Elsewhere the name alone. */
function placeOf(): string {
  return [
    hostname(),
    orNothing(() => readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim()),
    orNothing(() => readlinkSync('/proc/self/ns/pid')),
  ].join(' ')
}

/** When a process started, in ticks since boot; `undefined` where the system does not say. One that waits to be reaped never did. */
function startOf(pid: number): string | undefined {
  const stat = orNothing(() => readFileSync(`/proc/${pid}/stat`, 'utf8'))
  const [state, ...fields] = stat?.slice(stat.lastIndexOf(')') + 2).split(' ') ?? []
  return state === 'Z' ? 'never' : fields[18]
}

/** Not every system has `/proc`, or shows all of it. */
function orNothing(read: () => string): string | undefined {
  try {
    return read()
  } catch {
    return undefined
  }
}
