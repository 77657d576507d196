import { execFile } from 'node:child_process'
import { resolve } from 'node:path'
import { promisify } from 'node:util'

/** The root of the repository. */
export const ROOT = resolve(import.meta.dirname, '../..')

/** Compiles what has changed since the last build. `npm test` has built already; then nothing is written. */
export async function build(): Promise<void> {
  const tsc = resolve(ROOT, 'node_modules/typescript/bin/tsc')
  await promisify(execFile)(process.execPath, [tsc, '-b'], { cwd: ROOT }).catch(({ stdout }: { stdout: string }) => {
    throw new Error(`The build failed:\n${stdout}`)
  })
}
