/**
 * The gateway's proxy, with authentication, decision and durable audit, beside a bare undici dispatch pipe: an answer of 1 KB, 50
 * connections, rounds interleaved. And what many checks leave in memory.
 */
import { execFile, fork } from 'node:child_process'
import { promisify } from 'node:util'

const run = promisify(execFile)
const here = (name) => new URL(name, import.meta.url).pathname
const KINDS = ['pipe', 'async', 'proxy']
/** How often memory is looked at, after each of as many stretches of load. */
const STRETCHES = 6

const median = (values) => [...values].sort((a, b) => a - b)[values.length >> 1]
const rounded = (value) => Number(value.toFixed(3))

/**
 * @param onTwoCores Whether the proxies are pinned to the first core, the upstream and the load to the second.
 */
export async function benchProxy({ rounds, seconds, onTwoCores, say }) {
  const pinnedTo = (core) => (onTwoCores ? { execPath: 'taskset', execArgv: ['-c', core, process.execPath] } : {})
  const start = (core, args) => {
    const child = fork(here('check-server.mjs'), args, pinnedTo(core))
    const next = () =>
      new Promise((resolve, reject) => {
        child.once('message', resolve)
        child.once('exit', () => reject(new Error(`The ${args[0]} server ended`)))
      })
    const usage = () => {
      child.send('usage')
      return next()
    }
    return next().then((at) => ({ ...at, usage, stop: () => child.disconnect() }))
  }
  const load = async ({ url, token = 'none' }, path, duration) => {
    const command = [process.execPath, here('check-load.mjs'), url, token, String(duration), path, '50']
    const [file, ...rest] = onTwoCores ? ['taskset', '-c', '1', ...command] : command
    const sample = JSON.parse((await run(file, rest)).stdout)
    if (sample.refused > 0) throw new Error(`${url} refused ${sample.refused} requests`)
    return sample
  }
  return { proxy: await benchPipes(), memory: await benchMemory() }

  async function benchPipes() {
    const upstream = await start('1', ['kilobyte'])
    const cases = []
    for (const kind of KINDS) {
      const args = kind === 'pipe' ? ['pipe', upstream.url] : ['gateway', upstream.url, kind === 'async' ? 'async' : 'durable']
      cases.push({ kind, samples: [], ...(await start('0', args)) })
    }
    for (const one of cases) await load(one, '/proxy/things/1', 2)
    for (let round = 0; round < rounds; round++) {
      for (const one of cases) {
        const before = await one.usage()
        const sample = await load(one, '/proxy/things/1', seconds)
        const cpuUs = ((await one.usage()).cpuUs - before.cpuUs) / sample.answered
        one.samples.push({ ...sample, cpuUs })
      }
      say(`proxy: round ${round + 1} of ${rounds}`)
    }
    for (const { stop } of [...cases, upstream]) stop()
    const rows = cases.map(({ kind, samples }) => {
      const [perSecond, p50, p99, cpuUs] = ['perSecond', 'p50', 'p99', 'cpuUs'].map((key) =>
        rounded(median(samples.map((sample) => sample[key]))),
      )
      const ofPipe = rounded(median(samples.map((sample, round) => sample.perSecond / cases[0].samples[round].perSecond)))
      return { proxy: kind, perSecond: Math.round(perSecond), p50, p99, cpuUs, ofPipe }
    })
    console.table(rows)
    return rows
  }

  /** The resident memory of a gateway, in MB, after so many checks. */
  async function benchMemory() {
    const gateway = await start('0', ['gateway'])
    const rows = []
    let checks = 0
    for (let stretch = 0; stretch < STRETCHES; stretch++) {
      checks += (await load(gateway, '/proxy/check', 2 * seconds)).answered
      rows.push({ checks, rssMB: Math.round((await gateway.usage()).rss / 1e6) })
    }
    gateway.stop()
    console.table(rows)
    return rows
  }
}
