/** One case of the bundle benchmark in a process of its own: prints its figures as JSON. */
import { fork } from 'node:child_process'
import { once } from 'node:events'
import { createServer } from 'node:http'
import { auditToGateway, createGuard, fromBundle, fromPolicies, generateKeys } from '@meshguard/core'
import { signBundle } from '@meshguard/core/bundle'
import { policiesOf, requestsOf } from './workload.mjs'

const [kind, rulesText, agentsText, conditions] = process.argv.slice(2)
const [rules, agents] = [Number(rulesText), Number(agentsText)]
const [bundleKeys, tokenKeys] = [await generateKeys(), await generateKeys()]
const HOUR_MS = 3_600_000

/** Half of the agents are revoked, half have another tier than their tokens say. */
function stateOf(i) {
  return i % 2 === 0 ? { revoked: true } : { tier: 'verified', tags: ['sales'], gen: 1 }
}

async function sourceOf(policies, count) {
  const now = Date.now()
  const agents = Object.fromEntries(Array.from({ length: count }, (_, i) => [`known_${i}`, stateOf(i)]))
  const times = { issuedAt: new Date(now).toISOString(), expiresAt: new Date(now + HOUR_MS).toISOString() }
  const sign = (version) =>
    signBundle({ version, ...times, policies, agents, delegations: [], jwks: tokenKeys.jwks }, { key: bundleKeys.privateKey })
  const bundles = await Promise.all([1, 2, 3, 4, 5, 6, 7].map(sign))
  return {
    source: fromBundle({ load: () => bundles.shift(), publicKeys: [bundleKeys.publicKey], onReload: () => {} }),
    bundles,
  }
}

/** Nanoseconds of CPU time of one call, by turns in one process, so that neither has the better minute. */
function compare(calls, functions) {
  const rounds = functions.map(() => [])
  const until = Date.now() + 4000
  while (Date.now() < until || rounds[0].length < 20) {
    for (const [i, decide] of functions.entries()) {
      const started = process.cpuUsage()
      for (const call of calls) decide(call)
      rounds[i].push((1000 * usSince(started)) / calls.length)
    }
  }
  return rounds.map((one) => sorted(one.slice(one.length >> 2))).map((one) => one[one.length >> 1])
}

/** The median of the longest hold-ups. */
const heldUp = (holdUps) => ({
  heldUpMs: sorted(holdUps.map(({ wallMs }) => wallMs))[1],
  heldUpCpuMs: sorted(holdUps.map(({ cpuMs }) => cpuMs))[1],
})

const sorted = (values) => values.toSorted((a, b) => a - b)

const cases = {
  async decide() {
    const policies = policiesOf(rules, false)
    const { source } = await sourceOf(policies, agents)
    await source.refresh()
    const guards = [createGuard({ source: fromPolicies(policies) }), createGuard({ source })]
    const [policiesNs, bundleNs] = compare(
      requestsOf(rules, 'hits'),
      guards.map((guard) => (request) => guard.decide(request).allowed),
    )
    return { policiesNs, bundleNs, ofPolicies: policiesNs / bundleNs }
  },
  /**
   * From the bundle's text until it is decided by: the first, then three for the time, then three for how long they hold the
   * event loop up, as watching it takes CPU time too. Three count by their median.
   */
  async apply() {
    const { source, bundles } = await sourceOf(policiesOf(rules, conditions === 'conditions'), agents)
    const megabytes = bundles[0].length / 1e6
    const [took, used, blocked] = [[], [], []]
    while (bundles.length > 3) {
      const [started, before] = [performance.now(), process.cpuUsage()]
      await source.refresh()
      took.push(performance.now() - started)
      used.push(usSince(before) / 1000)
    }
    while (bundles.length > 0) {
      const watch = watchLoop()
      await source.refresh()
      await new Promise((resolve) => setTimeout(resolve, 5))
      blocked.push(watch.end())
    }
    const [firstMs, ...others] = took
    return {
      megabytes,
      firstMs,
      applyMs: sorted(others)[1],
      cpuMs: sorted(used.slice(1))[1],
      ...heldUp(blocked),
    }
  },
  /**
   * CPU time of this process for decisions that are shipped to a server in another one, until the last is taken, less that of
   * decisions that are not; and how much of it is in `record`, so within a decision. All at once, and as a server makes them.
   */
  async ship() {
    const server = fork(new URL(import.meta.url).pathname, ['server'])
    const [port] = await once(server, 'message')
    const requests = requestsOf(100, 'hits')
    const source = fromPolicies(policiesOf(100, false))
    const bare = createGuard({ source })
    const figures = { bareUs: [], recordUs: [], shipUs: [], spreadUs: [] }
    for (let round = 0; round < 12; round++) {
      const [sink, spread] = [sinkTo(port), sinkTo(port)]
      const guard = createGuard({ source, audit: sink })
      figures.bareUs.push(await cpuOf(requests, bare))
      const started = process.cpuUsage()
      figures.recordUs.push(await cpuOf(requests, guard))
      await sink.close()
      figures.shipUs.push(usSince(started) / requests.length)
      const bareSpreadUs = await cpuSpread(requests, bare)
      figures.spreadUs.push((await cpuSpread(requests, createGuard({ source, audit: spread }))) - bareSpreadUs)
      await spread.close()
      if ([sink, spread].some(({ dropped }) => dropped.allowed + dropped.denied > 0)) throw new Error('Decisions were dropped')
    }
    server.disconnect()
    const [bareUs, recordUs, shipUs, spreadUs] = Object.values(figures).map((one) => sorted(one.slice(2))[5])
    return { bareUs, recordAddsUs: recordUs - bareUs, shippingAddsUs: shipUs - bareUs, atFiveAMsUs: spreadUs }
  },
  async server() {
    const answer = (response) => response.writeHead(202, { 'content-type': 'application/json' }).end('{"accepted":1}')
    const server = createServer((request, response) => request.resume().on('end', () => answer(response)))
    server.listen(0, '127.0.0.1', () => process.send(server.address().port))
    process.on('disconnect', () => process.exit())
    await once(process, 'disconnect')
  },
}

function sinkTo(port) {
  return auditToGateway({ url: `http://127.0.0.1:${port}`, token: 'msvc_bench', capacity: 200_000 })
}

/** At five decisions a millisecond, for 300 ms. */
async function cpuSpread(requests, guard) {
  const [started, used] = [performance.now(), process.cpuUsage()]
  let made = 0
  for (let ms = 0; ms < 300; ms = performance.now() - started) {
    for (const due = Math.floor(5 * ms); made < due; made++) guard.decide(requests[made])
    await new Promise((resolve) => setTimeout(resolve, 1))
  }
  return usSince(used) / made
}

async function cpuOf(requests, guard) {
  const started = process.cpuUsage()
  for (const request of requests) guard.decide(request)
  return usSince(started) / requests.length
}

function usSince(started) {
  const { user, system } = process.cpuUsage(started)
  return user + system
}

/** How long the event loop was held up at most: by the clock, and in CPU time, which other processes do not lengthen. */
function watchLoop() {
  let [last, used, wallMs, cpuMs, isOn] = [performance.now(), process.cpuUsage(), 0, 0, true]
  const tick = () => {
    const now = performance.now()
    wallMs = Math.max(wallMs, now - last)
    cpuMs = Math.max(cpuMs, Math.min(now - last, usSince(used) / 1000))
    last = now
    used = process.cpuUsage()
    if (isOn) setImmediate(tick)
  }
  setImmediate(tick)
  return {
    end() {
      isOn = false
      return { wallMs, cpuMs }
    },
  }
}

console.log(JSON.stringify(await cases[kind]()))
