import { isAction } from '../action.js'
import { isAgent, tierOf } from '../agent.js'
import type { Agent, Answer, DecisionRequest, Limiter } from '../types.js'
import { appliesTo, type Compiled, type CompiledRule, compile } from './compile.js'
import { evaluate } from './evaluate.js'
import { type Plan, planFor } from './plan.js'
import type { Policies } from './policy.js'

/** Decides by one set of policies. What it remembers is bounded and belongs to that set. */
export interface Evaluator {
  readonly policies: Policies
  /** Answers a request; a promise only where the limiter gives one. */
  decide(request: DecisionRequest, now: number, limiter: Limiter | undefined): Answer | Promise<Answer>
}

/** Agents that the policies cannot tell apart: of one tier, with the same of the tags and ids that policies ask for. */
interface Profile {
  readonly number: number
  /** 1 at the number of each policy that applies. */
  readonly applies: Uint8Array
  /** The answer when no rule matches. */
  readonly otherwise: Answer
}

/** What was seen of an agent object, so that one that was changed or reused since is noticed. */
interface Known {
  readonly id: string
  readonly trustTier: string
  readonly tags: readonly string[] | undefined
  readonly copied: readonly string[]
  readonly profile: Profile
}

/** An action that was seen. `plans[row[profile.number]]` is its plan for a profile; 0 stands for none yet. */
interface Seen {
  readonly plans: (Plan | undefined)[]
  row: Uint8Array
}

interface Memory {
  agents: WeakMap<Agent, Known>
  profiles: Map<string, Profile>
  actions: Map<string, Seen>
  plans: Map<string, Plan>
  /** Bytes of rows and plans, about. */
  used: number
}

/** At most so many actions are remembered (with keys of at most 256 characters), then all are forgotten. */
const MAX_ACTIONS = 16_384
/** At most so many bytes of rows and plans, then all actions are forgotten. */
const MAX_BYTES = 16 * 1024 * 1024
/** At most so many profiles are remembered, fewer where the policies are very many; then everything is forgotten. */
const MAX_PROFILES = 4096
const MIN_PROFILES = 64
/** Different plans of one action: what a byte can tell apart. Further ones are made anew for every request. */
const MAX_PLANS = 256
const MIN_ROW = 8
const PLAN_BYTES = 128

/** Compiles a set of policies into something that decides. */
export function createEvaluator(policies: Policies): Evaluator {
  const compiled = compile(policies)
  const { answers } = compiled
  const memory = createMemory()
  return {
    policies,
    decide(request, now, limiter) {
      const { agent, action } = request
      let known = agent === undefined ? undefined : memory.agents.get(agent)
      if (known === undefined || agent === undefined || !isUnchanged(known, agent)) {
        if (!isAgent(agent)) return answers.unauthenticated
        known = learnAgent(memory, compiled, agent)
      }
      const { profile } = known
      const seen = memory.actions.get(action)
      let plan: Plan | undefined
      if (seen !== undefined && profile.number < seen.row.length) plan = seen.plans[seen.row[profile.number] as number]
      if (plan === undefined) {
        if (!isAction(action)) return answers.invalidAction
        plan = learnAction(memory, compiled, profile, action)
      }
      return plan.answer ?? evaluate(plan, profile.otherwise, request, now, limiter)
    },
  }
}

function createMemory(): Memory {
  return { agents: new WeakMap(), profiles: new Map(), actions: new Map(), plans: new Map(), used: 0 }
}

function isUnchanged(known: Known, agent: Agent): boolean {
  const { tags } = agent
  if (known.id !== agent.id || known.trustTier !== agent.trustTier || known.tags !== tags) return false
  if (tags === undefined) return true
  const { copied } = known
  if (tags.length !== copied.length) return false
  for (let i = 0; i < copied.length; i++) if (tags[i] !== copied[i]) return false
  return true
}

function learnAgent(memory: Memory, compiled: Compiled, agent: Agent): Known {
  const known: Known = {
    id: agent.id,
    trustTier: agent.trustTier,
    tags: agent.tags,
    copied: agent.tags?.slice() ?? [],
    profile: profileOf(memory, compiled, agent),
  }
  memory.agents.set(agent, known)
  return known
}

function profileOf(memory: Memory, compiled: Compiled, agent: Agent): Profile {
  const tags = new Set(agent.tags?.filter((tag) => compiled.tags.has(tag)))
  const key = JSON.stringify([tierOf(agent), compiled.agentIds.has(agent.id) && agent.id, ...[...tags].sort()])
  const remembered = memory.profiles.get(key)
  if (remembered !== undefined) return remembered
  const most = Math.min(MAX_PROFILES, Math.max(MIN_PROFILES, Math.floor(MAX_BYTES / (compiled.byName.length + 1))))
  if (memory.profiles.size >= most) Object.assign(memory, createMemory())
  const profile = createProfile(memory.profiles.size, compiled, agent)
  memory.profiles.set(key, profile)
  return profile
}

function createProfile(number: number, { byName, answers }: Compiled, agent: Agent): Profile {
  const applies = new Uint8Array(byName.length)
  let otherwise = answers.noPolicy
  for (const policy of byName) {
    if (!appliesTo(policy.appliesTo, agent)) continue
    applies[policy.number] = 1
    if (policy.defaultEffect === 'deny') otherwise = answers.noRule
    else if (otherwise === answers.noPolicy) otherwise = answers.byDefault
  }
  return { number, applies, otherwise }
}

function learnAction(memory: Memory, { index }: Compiled, profile: Profile, action: string): Plan {
  const plan = shared(memory, planFor(inOrder(index.find(action), profile), profile.otherwise))
  if (memory.actions.size >= MAX_ACTIONS || memory.used > MAX_BYTES) forgetActions(memory)
  let seen = memory.actions.get(action)
  if (seen === undefined) {
    seen = { plans: [undefined], row: new Uint8Array(MIN_ROW) }
    memory.actions.set(action, seen)
  }
  note(memory, seen, profile.number, plan)
  return plan
}

/** Rules of policies that apply, by sequence, each once. */
function inOrder(found: CompiledRule[], { applies }: Profile): CompiledRule[] {
  const applying = found.filter((rule) => applies[rule.policy.number] === 1)
  if (applying.length < 2) return applying
  applying.sort((a, b) => a.sequence - b.sequence)
  return applying.filter((rule, i) => rule !== applying[i - 1])
}

function note(memory: Memory, seen: Seen, profile: number, plan: Plan): void {
  const at = seen.plans.indexOf(plan)
  if (at < 0 && seen.plans.length === MAX_PLANS) return
  if (profile >= seen.row.length) {
    const row = new Uint8Array(2 ** Math.ceil(Math.log2(profile + 1)))
    row.set(seen.row)
    memory.used += row.length - seen.row.length
    seen.row = row
  }
  seen.row[profile] = at < 0 ? seen.plans.push(plan) - 1 : at
}

/** Equal plans are kept once, however many actions have them. */
function shared(memory: Memory, plan: Plan): Plan {
  const { answer, rules, limits } = plan
  const settled =
    answer === undefined ? '' : `${answer.code} ${answer.policy === undefined ? answer.reason : rules[0]?.sequence}`
  const key = settled || JSON.stringify([rules.map((rule) => rule.sequence), limits.map((limit) => limit.prefix)])
  const same = memory.plans.get(key)
  if (same !== undefined) return same
  const kept = settled === '' ? plan : { answer, rules: [], limits: [] }
  memory.plans.set(key, kept)
  memory.used += PLAN_BYTES + 2 * key.length + 8 * kept.rules.length
  return kept
}

function forgetActions(memory: Memory): void {
  memory.actions = new Map()
  memory.plans = new Map()
  memory.used = 0
}
