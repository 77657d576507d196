/**
 * For tests of applications that use a guard: no keys, no policy files, no waiting.
 *
 * @module
 */
import { AuthenticationError } from './errors.js'
import { createGuard, type Guard } from './guard.js'
import type { PolicyDocument } from './policy/policy.js'
import { fromPolicies, type PolicyInput } from './sources/from-policies.js'
import type { Agent, Answer, AuditEvent, DecisionEvent, DecisionRequest, DecisionSource, Mode } from './types.js'

/** A clock that stands still until it is moved. */
export interface TestClock {
  /** In ms since the epoch. */
  now(): number
  /** Moves it forward, or back with a negative number. */
  advance(ms: number): void
}

/**
 * Makes a clock for `time` conditions and rate limits.
 *
 * @param start In ms since the epoch. Default 2026-01-01T12:00:00Z, a Thursday.
 *
 * @example
 * ```ts
 * const clock = createTestClock()
 * const source = fromPolicies(policies)
 * source.decide({ action: 'read:contacts', agent, traceId: 'trace-0001' }, clock.now())
 * clock.advance(60_000)
 * ```
 */
export function createTestClock(start: number = Date.UTC(2026, 0, 1, 12)): TestClock {
  let at = start
  return {
    now: () => at,
    advance: (ms) => {
      at += ms
    },
  }
}

/** An agent and a token that test guards take for its own. */
export interface TestAgent {
  readonly agent: Agent
  /** For `Authorization: Bearer`. Good for guards of {@link createTestGuard} and for nothing else. */
  readonly token: string
}

const minted = new Map<string, Agent>()

/**
 * Makes an agent with a token, at once and without keys. Default: `agent_test`, verified, without tags.
 *
 * @example
 * ```ts
 * const guard = createTestGuard({ allow: ['read:*'] })
 * const { token } = mintTestAgent({ trustTier: 'trusted', tags: ['sales'] })
 * await guard.check('read:contacts', { token })
 * ```
 */
export function mintTestAgent(agent: Partial<Agent> = {}): TestAgent {
  const complete = Object.freeze({ id: 'agent_test', name: 'test', trustTier: 'verified', tags: [], ...agent })
  const token = `test-token-${minted.size + 1}`
  minted.set(token, complete)
  return { agent: complete, token }
}

/** Options of {@link createTestGuard}. */
export interface TestGuardOptions {
  /** Patterns that are allowed. Default none. */
  readonly allow?: readonly string[] | undefined
  /** Patterns that are denied, whatever is allowed. Default none. */
  readonly deny?: readonly string[] | undefined
  /** Decide by these instead of `allow` and `deny`: for rules with conditions, times and rate limits. */
  readonly policies?: PolicyInput | undefined
  /** Any token stands for this agent. Without it only tokens of {@link mintTestAgent} are good. */
  readonly as?: Agent | undefined
  readonly mode?: Mode | undefined
  /** The time of `time` conditions and rate limits. Default: the machine's. */
  readonly clock?: TestClock | undefined
}

/** A guard that remembers its decisions. */
export interface TestGuard extends Guard {
  /** Every decision so far, in order. */
  readonly decisions: readonly DecisionEvent[]
}

/**
 * Makes a guard from two lists of patterns, with the real evaluator behind it.
 *
 * @example
 * ```ts
 * const guard = createTestGuard({ allow: ['read:*'], deny: ['read:secrets'] })
 * const { token } = mintTestAgent({ trustTier: 'trusted' })
 * const decision = await guard.check('read:contacts', { token }) // allowed
 * ```
 */
export function createTestGuard(options: TestGuardOptions = {}): TestGuard {
  const { allow = [], deny = [], policies = policyOf(allow, deny), as, mode, clock } = options
  const decisions: DecisionEvent[] = []
  const guard = createGuard({
    source: onClock(fromPolicies(policies), clock),
    authenticate: (token) => agentOf(token, as),
    mode,
    audit: (event: AuditEvent) => {
      if (event.type === 'decision') decisions.push(event)
    },
  })
  return Object.freeze({ ...guard, decisions })
}

function policyOf(allow: readonly string[], deny: readonly string[]): PolicyDocument[] {
  const rules: PolicyDocument['rules'][number][] = []
  if (deny.length > 0) rules.push({ name: 'deny', effect: 'deny', actions: [...deny] })
  if (allow.length > 0) rules.push({ name: 'allow', effect: 'allow', actions: [...allow] })
  return rules.length === 0 ? [] : [{ name: 'test', rules }]
}

function agentOf(token: string, as: Agent | undefined): Agent {
  const agent = minted.get(token) ?? as
  if (agent === undefined) throw new AuthenticationError('The token was not made by mintTestAgent')
  return agent
}

function onClock(source: DecisionSource, clock: TestClock | undefined): DecisionSource {
  return clock === undefined ? source : { ...source, decide: (request) => source.decide(request, clock.now()) }
}

/** A source that remembers what it was asked. */
export interface RecordingSource extends DecisionSource {
  /** Every question so far, in order. */
  readonly requests: readonly DecisionRequest[]
}

/**
 * Records what a source is asked.
 *
 * @param inner What answers: another source, or one answer for everything. Default: everything is allowed.
 *
 * @example
 * ```ts
 * const source = recordingSource()
 * await createGuard({ source }).check('read:contacts', { agent })
 * assert.equal(source.requests[0]?.action, 'read:contacts')
 * ```
 */
export function recordingSource(inner: DecisionSource | Answer = { allowed: true, code: 'allowed' }): RecordingSource {
  const requests: DecisionRequest[] = []
  return {
    name: 'recording',
    requests,
    decide(request, now) {
      requests.push(request)
      return 'decide' in inner ? inner.decide(request, now) : inner
    },
  }
}
