import { randomBytes } from 'node:crypto'
import { type FileHandle, link, open, realpath, rename, rm, stat } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { CliError, EXIT, systemCode } from './errors.js'

/** A file that comes to be whole or not at all. */
export interface WholeFile {
  readonly handle: FileHandle
  /** Writes everything to the disk and gives the file its name. */
  commit(): Promise<void>
  /** Leaves nothing behind. */
  discard(): Promise<void>
}

/** How {@link openWholeFile} treats a file that is there already. */
export interface WholeFileOptions {
  readonly replace: boolean
}

/**
 * Opens a file of another name beside the one that is meant, mode 0600, so that one that can be killed at any moment is there
 * only when it is complete. What is there and is no file (a pipe, `/dev/stdout`) is written to as it is.
 *
 * @throws CliError for a path that cannot be written, before anything else is done.
 */
export async function openWholeFile(path: string, { replace }: WholeFileOptions): Promise<WholeFile> {
  try {
    const found = await stat(path).catch((error: unknown) => {
      if (systemCode(error) !== 'ENOENT') throw error
      return undefined
    })
    if (found?.isDirectory()) throw new CliError(`${path} is a folder. Name a file in it`)
    if (found !== undefined && !found.isFile()) return await openAsItIs(path)
    if (found !== undefined && !replace) throw new CliError(`${path} is there already. Remove it, or name another file`)
    const target = found === undefined ? path : await realpath(path)
    const temporary = join(dirname(target), `.${basename(target)}.${randomBytes(6).toString('hex')}.part`)
    return wholeFile(await open(temporary, 'wx', 0o600), temporary, target, replace)
  } catch (error) {
    throw unwritable(path, error)
  }
}

/**
 * Writes a text to a file, as {@link openWholeFile} does.
 *
 * @throws CliError for a path that cannot be written, and for a disk that is full; nothing is left behind then.
 */
export async function writeWholeFile(path: string, text: string): Promise<void> {
  const file = await openWholeFile(path, { replace: true })
  try {
    await file.handle.writeFile(text)
    await file.commit()
  } catch (error) {
    await file.discard()
    throw unwritable(path, error)
  }
}

/** @returns the error for a file that cannot be written; an error that is not the file system's as it is. */
export function unwritable(path: string, error: unknown): unknown {
  const code = systemCode(error)
  if (error instanceof CliError || code === undefined) return error
  return new CliError(`${path} cannot be written: ${WHY[code] ?? code}`, EXIT.usage, { cause: error })
}

const WHY: Readonly<Record<string, string>> = {
  EACCES: 'this user may not (EACCES)',
  ENOENT: 'its folder does not exist',
  ENOSPC: 'the disk is full (ENOSPC). Free some of it, or name a file elsewhere',
  EROFS: 'the disk is read-only (EROFS). Name a file elsewhere',
}

function wholeFile(handle: FileHandle, temporary: string, target: string, replace: boolean): WholeFile {
  const discard = async () => {
    await handle.close()
    await rm(temporary, { force: true })
  }
  return {
    handle,
    discard,
    async commit() {
      await handle.sync()
      if (replace) await rename(temporary, target)
      else await link(temporary, target)
      await discard()
    },
  }
}

async function openAsItIs(path: string): Promise<WholeFile> {
  const handle = await open(path, 'w')
  const close = () => handle.close()
  return { handle, commit: close, discard: close }
}
