import { doesCheckActions } from './action.js'
import { isAgent } from './agent.js'
import { type AuditTarget, toSink } from './audit.js'
import { printable } from './audit-line.js'
import { conclude, type DecideOptions, type Parts } from './conclude.js'
import { decide, decideMany, identify, refuse } from './decide.js'
import { errorOf, messageOf } from './errors.js'
import { assertFunction, assertMs, assertOneOf, assertOptions } from './options.js'
import { assertPattern } from './policy/pattern.js'
import { beforeDeadline, isPromise } from './settle.js'
import { isTraceId, newTraceId } from './trace.js'
import type {
  Agent,
  Authenticate,
  Code,
  Decision,
  DecisionRequest,
  DecisionSource,
  Explanation,
  Mode,
  OutcomeEvent,
  RequestLife,
} from './types.js'

/** Options of {@link createGuard}. */
export interface GuardOptions {
  /** Who answers: `fromPolicies(…)`, or your own. */
  readonly source: DecisionSource
  /** Turns a bearer token into an agent: `agentTokens({…})`. Not needed where agents are handed in, or the source authenticates. */
  readonly authenticate?: Authenticate | undefined
  /** Default `'enforce'`. `'audit'` records what the policies say and lets the request go on; `'bypass'` evaluates nothing. */
  readonly mode?: Mode | undefined
  /**
   * What happens when the source cannot be *reached*. Default `'deny'` (503). With `{ allow }` actions that a pattern covers
   * pass, for agents whose token this guard verified itself; a source that throws, hangs or answers garbage opens nothing.
   */
  readonly onUnavailable?: 'deny' | { readonly allow: readonly string[] } | undefined
  /** From credentials to answer, callbacks of the application included; in milliseconds. Default 1000. */
  readonly timeoutMs?: number | undefined
  /** Told of every decision: a sink, or a function of an event. */
  readonly audit?: AuditTarget | undefined
}

/** What is asked besides the action. */
export interface CheckOptions {
  /** Who calls, proved by the application itself. */
  readonly agent?: Agent | undefined
  /** Or the bearer token of who calls. */
  readonly token?: string | undefined
  /** To what. Readable by conditions as `resource`. */
  readonly resource?: string | undefined
  /** The circumstances. Readable by conditions as `context.<key>`. */
  readonly context?: Readonly<Record<string, unknown>> | undefined
  /** 8 to 128 letters, digits and `._:-`; otherwise a UUID is made. */
  readonly traceId?: string | undefined
  /** Aborted when nobody waits for the answer any more: `unavailable`. */
  readonly signal?: AbortSignal | undefined
  /** On Workers: `(promise) => ctx.waitUntil(promise)`, so that the audit is written after the answer. Adapters do it by themselves. */
  readonly waitUntil?: ((promise: Promise<unknown>) => void) | undefined
}

/** One of many questions. */
export interface Check {
  readonly action: string
  readonly resource?: string | undefined
  readonly context?: Readonly<Record<string, unknown>> | undefined
}

/** Asks and enforces. Made by {@link createGuard}. */
export interface Guard {
  readonly mode: Mode
  readonly timeoutMs: number
  /** The decision; never throws for a deny. */
  check(action: string, options?: CheckOptions): Promise<Decision>
  /**
   * The decision if it allows.
   *
   * @throws PolicyDeniedError, RateLimitError, AuthenticationError, UnavailableError, or ValidationError for a string that is
   * not an action.
   */
  enforce(action: string, options?: CheckOptions): Promise<Decision>
  /** Enforces, runs the function, tells the sink how it ended, and returns what the function returned. */
  govern<T>(action: string, work: (decision: Decision) => T | Promise<T>, options?: CheckOptions): Promise<T>
  /** The decisions, in order, on one policy version where the source can do that. */
  checkMany(checks: readonly Check[], options?: Omit<CheckOptions, 'resource' | 'context'>): Promise<Decision[]>
  /** The decision with every policy and rule looked at. Consumes no rate limit and is not recorded. */
  explain(action: string, options?: CheckOptions): Promise<Explanation>
  /**
   * The fast path, which the adapters use: synchronous where the source and a remembered token are. It trusts its caller that
   * `agent` and `traceId` are well formed; a trace ID that a client chose must have been looked at, as it is echoed.
   */
  decide(request: DecisionRequest, options?: DecideOptions): Decision | Promise<Decision>
  /** Verifies a token as a decision would. `undefined` when the source does that itself. */
  readonly authenticate: Authenticate | undefined
  /** Records a denial that no source was asked about: an unmapped route, a malformed request, a missing credential. */
  refuse(request: DecisionRequest, code: Code, reason: string, options?: DecideOptions): Decision
  /** Closes the source and flushes the sink. */
  close(): Promise<void>
  [Symbol.asyncDispose](): Promise<void>
}

const OPTIONS = ['source', 'authenticate', 'mode', 'onUnavailable', 'timeoutMs', 'audit']
const MODES: readonly Mode[] = ['enforce', 'audit', 'bypass']

/**
 * Makes a guard. Options are checked and copied here; a wrong one is a `TypeError` that names it.
 *
 * @example
 * ```ts
 * const guard = createGuard({
 *   source: fromPolicies(policies),
 *   authenticate: agentTokens({ publicKey }),
 *   audit: auditToConsole(),
 * })
 * const decision = await guard.check('read:contacts', { token })
 * ```
 */
export function createGuard(options: GuardOptions): Guard {
  const parts = readOptions(options)
  if (parts.mode === 'bypass') console.warn('MeshGuard is in bypass mode: no policy is evaluated. For development only.')

  const check = async (action: string, given: CheckOptions = {}): Promise<Decision> => {
    const request = toRequest(action, given)
    if (request.agent !== undefined && !isAgent(request.agent)) {
      return refuse(parts, { ...request, agent: undefined }, 'unauthenticated', 'The agent that was handed in is malformed')
    }
    return decide(parts, request)
  }
  const enforce = async (action: string, given?: CheckOptions): Promise<Decision> => {
    const decision = await check(action, given)
    if (!decision.allowed) throw errorOf(decision, given?.token !== undefined || given?.agent !== undefined)
    return decision
  }
  const close = async (): Promise<void> => {
    try {
      await parts.source.close?.()
    } finally {
      await parts.audit?.close?.()
    }
  }
  return Object.freeze({
    mode: parts.mode,
    timeoutMs: parts.timeoutMs,
    authenticate: parts.authenticate,
    check,
    enforce,
    govern: async <T>(action: string, work: (decision: Decision) => T | Promise<T>, given?: CheckOptions): Promise<T> => {
      if (typeof work !== 'function') throw new TypeError('guard.govern: expected a function after the action')
      return governed(parts, await enforce(action, given), work, given)
    },
    checkMany: (checks: readonly Check[], given?: CheckOptions) => checkMany(parts, checks, given ?? {}),
    explain: (action: string, given?: CheckOptions) => explain(parts, toRequest(action, given ?? {})),
    decide: (request: DecisionRequest, how?: DecideOptions) => decide(parts, request, how),
    refuse: (request: DecisionRequest, code: Code, reason: string, how?: DecideOptions) =>
      refuse(parts, request, code, reason, how),
    close,
    [Symbol.asyncDispose]: close,
  })
}

function readOptions(options: GuardOptions): Parts {
  assertOptions('createGuard', options, OPTIONS)
  const { source, authenticate, mode = 'enforce', onUnavailable = 'deny', timeoutMs = 1000, audit } = options
  if (typeof source?.decide !== 'function') {
    throw new TypeError('createGuard: option "source" is required: a decision source like fromPolicies(policies)')
  }
  assertFunction('createGuard', 'authenticate', authenticate)
  assertOneOf('createGuard', 'mode', mode, MODES)
  assertMs('createGuard', 'timeoutMs', timeoutMs)
  const failOpen = onUnavailable === 'deny' ? [] : readFailOpen(onUnavailable, authenticate)
  return Object.freeze({
    source,
    sourceChecksActions: doesCheckActions(source.decide),
    authenticate,
    mode,
    failOpen,
    timeoutMs,
    audit: audit === undefined ? undefined : toSink(audit),
  })
}

function readFailOpen(onUnavailable: { readonly allow: readonly string[] }, authenticate: unknown): readonly string[] {
  const patterns: unknown = onUnavailable?.allow
  if (!Array.isArray(patterns) || patterns.length === 0) {
    throw new TypeError('createGuard: option "onUnavailable" must be "deny" or { allow: [patterns] }')
  }
  assertOptions('createGuard: option "onUnavailable"', onUnavailable, ['allow'])
  if (authenticate === undefined) {
    throw new TypeError('createGuard: option "onUnavailable" may only allow where "authenticate" verifies tokens locally')
  }
  for (const pattern of patterns) assertPattern('createGuard: option "onUnavailable"', pattern)
  return Object.freeze([...patterns])
}

function toRequest(action: string, given: CheckOptions): DecisionRequest {
  if (typeof given !== 'object') throw new TypeError('guard: expected an object of options after the action, like { token }')
  const { agent, token, resource, context, traceId, signal, waitUntil } = given
  return { action, agent, token, resource, context, traceId: isTraceId(traceId) ? traceId : newTraceId(), signal, waitUntil }
}

async function governed<T>(
  parts: Parts,
  decision: Decision,
  work: (decision: Decision) => T | Promise<T>,
  given: CheckOptions = {},
): Promise<T> {
  const started = Date.now()
  let ok = false
  try {
    const value = await work(decision)
    ok = true
    return value
  } finally {
    recordOutcome(parts, { type: 'outcome', traceId: decision.traceId, ok, durationMs: Date.now() - started }, given)
  }
}

/** The work is done, or has failed, whatever the sink makes of it: what it throws is reported and changes nothing. */
function recordOutcome({ audit }: Parts, event: OutcomeEvent, request: RequestLife): void {
  try {
    audit?.record(event, request)
  } catch (error) {
    console.error(`MeshGuard: an outcome was not recorded: ${printable(messageOf(error, 'the sink failed'))}`)
  }
}

async function checkMany(parts: Parts, checks: readonly Check[], given: CheckOptions): Promise<Decision[]> {
  if (!Array.isArray(checks)) throw new TypeError('guard.checkMany: expected a list of { action }')
  const who = toRequest('', given)
  const deadline = Date.now() + parts.timeoutMs
  const { agent, refused } = await identify(parts, who, {}, deadline)
  const requests = checks.map(({ action, resource, context }) => ({ ...who, action, resource, context, agent }))
  if (refused !== undefined) return requests.map((request) => conclude(parts, request, refused, {}, Date.now()))
  const isVerified = who.agent === undefined && agent !== undefined
  return Promise.all(await decideMany(parts, requests, { verified: isVerified, deadline }))
}

async function explain(parts: Parts, request: DecisionRequest): Promise<Explanation> {
  const { source } = parts
  if (source.explain === undefined) throw new TypeError(`The source "${source.name}" cannot explain its decisions`)
  const silent: Parts = { ...parts, audit: undefined }
  const deadline = Date.now() + parts.timeoutMs
  const { agent, refused } = await identify(parts, request, {}, deadline)
  if (refused !== undefined) {
    throw errorOf(conclude(silent, request, refused, {}, Date.now()), request.token !== undefined)
  }
  const asked = { ...request, agent }
  const found = source.explain(asked, Date.now())
  const explained = isPromise(found) ? await beforeDeadline(found, deadline, 'The explanation', request.signal) : found
  const { name, authenticates } = source
  const decision = await decide({ ...silent, source: { name, authenticates, decide: () => explained } }, asked)
  return { ...decision, steps: explained.steps }
}
