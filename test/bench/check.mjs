/** Checks over HTTP: what a client gets out of an exchange, and what the gateway answers. Rounds are interleaved. */
import { medianOf, ratioOf } from './figures.mjs'
import { processes } from './processes.mjs'

const CLIENTS = ['undici', 'meshguard', 'undici-service', 'meshguard-service']
const CONCURRENCIES = [1, 64]
const SERVERS = ['node', 'hono', 'gateway']

/**
 * @param only `servers` or `clients`; both unless it is given.
 * @param onTwoCores Whether servers are pinned to the first core and clients to the second.
 */
export async function benchCheck({ only, rounds, seconds, onTwoCores, say }) {
  const { start, load } = processes(onTwoCores)
  const results = {}
  if (only !== 'servers') {
    for (const kind of ['exchange', 'gateway']) results[kind] = await benchClients(kind)
  }
  if (only !== 'clients') results.servers = await benchServers()
  return results

  /** Each client at each concurrency, against answers that cost nothing and against the gateway. */
  async function benchClients(kind) {
    const { url, token, service, stop } = await start('0', [kind])
    const cases = CONCURRENCIES.flatMap((concurrency) => CLIENTS.map((client) => ({ client, concurrency, samples: [] })))
    for (let round = 0; round < rounds; round++) {
      for (const { client, concurrency, samples } of cases) {
        samples.push(await load('check-client.mjs', [client, concurrency, seconds, url, token, service]))
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
    for (const kind of SERVERS) cases.push({ kind, samples: [], ...(await start('0', [kind])) })
    for (const { url, token = 'none' } of cases) await load('check-load.mjs', [url, token, 2])
    for (let round = 0; round < rounds; round++) {
      for (const { kind, url, token = 'none', usage, samples } of cases) {
        const before = await usage()
        const sample = await load('check-load.mjs', [url, token, seconds])
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
