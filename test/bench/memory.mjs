/**
 * What a million checks leave in the memory of a gateway. Every one is of another action and resource, so that whatever is
 * remembered by what a client sends is filled. Memory is looked at after a full collection, at every 100 000.
 */
import { execFile, fork } from 'node:child_process'
import { promisify } from 'node:util'

const run = promisify(execFile)
const here = (name) => new URL(name, import.meta.url).pathname
const STRETCH = 100_000
const MB = 1e6

/**
 * @param total How many checks.
 * @param onTwoCores Whether the gateway is pinned to the first core and the load to the second.
 */
export async function benchMemory({ total, onTwoCores, say }) {
  const flags = ['--expose-gc']
  const pinned = onTwoCores ? { execPath: 'taskset', execArgv: ['-c', '0', process.execPath, ...flags] } : { execArgv: flags }
  const child = fork(here('check-server.mjs'), ['gateway'], pinned)
  const next = () =>
    new Promise((resolve, reject) => {
      child.once('message', resolve)
      child.once('exit', () => reject(new Error('The gateway ended')))
    })
  const { url, token } = await next()
  const rows = []
  const look = async (checks, perSecond) => {
    child.send('usage')
    const { rss, heapUsed, external } = await next()
    const [heapMB, externalMB, rssMB] = [heapUsed, external, rss].map((bytes) => Math.round((10 * bytes) / MB) / 10)
    rows.push({ checks, heapMB, externalMB, rssMB, perSecond })
  }
  await look(0)
  for (let checks = STRETCH; checks <= total; checks += STRETCH) {
    const args = ['memory-load.mjs', url, token, STRETCH, checks - STRETCH].map(String)
    const command = [process.execPath, here(args[0]), ...args.slice(1)]
    const [file, ...rest] = onTwoCores ? ['taskset', '-c', '1', ...command] : command
    const { perSecond } = JSON.parse((await run(file, rest)).stdout)
    await look(checks, perSecond)
    say(`memory: ${checks} checks`)
  }
  child.disconnect()
  console.table(rows)
  return rows
}
