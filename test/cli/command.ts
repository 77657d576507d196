/** The `meshguard` command as a process, as it is built. */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { ROOT } from '../e2e/build.js'
import { type Ended, type Running, startNode } from '../e2e/process.js'

/** What npm links as `meshguard`. */
export const BIN = join(ROOT, 'packages/cli/bin/meshguard.js')

/** Nothing of the machine that the tests run on. */
const PLAIN: NodeJS.ProcessEnv = {
  MESHGUARD_GATEWAY_URL: '',
  MESHGUARD_ADMIN_TOKEN: '',
  MESHGUARD_AGENT_TOKEN: '',
  MESHGUARD_TIMEOUT_MS: '',
  DATA_DIR: '',
  // Set by the test runner, and a variable of the gateway.
  MODE: '',
  NO_COLOR: undefined,
  FORCE_COLOR: undefined,
}

/** Starts the command in a folder. */
export function startCommand(args: readonly string[], cwd: string, env: NodeJS.ProcessEnv = {}): Running {
  const running = startNode([BIN, ...args], { ...PLAIN, ...env }, cwd)
  running.child.stdin?.end()
  return running
}

/** Runs the command to its end. */
export function runCommand(args: readonly string[], cwd: string, env: NodeJS.ProcessEnv = {}): Promise<Ended> {
  return startCommand(args, cwd, env).ended
}

/** A folder for the files of a test, and how to remove it. */
export async function openFolder(): Promise<{ folder: string; close(): Promise<void> }> {
  const folder = await mkdtemp(join(tmpdir(), 'meshguard-cli-'))
  return { folder, close: () => rm(folder, { recursive: true, force: true }) }
}
