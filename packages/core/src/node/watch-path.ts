import { type FSWatcher, watch } from 'node:fs'
import { stat } from 'node:fs/promises'
import { dirname } from 'node:path'

/** Something that looks out for changes until it is closed. */
export interface PathWatch {
  close(): void
}

const POLL_MS = 2000

/**
 * Calls `hint` when a file or folder may have changed: soon where the operating system tells, and every 2 seconds in any case,
 * for network disks, swapped symbolic links and folders that come and go. It never keeps the process alive.
 *
 * For a file its folder is watched, because editors save by putting another file in its place.
 */
export function watchPath(path: string, hint: () => void): PathWatch {
  let watcher: FSWatcher | undefined
  let watched: string | undefined
  let closed = false

  const unwatch = (): void => {
    watcher?.close()
    watcher = undefined
    watched = undefined
  }
  const rewatch = async (): Promise<void> => {
    const folder = await folderOf(path)
    if (closed || folder?.identity === watched) return
    unwatch()
    if (folder === undefined) return
    watcher = tryToWatch(folder.path, hint, unwatch)
    watched = watcher && folder.identity
  }
  const poll = (): void => {
    void rewatch().then(hint)
  }
  const timer = setInterval(poll, POLL_MS).unref()
  poll()
  return {
    close() {
      closed = true
      clearInterval(timer)
      unwatch()
    },
  }
}

/** The folder to watch, and what tells it from another of the same name; `undefined` while there is none. */
async function folderOf(path: string): Promise<{ path: string; identity: string } | undefined> {
  for (const folder of [path, dirname(path)]) {
    const found = await stat(folder).catch(() => undefined)
    if (found?.isDirectory()) return { path: folder, identity: `${found.dev}:${found.ino}` }
  }
  return undefined
}

/** Without a watcher (too many of them, a file system that has none) polling is what remains. */
function tryToWatch(folder: string, hint: () => void, gone: () => void): FSWatcher | undefined {
  try {
    return watch(folder, { persistent: false }, hint).on('error', gone)
  } catch {
    return undefined
  }
}
