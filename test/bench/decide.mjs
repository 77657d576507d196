/** One case of the decision benchmark in a process of its own: prints nanoseconds a decision and the heap in use. */
import { createMongoAbility } from '@casl/ability'
import { createGuard, fromPolicies } from '@meshguard/core'
import { agents, policiesOf, requestsOf } from './workload.mjs'

const [who, rulesText, kind, conditionsText] = process.argv.slice(2)
const rules = Number(rulesText)
const conditions = conditionsText === 'conditions'
const TIERS = ['unverified', 'verified', 'trusted', 'privileged']

const deciders = {
  /** What is asked: the guard, with remembered agents and actions. */
  meshguard() {
    const guard = createGuard({ source: fromPolicies(policiesOf(rules, conditions)) })
    return (request) => guard.decide(request).allowed
  },
  /** The least that a memory can cost: two look-ups and a new object. */
  lookup(requests) {
    const byProfile = new Map()
    const memory = new WeakMap()
    for (const agent of agents) {
      const profile = `${agent.trustTier} ${agent.tags}`
      if (!byProfile.has(profile)) byProfile.set(profile, new Map())
      memory.set(agent, byProfile.get(profile))
    }
    for (const { agent, action } of requests)
      memory.get(agent).set(action, { allowed: action.length % 2 === 0, policy: 'p', rule: 'r' })
    return (request) => {
      const known = memory.get(request.agent).get(request.action)
      return {
        allowed: known.allowed,
        policy: known.policy,
        rule: known.rule,
        action: request.action,
        traceId: request.traceId,
      }.allowed
    }
  },
  /** Every rule of every policy, one after the other. */
  scan() {
    const policies = policiesOf(rules, conditions)
    return (request) => scan(policies, request)
  },
  /** An ability for each profile, as CASL's own documentation advises. */
  casl() {
    const abilities = new Map()
    const abilityOf = (agent) => {
      const profile = `${agent.trustTier} ${agent.tags}`
      if (!abilities.has(profile)) abilities.set(profile, caslAbility(agent))
      return abilities.get(profile)
    }
    return ({ agent, action }) =>
      abilityOf(agent).can(action.slice(0, action.indexOf(':')), action.slice(action.indexOf(':') + 1))
  },
}

function applies({ appliesTo }, agent) {
  if (appliesTo.minTrustTier !== undefined) return TIERS.indexOf(agent.trustTier) >= TIERS.indexOf(appliesTo.minTrustTier)
  return appliesTo.tags.some((tag) => agent.tags.includes(tag))
}

function covers(pattern, action) {
  return pattern.endsWith('*') ? action.startsWith(pattern.slice(0, -1)) : pattern === action
}

function scan(policies, { agent, action, context, resource }) {
  let allowed = false
  for (const policy of policies) {
    if (!applies(policy, agent)) continue
    const rule = policy.rules.find(
      (one) =>
        one.actions.some((pattern) => covers(pattern, action)) &&
        (one.conditions === undefined || (context.amount <= 100 && resource.startsWith('objects'))),
    )
    if (rule?.effect === 'deny') return false
    if (rule !== undefined) allowed = true
  }
  return allowed
}

/** CASL has no patterns: `prefix/*` becomes the subject `prefix`, which favours it. */
function caslAbility(agent) {
  const own = policiesOf(rules, false).filter((policy) => applies(policy, agent))
  return createMongoAbility(
    own.flatMap((policy) =>
      policy.rules.map(({ actions: [pattern], effect }) => ({
        action: pattern.slice(0, pattern.indexOf(':')),
        subject: pattern.slice(pattern.indexOf(':') + 1).replace('/*', ''),
        inverted: effect === 'deny',
      })),
    ),
  )
}

const requests = requestsOf(rules, kind)
globalThis.gc()
const before = process.memoryUsage().heapUsed
const decide = deciders[who](requests)
const slow = who === 'scan' && rules >= 1000
const calls = slow ? requests.slice(0, 4096) : requests

let allowed = 0
const round = () => {
  const started = process.hrtime.bigint()
  for (let i = 0; i < calls.length; i++) if (decide(calls[i])) allowed++
  return Number(process.hrtime.bigint() - started) / calls.length
}

const warmUntil = Date.now() + 1000
while (Date.now() < warmUntil) round()
const rounds = []
const until = Date.now() + 1000
while (rounds.length < 5 || Date.now() < until) rounds.push(round())
rounds.sort((a, b) => a - b)
globalThis.gc()
const heapMB = (process.memoryUsage().heapUsed - before) / 1e6
console.log(JSON.stringify({ ns: rounds[rounds.length >> 1], heapMB, allowed: allowed > 0 }))
