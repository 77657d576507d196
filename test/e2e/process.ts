/** Programs as processes: what they print, and how they end. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'

/** How a process ended. */
export interface Ended {
  readonly code: number | null
  readonly stdout: string
  readonly stderr: string
}

/** A process that runs. */
export interface Running {
  readonly child: ChildProcess
  /** Everything that it printed so far. */
  output(): string
  /** Waits until it has printed something, which is answered. Fails when it ends without. */
  printed(pattern: RegExp): Promise<RegExpExecArray>
  ended: Promise<Ended>
}

const WAIT_MS = 15_000

/** Starts `node` with these arguments and environment. */
export function startNode(args: readonly string[], env: NodeJS.ProcessEnv = {}, cwd?: string): Running {
  return watch(spawn(process.execPath, args, { cwd, env: { ...process.env, ...env } }))
}

/** Runs a line in `sh` to its end. */
export function runShell(line: string): Promise<Ended> {
  return watch(spawn('sh', ['-c', line], { timeout: WAIT_MS })).ended
}

/** Ends a process that may have ended already. */
export async function stop({ child, ended }: Running): Promise<void> {
  child.kill('SIGKILL')
  await ended
}

function watch(child: ChildProcess): Running {
  let [stdout, stderr] = ['', '']
  child.stdout?.setEncoding('utf8').on('data', (text: string) => {
    stdout += text
  })
  child.stderr?.setEncoding('utf8').on('data', (text: string) => {
    stderr += text
  })
  const ended = once(child, 'close').then(([code]): Ended => ({ code, stdout, stderr }))
  const output = () => stdout + stderr
  return { child, output, ended, printed: (pattern) => printed(child, output, pattern) }
}

function printed(child: ChildProcess, output: () => string, pattern: RegExp): Promise<RegExpExecArray> {
  return new Promise((resolve, reject) => {
    const look = () => {
      const found = pattern.exec(output())
      if (found === null) return
      settle()
      resolve(found)
    }
    const fail = () => {
      settle()
      reject(new Error(`It printed nothing like ${pattern}, but:\n${output()}`))
    }
    const timer = setTimeout(fail, WAIT_MS)
    const settle = () => {
      clearTimeout(timer)
      child.stdout?.off('data', look)
      child.stderr?.off('data', look)
      child.off('close', fail)
    }
    child.stdout?.on('data', look)
    child.stderr?.on('data', look)
    child.on('close', fail)
    look()
  })
}
