/** Many guards on one gateway: what a policy change costs until the last one decides anew, and what a guard costs that has the bundle. */
import { fork } from 'node:child_process'
import autocannon from 'autocannon'

const here = (name) => new URL(name, import.meta.url).pathname
const CROWDS = [
  { guards: 1000, rules: 100 },
  { guards: 200, rules: 1000 },
  { guards: 20, rules: 10_000 },
]
const POLLS = 50
const median = (values) => [...values].sort((a, b) => a - b)[values.length >> 1]

/** @param onTwoCores Whether the gateway is pinned to the first core and the guards to the second. */
export async function benchGuards({ rounds, seconds, onTwoCores, say }) {
  const start = (core, script, args) => {
    const pinned = onTwoCores ? { execPath: 'taskset', execArgv: ['-c', core, process.execPath] } : {}
    const child = fork(here(script), args.map(String), pinned)
    const next = () =>
      new Promise((resolve, reject) => {
        const ended = () => reject(new Error(`${script} ended`))
        child.once('exit', ended)
        child.once('message', (message) => {
          child.off('exit', ended)
          resolve(message)
        })
      })
    const ask = (message) => {
      child.send(message)
      return next()
    }
    return { child, next, ask }
  }
  const rows = []
  for (const { guards, rules } of CROWDS) {
    const gateway = start('0', 'guards-server.mjs', [rules])
    const { url, token, adminToken } = await gateway.next()
    const crowd = start('1', 'guards-crowd.mjs', [guards, url, token, adminToken])
    const { startMs } = await crowd.next()
    const samples = []
    for (let round = 0; round < rounds; round++) {
      const before = await gateway.ask('usage')
      const times = await crowd.ask(round)
      const after = await gateway.ask('usage')
      samples.push({
        ...times,
        bundleKB: after.bundleBytes / 1000,
        sentMB: (after.bytes - before.bytes) / 1e6,
        gatewayCpuMs: after.cpuMs - before.cpuMs,
        signed: after.signed - before.signed,
      })
    }
    const polled = await poll(gateway, url, token, Number(seconds))
    crowd.child.send('end')
    await new Promise((resolve) => crowd.child.once('exit', resolve))
    gateway.child.disconnect()
    await new Promise((resolve) => gateway.child.once('exit', resolve))
    const figures = Object.keys(samples[0]).map((key) => [key, Number(median(samples.map((one) => one[key])).toFixed(1))])
    rows.push({ guards, rules, startMs: Math.round(startMs), ...Object.fromEntries(figures), ...polled })
    say(`guards: ${guards} with ${rules} rules done`)
  }
  console.table(rows)
  return rows
}

/** What asking for a bundle costs that one has already. */
async function poll(gateway, url, token, duration) {
  const headers = { authorization: `Bearer ${token}` }
  const { headers: answered } = await fetch(`${url}/v1/bundle`, { method: 'HEAD', headers })
  const before = await gateway.ask('usage')
  const polls = {
    url: `${url}/v1/bundle`,
    connections: POLLS,
    duration,
    headers: { ...headers, 'if-none-match': answered.get('etag') },
  }
  const result = await autocannon(polls)
  const after = await gateway.ask('usage')
  const asked = result['3xx']
  if (asked === 0 || result.non2xx !== asked) throw new Error(`Of ${result.non2xx} polls ${asked} were answered 304`)
  return {
    pollsPerSecond: Math.round(asked / result.duration),
    pollCpuUs: Number((((after.cpuMs - before.cpuMs) * 1000) / asked).toFixed(1)),
    pollBytes: Math.round((after.bytes - before.bytes) / asked),
  }
}
