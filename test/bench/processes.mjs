/** The processes of the gateway's benchmarks: servers and loads, each on a core of its own where there are two and `taskset`. */
import { execFile, fork } from 'node:child_process'
import { promisify } from 'node:util'

const run = promisify(execFile)
const here = (name) => new URL(name, import.meta.url).pathname

/**
 * @param onTwoCores Whether processes are pinned.
 */
export function processes(onTwoCores) {
  return {
    /** Starts `check-server.mjs`. Resolves with what it tells, how to ask what it has used, and how to stop it. */
    async start(core, args, flags = []) {
      const pinned = onTwoCores
        ? { execPath: 'taskset', execArgv: ['-c', core, process.execPath, ...flags] }
        : { execArgv: flags }
      const child = fork(here('check-server.mjs'), args, pinned)
      const ended = new Promise((_resolve, reject) => {
        child.once('exit', () => reject(new Error(`The ${args[0]} server ended`)))
      })
      ended.catch(() => {})
      const next = () => Promise.race([new Promise((resolve) => child.once('message', resolve)), ended])
      const usage = () => {
        child.send('usage')
        return next()
      }
      return { ...(await next()), usage, stop: () => child.disconnect() }
    },
    /** Runs a script to its end on the second core, and reads the JSON that it prints. */
    async load(script, args) {
      const command = [process.execPath, here(script), ...args.map(String)]
      const [file, ...rest] = onTwoCores ? ['taskset', '-c', '1', ...command] : command
      return JSON.parse((await run(file, rest)).stdout)
    },
  }
}
