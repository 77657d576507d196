/** Runtimes that are processes of their own: they come from npm, and run a program that was bundled for them. */
import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { mkdir, mkdtemp, rename, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { promisify } from 'node:util'
import { build as bundle } from 'esbuild'
import { build, ROOT } from '../e2e/build.js'
import type { Running } from './describe-runtime.js'
import type { Outcome } from './suites.js'

/**
 * The path of a runtime's executable. It is kept in `node_modules/.cache`, and is no dependency: nobody needs it to build, and
 * what npm writes of Deno into a lock file is not complete.
 *
 * @throws Error when npm cannot get it. Then its contracts have not run, and the tests must fail.
 */
async function installed(name: string, version: string): Promise<string> {
  const cache = join(ROOT, 'node_modules/.cache/meshguard')
  const folder = join(cache, `${name}-${version}`)
  const executable = join(folder, 'node_modules/.bin', name)
  if (existsSync(executable)) return executable
  await mkdir(cache, { recursive: true })
  const fresh = await mkdtemp(join(cache, `${name}-`))
  try {
    await writeFile(join(fresh, 'package.json'), '{ "private": true }')
    const options = ['--no-audit', '--no-fund', '--no-package-lock', '--no-workspaces', '--prefix', fresh]
    await promisify(execFile)('npm', ['install', ...options, `${name}@${version}`], { cwd: fresh })
    await rename(fresh, folder)
  } catch (error) {
    await rm(fresh, { recursive: true, force: true })
    if (existsSync(executable)) return executable
    throw new Error(`${name} ${version} cannot be had from npm, so NONE of the contracts ran in it`, { cause: error })
  }
  return executable
}

/** A runtime, and how it is told to run a file. */
export interface Process {
  readonly name: 'bun' | 'deno'
  readonly version: string
  readonly args: readonly string[]
}

/**
 * Runs `<name>.ts` of this folder: bundled without the packages, which the runtime finds by itself in what was built, with its
 * own conditions. Its lines are the outcomes.
 */
export async function startProcess({ name, version, args }: Process, stage: string): Promise<Running> {
  const [executable] = await Promise.all([installed(name, version), build()])
  const folder = await mkdtemp(join(tmpdir(), `meshguard-${name}-`))
  await symlink(join(ROOT, 'node_modules'), join(folder, 'node_modules'))
  await writeFile(join(folder, 'package.json'), '{ "type": "module" }')
  await bundle({
    entryPoints: [join(import.meta.dirname, `${name}.ts`)],
    outfile: join(folder, 'loop.mjs'),
    bundle: true,
    packages: 'external',
    format: 'esm',
    platform: 'node',
    target: 'es2022',
  })
  const child = spawn(executable, [...args, join(folder, 'loop.mjs'), stage], { stdio: ['ignore', 'pipe', 'pipe'] })
  const ended = once(child, 'close')
  let stderr = ''
  child.stderr.on('data', (data) => {
    stderr += data
  })
  const outcomes = new Map<string, Outcome>()
  const waiting = new Map<string, (outcome: Outcome) => void>()
  const keyOf = ({ suite, title }: Pick<Outcome, 'suite' | 'title'>) => `${suite}: ${title}`
  createInterface(child.stdout).on('line', (line) => {
    const outcome = JSON.parse(line) as Outcome
    outcomes.set(keyOf(outcome), outcome)
    waiting.get(keyOf(outcome))?.(outcome)
  })
  const over = ended.then(([code]): never => {
    throw new Error(`${name} ended with ${code}: ${stderr}`)
  })
  over.catch(() => {})
  return {
    outcome(entry) {
      const known = outcomes.get(keyOf(entry))
      if (known !== undefined) return Promise.resolve(known)
      const comes = new Promise<Outcome>((resolve) => waiting.set(keyOf(entry), resolve))
      return Promise.race([comes, over])
    },
    async close() {
      child.kill('SIGKILL')
      await ended
      await rm(folder, { recursive: true, force: true })
    },
  }
}
