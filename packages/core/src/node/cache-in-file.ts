import { randomUUID } from 'node:crypto'
import { open, readFile, rename, rm } from 'node:fs/promises'
import { dirname } from 'node:path'
import type { BundleCache } from '../bundle/cache.js'
import { messageOf } from '../errors.js'
import { isMissing } from './is-missing.js'

/**
 * Keeps the last good bundle in a file, for `fromBundle`: a new process begins with it while the gateway is away, and its version
 * is the one that must not be undercut. The file is put in place whole, with the permissions `0600`; its folder must exist.
 *
 * @throws TypeError for a path that is empty.
 *
 * @example
 * ```ts
 * const source = fromBundle({ url, token, publicKeys, cache: cacheInFile('/var/lib/app/bundle.jws') })
 * ```
 */
export function cacheInFile(path: string): BundleCache {
  if (typeof path !== 'string' || path === '') throw new TypeError('cacheInFile: expected the path of a file')
  return {
    get: () => naming(path, readIfThere(path)),
    set: (jws) => naming(path, replace(path, jws)),
  }
}

/** Not every error of the file system says which file it is about. */
async function naming<T>(path: string, work: Promise<T>): Promise<T> {
  try {
    return await work
  } catch (cause) {
    throw new Error(`${path}: ${messageOf(cause, 'it failed')}`, { cause })
  }
}

async function readIfThere(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, 'utf8')
  } catch (error) {
    if (isMissing(error)) return undefined
    throw error
  }
}

/** Whoever reads the file finds the old bundle or the new one, also after a loss of power. */
async function replace(path: string, jws: string): Promise<void> {
  const draft = `${path}.${randomUUID()}.new`
  try {
    const file = await open(draft, 'wx', 0o600)
    try {
      await file.writeFile(jws)
      await file.sync()
    } finally {
      await file.close()
    }
    await rename(draft, path)
    await syncFolder(dirname(path))
  } catch (error) {
    await rm(draft, { force: true })
    throw error
  }
}

async function syncFolder(path: string): Promise<void> {
  const folder = await open(path, 'r')
  try {
    await folder.sync()
  } finally {
    await folder.close()
  }
}
