/** Policies, agents and requests that every case of the decision benchmark shares. Deterministic. */

const VERBS = ['read', 'write', 'delete']
const TIERS = ['unverified', 'verified', 'trusted', 'privileged']
const TAGS = ['sales', 'support', 'research', 'operations']
const RULES_A_POLICY = 10
const AGENTS = 1000
const ACTIONS = 10_000
const REQUESTS = 1 << 16

/** A small generator of numbers in [0, 1), the same ones in every process (mulberry32). */
function randomFrom(seed) {
  let state = seed
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let t = Math.imul(state ^ (state >>> 15), 1 | state)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296
  }
}

/**
 * @param rules How many rules in all.
 * @param conditions Whether every rule looks at the request's context.
 */
export function policiesOf(rules, conditions) {
  const policies = []
  for (let first = 0; first < rules; first += RULES_A_POLICY) {
    const index = first / RULES_A_POLICY
    policies.push({
      name: `policy-${index}`,
      appliesTo: index % 2 === 0 ? { minTrustTier: TIERS[index % 4] } : { tags: [TAGS[index % 4]] },
      rules: Array.from({ length: Math.min(RULES_A_POLICY, rules - first) }, (_, i) => ruleOf(first + i, conditions)),
    })
  }
  return policies
}

function ruleOf(i, conditions) {
  const verb = VERBS[i % 3]
  return {
    name: `rule-${i}`,
    effect: i % 5 === 4 ? 'deny' : 'allow',
    actions: [i % 4 === 3 ? `${verb}:objects${i}/*` : `${verb}:objects${i}`],
    ...(conditions ? { conditions: { 'context.amount': { lte: 100 }, resource: { startsWith: 'objects' } } } : {}),
  }
}

export const agents = Array.from({ length: AGENTS }, (_, i) => ({
  id: `agent_${i}`,
  name: `agent ${i}`,
  trustTier: TIERS[i % 4],
  tags: [TAGS[(i >> 2) % 4]],
}))

/**
 * Requests of random agents: `hits` name what a rule covers, `misses` what none does.
 *
 * @param rules As for {@link policiesOf}.
 */
export function requestsOf(rules, kind) {
  const random = randomFrom(42)
  const actions = Array.from({ length: ACTIONS }, (_, i) => actionOf(i, rules, kind))
  return Array.from({ length: REQUESTS }, () => ({
    action: actions[Math.floor(random() * ACTIONS)],
    agent: agents[Math.floor(random() * AGENTS)],
    resource: 'objects/1',
    context: { amount: 42 },
    traceId: 'trace-0001',
  }))
}

function actionOf(i, rules, kind) {
  if (kind === 'misses') return `${VERBS[i % 3]}:nothing${i}`
  const rule = i % rules
  const name = `${VERBS[rule % 3]}:objects${rule}`
  return rule % 4 === 3 ? `${name}/${i}` : name
}
