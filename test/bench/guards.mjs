/**
 * Many guards on one gateway: what a policy change costs until the last one decides anew, what a guard costs that has the bundle,
 * what its decisions cost that are shipped, and how many a guardian answers.
 */
import { fork } from 'node:child_process'
import autocannon from 'autocannon'

const here = (name) => new URL(name, import.meta.url).pathname
const CROWDS = [
  { guards: 1000, whole: 1000, rules: 100 },
  { guards: 1000, whole: 1000, rules: 1000 },
  // A thousand times 10 000 rules would be a minute of one core and 6 GB: the others only fetch and verify the bundle.
  { guards: 1000, whole: 20, rules: 10_000 },
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
  for (const { guards, whole, rules } of CROWDS) {
    const gateway = start('0', 'guards-server.mjs', [rules])
    const { url, token, adminToken } = await gateway.next()
    const crowd = start('1', 'guards-crowd.mjs', [guards, whole, url, token, adminToken])
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
    rows.push({ guards, whole, rules, startMs: Math.round(startMs), ...Object.fromEntries(figures), ...polled })
    say(`guards: ${guards} with ${rules} rules done`)
  }
  console.table(rows)
  const gateway = start('0', 'guards-server.mjs', [1000])
  const { url, token, agentToken } = await gateway.next()
  const guardian = start('0', 'guards-guardian.mjs', [url, token])
  const { url: guardianUrl } = await guardian.next()
  const others = {
    guardian: await enforce(guardian, guardianUrl, agentToken, Number(seconds)),
    shipping: await ship(gateway, url, token, Number(seconds)),
  }
  for (const { child } of [guardian, gateway]) {
    child.disconnect()
    await new Promise((resolve) => child.once('exit', resolve))
  }
  console.table(others)
  return { rows, ...others }
}

const JSON_TYPE = { 'content-type': 'application/json' }

/** What a guardian answers, with a token that it remembers and 1 000 rules. */
async function enforce(guardian, url, token, duration) {
  const body = JSON.stringify({ action: 'read:objects/7', resource: 'objects/7' })
  const asked = { url: `${url}/enforce`, method: 'POST', headers: { ...JSON_TYPE, authorization: `Bearer ${token}` }, body }
  await autocannon({ ...asked, connections: POLLS, duration: 1 })
  const before = await guardian.ask('usage')
  const result = await autocannon({ ...asked, connections: POLLS, duration })
  const after = await guardian.ask('usage')
  if (result.non2xx > 0 || result['2xx'] === 0) throw new Error(`${result.non2xx} questions were refused`)
  return {
    perSecond: Math.round(result['2xx'] / result.duration),
    cpuUs: Number((((after.cpuMs - before.cpuMs) * 1000) / result['2xx']).toFixed(1)),
    p50: result.latency.p50,
    p99: result.latency.p99,
  }
}

const BATCH = 1000
const SHIPPERS = 4

/** What the audit log takes that others have decided: batches as large as they may be, from four guards at a time. */
async function ship(gateway, url, token, duration) {
  let shipped = 0
  let sentBytes = 0
  const until = performance.now() + duration * 1000
  const entryOf = () => ({
    id: crypto.randomUUID(),
    timestamp: new Date().toISOString(),
    traceId: crypto.randomUUID(),
    agentId: 'agent_5f0c2a526f7d4b579a530c2f',
    agentName: 'scout',
    trustTier: 'verified',
    action: 'read:contacts',
    resource: 'contacts/42',
    decision: 'allow',
    code: 'allowed',
    policy: 'readers',
    rule: 'allow read:*',
    mode: 'enforce',
    source: 'bundle',
  })
  const shipper = async () => {
    while (performance.now() < until) {
      const body = JSON.stringify({ entries: Array.from({ length: BATCH }, entryOf) })
      const headers = { ...JSON_TYPE, authorization: `Bearer ${token}` }
      const answer = await fetch(`${url}/v1/audit`, { method: 'POST', headers, body })
      if (answer.status !== 202) throw new Error(`Entries were answered ${answer.status}: ${await answer.text()}`)
      await answer.arrayBuffer()
      shipped += BATCH
      sentBytes += body.length
    }
  }
  const before = await gateway.ask('usage')
  const startedAt = performance.now()
  await Promise.all(Array.from({ length: SHIPPERS }, shipper))
  const tookMs = performance.now() - startedAt
  const after = await gateway.ask('usage')
  return {
    perSecond: Math.round((shipped * 1000) / tookMs),
    cpuUs: Number((((after.cpuMs - before.cpuMs) * 1000) / shipped).toFixed(1)),
    sentBytes: Math.round(sentBytes / shipped),
    keptBytes: Math.round((after.databaseBytes - before.databaseBytes) / shipped),
  }
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
