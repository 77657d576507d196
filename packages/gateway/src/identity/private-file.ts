import { randomBytes } from 'node:crypto'
import { link, mkdir, open, rename, rm, stat } from 'node:fs/promises'
import { dirname } from 'node:path'

const GROUP_OR_OTHERS_WRITE = 0o022
const OTHERS = 0o007
const GROUP_READ = 0o040

/** Makes a folder that only its owner can enter; one that is there is left as it is. */
export async function makePrivateFolder(folder: string): Promise<void> {
  await mkdir(folder, { recursive: true, mode: 0o700 })
}

/**
 * Writes a file whole or not at all, readable by its owner alone, and waits until it is on the disk.
 *
 * @param how `'create'` leaves a file that is there already, and answers false; `'replace'` takes its place.
 */
export async function writePrivateFile(file: string, text: string, how: 'create' | 'replace'): Promise<boolean> {
  const folder = dirname(file)
  await makePrivateFolder(folder)
  const draft = `${file}.${randomBytes(6).toString('hex')}.tmp`
  try {
    const handle = await open(draft, 'wx', 0o600)
    try {
      await handle.writeFile(text)
      await handle.sync()
    } finally {
      await handle.close()
    }
    if (how === 'replace') await rename(draft, file)
    else if (!(await linkUnlessThere(draft, file))) return false
    await syncFolder(folder)
    return true
  } finally {
    await rm(draft, { force: true })
  }
}

async function linkUnlessThere(draft: string, file: string): Promise<boolean> {
  try {
    await link(draft, file)
    return true
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false
    throw error
  }
}

async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder, 'r')
  try {
    await handle.sync()
  } finally {
    await handle.close()
  }
}

/**
 * Looks at who else can use a private file: everybody, or whoever can write it, is refused; a group that can read it is told
 * to `warn`, as that is how Kubernetes mounts secrets. Windows has no such modes.
 *
 * @throws Error that says what to do.
 */
export async function assertPrivate(file: string, warn: (message: string) => void): Promise<void> {
  if (process.platform === 'win32') return
  const mode = (await stat(file)).mode & 0o777
  const shown = `${file} has mode 0${mode.toString(8)}`
  if ((mode & (OTHERS | GROUP_OR_OTHERS_WRITE)) !== 0) {
    throw new Error(`${shown}: others can use the private keys in it. Run: chmod 600 ${JSON.stringify(file)}`)
  }
  if ((mode & GROUP_READ) !== 0) warn(`${shown}: its group can read the private keys in it`)
}
