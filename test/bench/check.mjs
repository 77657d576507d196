/** Checks over HTTP: what a client gets out of an exchange, and what the gateway answers. Rounds are interleaved. */
import { execFile, fork } from 'node:child_process'
import { promisify } from 'node:util'
import { medianOf, ratioOf } from './figures.mjs'

const run = promisify(execFile)
const here = (name) => new URL(name, import.meta.url).pathname
const CLIENTS = ['undici', 'meshguard', 'undici-service', 'meshguard-service']
const CONCURRENCIES = [1, 64]
const SERVERS = ['node', 'hono', 'gateway']

/**
 * @param onTwoCores Whether servers are pinned to the first core and clients to the second.
 */
export async function benchCheck({ rounds, seconds, onTwoCores, say }) {
  const start = (kind) => {
    const pinned = onTwoCores ? { execPath: 'taskset', execArgv: ['-c', '0', process.execPath] } : {}
    const child = fork(here('check-server.mjs'), [kind], pinned)
    const next = () =>
      new Promise((resolve, reject) => {
        child.once('message', resolve)
        child.once('exit', () => reject(new Error(`The ${kind} server ended`)))
      })
    const usage = () => {
      child.send('usage')
      return next()
    }
    return next().then((at) => ({ ...at, usage, stop: () => child.disconnect() }))
  }
  const onOtherCore = async (script, args) => {
    const command = [process.execPath, here(script), ...args.map(String)]
    const [file, ...rest] = onTwoCores ? ['taskset', '-c', '1', ...command] : command
    return JSON.parse((await run(file, rest)).stdout)
  }
  const clients = {}
  for (const kind of ['exchange', 'gateway']) clients[kind] = await benchClients(kind)
  return { clients, servers: await benchServers() }

  /** Each client at each concurrency, against answers that cost nothing and against the gateway. */
  async function benchClients(kind) {
    const { url, token, service, stop } = await start(kind)
    const cases = CONCURRENCIES.flatMap((concurrency) => CLIENTS.map((client) => ({ client, concurrency, samples: [] })))
    for (let round = 0; round < rounds; round++) {
      for (const { client, concurrency, samples } of cases) {
        samples.push(await onOtherCore('check-client.mjs', [client, concurrency, seconds, url, token, service]))
      }
      say(`check: clients of ${kind}, round ${round + 1} of ${rounds}`)
    }
    stop()
    const rows = cases.map(({ client, concurrency, samples }) => {
      const bare = cases.find((one) => one.client === client.replace('meshguard', 'undici') && one.concurrency === concurrency)
      const [perSecond, p50, p99, cpuUs] = ['perSecond', 'p50', 'p99', 'cpuUs'].map((key) => medianOf(samples, key))
      const { median: ofBare, spread } = ratioOf(samples, bare.samples, 'perSecond')
      return { client, concurrency, perSecond, p50, p99, cpuUs, ofBare, spread }
    })
    console.table(rows)
    return rows
  }

  /** The gateway's `/proxy/check` beside constant answers. */
  async function benchServers() {
    const cases = []
    for (const kind of SERVERS) cases.push({ kind, samples: [], ...(await start(kind)) })
    for (const { url, token = 'none' } of cases) await onOtherCore('check-load.mjs', [url, token, 2])
    for (let round = 0; round < rounds; round++) {
      for (const { kind, url, token = 'none', usage, samples } of cases) {
        const before = await usage()
        const sample = await onOtherCore('check-load.mjs', [url, token, seconds])
        if (sample.refused > 0) throw new Error(`${kind} refused ${sample.refused} requests`)
        samples.push({ ...sample, cpuUs: ((await usage()).cpuUs - before.cpuUs) / sample.answered })
      }
      say(`check: servers, round ${round + 1} of ${rounds}`)
    }
    for (const { stop } of cases) stop()
    const hono = cases.find(({ kind }) => kind === 'hono')
    const rows = cases.map(({ kind, samples }) => {
      const [perSecond, p50, p99, cpuUs] = ['perSecond', 'p50', 'p99', 'cpuUs'].map((key) => medianOf(samples, key))
      const { median: ofHono, spread } = ratioOf(samples, hono.samples, 'perSecond')
      return { server: kind, perSecond: Math.round(perSecond), p50, p99, cpuUs, ofHono, spread }
    })
    console.table(rows)
    return rows
  }
}
