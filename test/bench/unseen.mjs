/** Requests never seen before: the time of each decision on a new action, and the first of a new profile. Prints p50 and p99. */
import { fromPolicies } from '@meshguard/core'
import { agents, policiesOf } from './workload.mjs'

const rules = Number(process.argv[2])
const documents = policiesOf(rules, false)
const source = fromPolicies(documents)
const timed = (run) => {
  const started = process.hrtime.bigint()
  run()
  return Number(process.hrtime.bigint() - started)
}
const percentile = (sorted, share) => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))]

for (const agent of agents) source.decide({ action: 'read:warm-up', agent, traceId: 'trace-0001' }, 0)
for (let i = 0; i < 20_000; i++)
  source.decide({ action: `read:warm-up${i}`, agent: agents[i % 1000], traceId: 'trace-0001' }, 0)
const unseen = Array.from({ length: 20_000 }, (_, i) => {
  const request = { action: `read:objects${i % rules}/new${i}`, agent: agents[i % 1000], traceId: 'trace-0001' }
  return timed(() => source.decide(request, 0))
}).sort((a, b) => a - b)

const profiles = Array.from({ length: 7 }, () => {
  const fresh = fromPolicies(documents)
  fresh.decide({ action: 'read:x', agent: { id: 'agent_0', trustTier: 'verified', tags: [] }, traceId: 'trace-0001' }, 0)
  return timed(() =>
    fresh.decide({ action: 'read:x', agent: { id: 'agent_1', trustTier: 'trusted', tags: ['sales'] }, traceId: 't' }, 0),
  )
}).sort((a, b) => a - b)

console.log(
  JSON.stringify({ ns: percentile(unseen, 0.5), p99: percentile(unseen, 0.99), firstOfProfileUs: profiles[3] / 1000 }),
)
