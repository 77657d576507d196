import { createHash } from 'node:crypto'
import { readdir, readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { type Issue, ValidationError } from '../errors.js'
import type { Policies } from '../policy/policy.js'
import { collect, joinPolicies, type PlacedPolicy, readPolicies, throwIfAny } from '../policy/policy-files.js'

/** The bytes of all files of a set. */
export interface FileSet {
  readonly files: readonly File[]
  /** Changes when a name or a byte does. */
  readonly digest: string
}

interface File {
  readonly path: string
  readonly bytes: Uint8Array
}

const MAX_FILE = 1024 * 1024
const POLICY_NAME = /\.(?:ya?ml|json)$/i
/** A folder may change between the listing and the reading; then both are done again. */
const ATTEMPTS = 3

/**
 * Reads a file, or the policy files of a folder in the order of their names.
 *
 * @throws ValidationError when there is nothing to read, something cannot be read, or a subfolder holds policy files.
 */
export async function readFiles(path: string): Promise<FileSet> {
  for (let attempt = 1; ; attempt++) {
    try {
      const files: File[] = []
      for (const file of await pathsIn(path)) files.push({ path: file, bytes: await readBytes(file) })
      return { files, digest: digestOf(files) }
    } catch (error) {
      if (error instanceof ValidationError || attempt === ATTEMPTS) throw inWords(error, path)
    }
  }
}

/**
 * Parses the files into one set.
 *
 * @throws ValidationError with everything that is wrong in any of them.
 */
export function parseFiles(set: FileSet): Policies {
  return joinPolicies(placedIn(set))
}

/**
 * Parses the files, each policy with its place.
 *
 * @throws ValidationError with everything that is wrong in any of them.
 */
export function placedIn({ files }: FileSet): PlacedPolicy[] {
  const issues: Issue[] = []
  const placed = files.flatMap(({ path, bytes }) => {
    let found: PlacedPolicy[] = []
    collect(issues, () => {
      found = readPolicies(bytes, path)
    })
    return found
  })
  throwIfAny(issues)
  return placed
}

const FRESH_MS = 100
let unique = 0

/**
 * Tells whether something may have changed without reading it: names, sizes and times of everything {@link readFiles} looks at.
 * Times on disk are coarse, so that of files touched less than 100 ms ago is like no other.
 */
export async function fingerprintOf(path: string): Promise<string> {
  const parts: string[] = []
  for (const entry of await entriesOf(path)) {
    try {
      const { ino, size, mtimeNs, ctimeNs } = await stat(entry, { bigint: true })
      const age = Date.now() - Number(ctimeNs / 1_000_000n)
      parts.push([entry, ino, size, mtimeNs, ctimeNs, age >= 0 && age < FRESH_MS ? ++unique : ''].join(':'))
    } catch (error) {
      parts.push(`${entry}:${codeOf(error)}`)
    }
  }
  return parts.join('\n')
}

async function entriesOf(path: string): Promise<string[]> {
  try {
    const entries = await readdir(path, { withFileTypes: true })
    const names = entries.filter((entry) => entry.isDirectory() || isPolicyName(entry.name)).map(({ name }) => name)
    return [path, ...names.sort().map((name) => join(path, name))]
  } catch {
    // A file, or nothing, or a folder that may not be listed: what `stat` says of it then is all there is.
    return [path]
  }
}

async function pathsIn(path: string): Promise<string[]> {
  if (!(await stat(path)).isDirectory()) return [path]
  const paths: string[] = []
  for (const name of await policyNames(path)) {
    const entry = join(path, name)
    if ((await stat(entry)).isDirectory()) throw wrong(entry, 'is a folder; expected a file')
    paths.push(entry)
  }
  await refuseSubfolders(path)
  if (paths.length === 0) throw wrong(path, 'holds no policies; expected files that end in .yaml, .yml or .json')
  return paths
}

async function policyNames(folder: string): Promise<string[]> {
  return (await readdir(folder)).filter(isPolicyName).sort()
}

function isPolicyName(name: string): boolean {
  return !name.startsWith('.') && POLICY_NAME.test(name)
}

/** One folder is read and not what is below it, so policies there would be left out without a word. */
async function refuseSubfolders(path: string): Promise<void> {
  for (const entry of await readdir(path, { withFileTypes: true })) {
    if (!entry.isDirectory() || entry.name.startsWith('.')) continue
    const folder = join(path, entry.name)
    const [name] = await policyNames(folder)
    if (name !== undefined)
      throw wrong(join(folder, name), 'is in a subfolder, and those are not read; move it up or elsewhere')
  }
}

async function readBytes(path: string): Promise<Uint8Array> {
  const found = await stat(path)
  if (!found.isFile()) throw wrong(path, 'is not a regular file')
  if (found.size > MAX_FILE) throw wrong(path, 'is too large: at most 256 KiB of YAML, or 1 MiB of JSON')
  return readFile(path)
}

function digestOf(files: readonly File[]): string {
  const hash = createHash('sha256')
  for (const { path, bytes } of files) hash.update(`${JSON.stringify(path)} ${bytes.byteLength}\n`).update(bytes)
  return hash.digest('hex')
}

function wrong(file: string, message: string): ValidationError {
  return new ValidationError([{ file, message, path: [] }])
}

function inWords(error: unknown, path: string): ValidationError {
  if (error instanceof ValidationError) return error
  const named: unknown = error instanceof Error && 'path' in error ? error.path : undefined
  const file = typeof named === 'string' ? named : path
  const code = codeOf(error)
  const message = code === 'ENOENT' ? 'no such file or folder' : `cannot be read (${code})`
  return new ValidationError([{ file, message, path: [] }], { cause: error })
}

function codeOf(error: unknown): string {
  return error instanceof Error && 'code' in error ? String(error.code) : String(error)
}
