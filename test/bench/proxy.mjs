/**
 * The gateway's proxy, with authentication, decision and audit, beside a bare undici dispatch pipe: answers of 1 KB on 50
 * connections, and bodies of 10 MB either way on 4. Rounds are interleaved.
 */
import { medianOf, ratioOf, rounded } from './figures.mjs'
import { processes } from './processes.mjs'

const KINDS = ['pipe', 'async', 'durable']
const PATH = '/proxy/things/1'
/** What is moved, by which load: connections and bytes of the request's body. */
const MOVES = {
  kilobyte: [{ name: '1 KB', connections: 50, body: 0 }],
  megabytes: [
    { name: '10 MB answers', connections: 4, body: 0 },
    { name: '10 MB requests', connections: 4, body: 10_000_000 },
  ],
}

/**
 * @param onTwoCores Whether the proxies are pinned to the first core, the upstream and the load to the second.
 */
export async function benchProxy({ rounds, seconds, onTwoCores, say }) {
  const { start, load } = processes(onTwoCores)
  const loadOn = async ({ url, token = 'none' }, { connections, body }, duration) => {
    const sample = await load('check-load.mjs', [url, token, duration, PATH, connections, body])
    if (sample.refused > 0) throw new Error(`${url} refused ${sample.refused} requests`)
    return sample
  }
  const rows = []
  for (const upstream of Object.keys(MOVES)) rows.push(...(await benchUpstream(upstream)))
  console.table(rows)
  return rows

  async function benchUpstream(kind) {
    const upstream = await start('1', [kind])
    const proxies = []
    for (const one of KINDS) {
      const args = one === 'pipe' ? ['pipe', upstream.url] : ['gateway', upstream.url, one]
      proxies.push({ kind: one, ...(await start('0', args)) })
    }
    const measured = []
    for (const move of MOVES[kind]) measured.push(...(await benchMove(proxies, move)))
    for (const { stop } of [...proxies, upstream]) stop()
    return measured
  }

  async function benchMove(proxies, move) {
    const cases = proxies.map((proxy) => ({ proxy, samples: [] }))
    for (const { proxy } of cases) await loadOn(proxy, move, 2)
    for (let round = 0; round < rounds; round++) {
      for (const { proxy, samples } of cases) {
        const before = await proxy.usage()
        const sample = await loadOn(proxy, move, seconds)
        const after = await proxy.usage()
        const cpuUs = (after.cpuUs - before.cpuUs) / sample.answered
        samples.push({ ...sample, cpuUs, rssMB: before.rss / 1e6, peakMB: after.peak / 1e6 })
      }
      say(`proxy: ${move.name}, round ${round + 1} of ${rounds}`)
    }
    return cases.map(({ proxy, samples }) => {
      const [perSecond, p50, p99, cpuUs] = ['perSecond', 'p50', 'p99', 'cpuUs'].map((key) => medianOf(samples, key))
      const { median: ofPipe, spread } = ratioOf(samples, cases[0].samples, 'perSecond')
      // What it had before, and the most that it has had since it began.
      const rssMB = Math.round(samples[0].rssMB)
      const peakMB = Math.round(samples.at(-1).peakMB)
      return {
        moved: move.name,
        proxy: proxy.kind,
        perSecond: rounded(perSecond),
        p50,
        p99,
        cpuUs,
        ofPipe,
        spread,
        rssMB,
        peakMB,
      }
    })
  }
}
