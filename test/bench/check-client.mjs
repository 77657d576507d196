/**
 * One client of the check benchmark, some seconds long: so many checks at a time, each begun when one before it is answered.
 * Prints checks a second, p50 and p99 in ms, and the client's CPU time a check.
 *
 * `undici` is a bare `undici.request` of the same exchange that `meshguard` makes without a service token, `undici-service` and
 * `meshguard-service` with one.
 */
import { fromGateway } from '@meshguard/core'
import { request } from 'undici'

const [who, concurrencyText, secondsText, url, token, service] = process.argv.slice(2)
const concurrency = Number(concurrencyText)
const WARM_UP_MS = 1000
const question = { action: 'read:bench', token, traceId: 'trace-0001' }

async function bare(path, options) {
  const { statusCode, body } = await request(url + path, options)
  const answer = await body.json()
  return statusCode === 200 && (answer.allowed ?? answer.decisions?.[0]?.allowed)
}

const asks = {
  undici: () => {
    const headers = {
      authorization: `Bearer ${token}`,
      'x-meshguard-action': question.action,
      'x-meshguard-trace-id': question.traceId,
    }
    return () => bare('/proxy/check', { headers })
  },
  'undici-service': () => {
    const headers = { authorization: `Bearer ${service}`, 'content-type': 'application/json' }
    return () => bare('/v1/checks', { method: 'POST', headers, body: JSON.stringify({ checks: [question] }) })
  },
  meshguard: () => asking(undefined),
  'meshguard-service': () => asking(service),
}

function asking(serviceToken) {
  const source = fromGateway({ url, token: serviceToken, timeoutMs: 10_000 })
  return async () => (await source.decide(question)).allowed
}

const ask = asks[who]()
const times = []
async function worker(until, keep) {
  while (performance.now() < until) {
    const started = performance.now()
    if ((await ask()) !== true) throw new Error('A check was not allowed')
    if (keep) times.push(performance.now() - started)
  }
}
const load = (ms, keep) => Promise.all(Array.from({ length: concurrency }, () => worker(performance.now() + ms, keep)))

await load(WARM_UP_MS, false)
const cpu = process.cpuUsage()
const started = performance.now()
await load(Number(secondsText) * 1000, true)
const tookMs = performance.now() - started
const { user, system } = process.cpuUsage(cpu)
times.sort((a, b) => a - b)
const at = (share) => Number(times[Math.min(times.length - 1, Math.floor(times.length * share))].toFixed(3))
console.log(
  JSON.stringify({
    perSecond: Math.round((times.length / tookMs) * 1000),
    p50: at(0.5),
    p99: at(0.99),
    cpuUs: Number(((user + system) / times.length).toFixed(1)),
  }),
)
process.exit(0)
