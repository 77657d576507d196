import { isAction } from '../action.js'
import { isAgent, tierOf } from '../agent.js'
import type { Agent, Answer, DecisionRequest, Limiter } from '../types.js'
import { appliesTo, type Compiled, compile, type PlacedRule } from './compile.js'
import { decideDelegated } from './delegated.js'
import { evaluate, type Steps } from './evaluate.js'
import { type Plan, planFor } from './plan.js'
import type { Delegation, Policies } from './policy.js'

/** Decides by one set of policies. What it remembers is bounded and belongs to that set. */
export interface Evaluator {
  readonly policies: Policies
  /** Answers a request; a promise only where the limiter gives one. */
  decide(request: DecisionRequest, now: number, limiter: Limiter | undefined): Answer | Promise<Answer>
  /** How far the policies that apply to an agent let permissions be handed on; nothing for a malformed agent. */
  delegationOf(agent: Agent): readonly Delegation[]
}

/** Agents that the policies cannot tell apart: of one tier, with the same of the tags and ids that policies ask for. */
interface Profile {
  /** 1 at the number of each policy that applies. */
  readonly applies: Uint8Array
  /** The answer when no rule matches. */
  readonly otherwise: Answer
  /** What the policies that apply say of delegation. */
  readonly delegation: readonly Delegation[]
  /** The number of the plan, at the number of the action; 0 stands for none yet. */
  row: Uint16Array
}

/** What was seen of an agent object, so that one that was changed or reused since is noticed. */
interface Known {
  readonly id: string
  readonly trustTier: string
  readonly tags: readonly string[] | undefined
  /** Absent when the list cannot change (frozen, or none) or no policy asks for a tag. */
  readonly copied: readonly string[] | undefined
  readonly profile: Profile
}

interface Memory {
  /** Their profiles are all in `profiles`. */
  agents: WeakMap<Agent, Known>
  profiles: Map<string, Profile>
  /** The number of each action that was seen. */
  actions: Map<string, number>
  /** The number of each plan, by what it consists of. */
  planNumbers: Map<string, number>
  /** By the number of the plan: its answer if it is settled, otherwise what is left to do. */
  answers: (Answer | undefined)[]
  steps: (Steps | undefined)[]
  /** Bytes of rows and plans, about. */
  used: number
}

/** At most so many actions are remembered (of at most 256 characters each), then all are forgotten. */
const MAX_ACTIONS = 16_384
/** At most so many different plans: what 16 bits can number. Then all actions are forgotten. */
const MAX_PLANS = 65_536
/** At most so many bytes of rows and plans, then all actions are forgotten. */
const MAX_BYTES = 24 * 1024 * 1024
/** At most so many profiles, fewer where there are very many policies; then everything is forgotten. */
const MAX_PROFILES = 4096
const MIN_PROFILES = 64
const ROW_STEP = 512
const PLAN_BYTES = 128

/** Compiles a set of policies into something that decides. */
export function createEvaluator(policies: Policies): Evaluator {
  const compiled = compile(policies)
  const { answers } = compiled
  const memory = createMemory()
  const evaluator: Evaluator = {
    policies,
    decide(request, now, limiter) {
      const { agent, action, delegation } = request
      if (delegation !== undefined) return decideDelegated(evaluator, request, delegation, now, limiter)
      let known = agent === undefined ? undefined : memory.agents.get(agent)
      if (known === undefined || agent === undefined || !isUnchanged(known, agent)) {
        known = learnAgent(memory, compiled, agent)
        if (known === undefined) return answers.unauthenticated
      }
      const { profile } = known
      const at = memory.actions.get(action)
      let plan = at !== undefined && at < profile.row.length ? (profile.row[at] as number) : 0
      if (plan === 0) {
        if (!isAction(action)) return answers.invalidAction
        plan = learnAction(memory, compiled, profile, action)
      }
      const answer = memory.answers[plan]
      return answer ?? evaluate(memory.steps[plan] as Steps, profile.otherwise, request, now, limiter)
    },
    delegationOf: (agent) => learnAgent(memory, compiled, agent)?.profile.delegation ?? [],
  }
  return evaluator
}

function createMemory(): Memory {
  return { agents: new WeakMap(), profiles: new Map(), ...noActions() }
}

/** Number 0 stands for no plan. */
function noActions(): Pick<Memory, 'actions' | 'planNumbers' | 'answers' | 'steps' | 'used'> {
  return { actions: new Map(), planNumbers: new Map(), answers: [undefined], steps: [undefined], used: 0 }
}

function isUnchanged(known: Known, agent: Agent): boolean {
  const { tags } = agent
  if (known.id !== agent.id || known.trustTier !== agent.trustTier || known.tags !== tags) return false
  const { copied } = known
  if (copied === undefined || tags === undefined) return true
  if (tags.length !== copied.length) return false
  for (let i = 0; i < copied.length; i++) if (tags[i] !== copied[i]) return false
  return true
}

/** What is remembered of an agent is read once, since profiles are shared; `undefined` for something that is none. */
function learnAgent(memory: Memory, compiled: Compiled, agent: Agent | undefined): Known | undefined {
  if (typeof agent !== 'object' || agent === null) return undefined
  const { id, trustTier, tags } = agent
  const seen = { id, trustTier, tags: Array.isArray(tags) ? [...tags] : tags }
  if (!isAgent(seen)) return undefined
  const copied = compiled.tags.size === 0 || Object.isFrozen(tags) ? undefined : seen.tags
  const known: Known = { id, trustTier, tags, copied, profile: profileOf(memory, compiled, seen) }
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
  const profile = createProfile(compiled, agent)
  memory.profiles.set(key, profile)
  return profile
}

const NO_ROW = new Uint16Array(0)

function createProfile({ byName, answers }: Compiled, agent: Agent): Profile {
  const applies = new Uint8Array(byName.length)
  const delegation: Delegation[] = []
  let otherwise = answers.noPolicy
  for (const policy of byName) {
    if (!appliesTo(policy.appliesTo, agent)) continue
    applies[policy.number] = 1
    if (policy.delegation !== undefined) delegation.push(policy.delegation)
    if (policy.defaultEffect === 'deny') otherwise = answers.noRule
    else if (otherwise === answers.noPolicy) otherwise = answers.byDefault
  }
  return { applies, otherwise, delegation, row: NO_ROW }
}

/** Plans an action for a profile and remembers the plan; returns its number. */
function learnAction(memory: Memory, compiled: Compiled, profile: Profile, action: string): number {
  const plan = planFor(inOrder(compiled.index.find(action), profile))
  const isFull = memory.actions.size >= MAX_ACTIONS || memory.steps.length >= MAX_PLANS || memory.used > MAX_BYTES
  if (isFull) forgetActions(memory)
  const number = numberOf(memory, compiled, plan, profile.otherwise)
  const at = memory.actions.get(action) ?? memory.actions.size
  memory.actions.set(copyOf(action), at)
  if (at >= profile.row.length) lengthen(memory, profile, at)
  profile.row[at] = number
  return number
}

/** A text of its own: one that was cut out of a long one would keep that in memory. */
function copyOf(text: string): string {
  return JSON.parse(JSON.stringify(text))
}

/** Rules of policies that apply, by sequence, each once. */
function inOrder(found: PlacedRule[], { applies }: Profile): PlacedRule[] {
  const applying = found.filter((rule) => applies[rule.policy.number] === 1)
  if (applying.length < 2) return applying
  applying.sort((a, b) => a.sequence - b.sequence)
  return applying.filter((rule, i) => rule !== applying[i - 1])
}

function lengthen(memory: Memory, profile: Profile, at: number): void {
  const row = new Uint16Array(Math.ceil((at + 1) / ROW_STEP) * ROW_STEP)
  row.set(profile.row)
  memory.used += row.byteLength - profile.row.byteLength
  profile.row = row
}

/** Equal plans have one number, however many actions they are for. */
function numberOf(memory: Memory, compiled: Compiled, plan: Plan, otherwise: Answer): number {
  const key = keyOf(plan, otherwise)
  const same = memory.planNumbers.get(key)
  if (same !== undefined) return same
  const rules = plan.isSettled ? [] : plan.rules.map(compiled.ready)
  const [first] = plan.rules
  const answer = first === undefined ? otherwise : compiled.ready(first).answer
  const number = memory.answers.push(plan.isSettled ? answer : undefined) - 1
  memory.steps.push(plan.isSettled ? undefined : { rules, limits: plan.limits })
  memory.planNumbers.set(key, number)
  memory.used += PLAN_BYTES + 2 * key.length + 8 * (rules.length + plan.limits.length)
  return number
}

/** A plan that is settled by a rule is that rule; one without rules is the answer that no rule gives. */
function keyOf({ rules, limits, isSettled }: Plan, otherwise: Answer): string {
  if (isSettled) return rules[0] === undefined ? `${otherwise.code} ${otherwise.reason}` : `rule ${rules[0].sequence}`
  let key = ''
  for (const { sequence } of rules) key += `${sequence},`
  for (const { prefix } of limits) key += prefix
  return key
}

function forgetActions(memory: Memory): void {
  Object.assign(memory, noActions())
  for (const profile of memory.profiles.values()) profile.row = NO_ROW
}
