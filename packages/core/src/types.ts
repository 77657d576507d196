/**
 * The vocabulary: who calls (agent), what is done (action), to what (resource), under which circumstances (context), and
 * the answer (decision). Everything a stranger implements (a source, a sink, a limiter) is an interface in this file.
 */

/** An action as it is written in code: `verb:object`. What else an action must be is checked when it is used. */
export type Action = `${string}:${string}`

/** How far an agent is trusted, lowest first: `unverified < verified < trusted < privileged`. */
export type TrustTier = 'unverified' | 'verified' | 'trusted' | 'privileged'

/** Who calls. Made from a verified token, or by your own login (`credentials` in the adapters). */
export interface Agent {
  /** Matches `^[A-Za-z0-9][A-Za-z0-9._:@-]{0,127}$`. */
  readonly id: string
  readonly name?: string | undefined
  /** One of the four tiers or an accepted spelling of one; anything else counts as `unverified`. */
  readonly trustTier: TrustTier | (string & {})
  readonly tags?: readonly string[] | undefined
  /** Readable by conditions as `agent.metadata.<key>`. */
  readonly metadata?: Readonly<Record<string, unknown>> | undefined
}

/** Why a decision is what it is. These strings are stable API. */
export type Code =
  | 'allowed'
  | 'denied'
  | 'no_match'
  | 'rate_limited'
  | 'unmapped'
  | 'unauthenticated'
  | 'unavailable'
  | 'invalid_action'
  | 'bypassed'

/** Whether decisions are enforced, only recorded, or not made at all. */
export type Mode = 'enforce' | 'audit' | 'bypass'

/** What a guard answers. */
export interface Decision {
  /** Whether the caller may go on. In audit mode `true` although `decision` is `'deny'`. */
  readonly allowed: boolean
  /** What the policies say. */
  readonly decision: 'allow' | 'deny'
  readonly action: string
  readonly resource?: string | undefined
  /** Of the agent that was verified; absent when none was. */
  readonly agentId?: string | undefined
  /** Why, for programs. */
  readonly code: Code
  /** The policy that decided; absent when none did. */
  readonly policy?: string | undefined
  /** The rule of that policy that decided. */
  readonly rule?: string | undefined
  /** For people. A rule's own `reason`, or a sentence that says why. */
  readonly reason?: string | undefined
  /** Seconds until the same request may be allowed; only with `rate_limited` and `unavailable`. */
  readonly retryAfter?: number | undefined
  /** The exhausted limit; only with `rate_limited`, and only where the limiter names it. */
  readonly limit?: Limit | undefined
  /** The caller's own trace ID if it is well formed, otherwise a new UUID. */
  readonly traceId: string
  /** Milliseconds since the epoch. */
  readonly timestamp: number
  /** Names the set of policies that decided; changes when any policy changes. */
  readonly policyVersion?: string | undefined
  /** `false` in audit mode: the decision was recorded, not enforced. */
  readonly enforced: boolean
  /** Set when the source could not be reached and `onUnavailable` let this action pass. */
  readonly failedOpen?: true | undefined
}

/** What is known of the HTTP request, for conditions (`request.method`, `request.route`, `request.ip`) and the audit log. */
export interface RequestInfo {
  /** The method of the route. `GET` for a HEAD request that its GET route answers. */
  readonly method: string
  /** The registered pattern, never the path of the request. */
  readonly route: string
  readonly ip?: string | undefined
}

/** One hop of a delegation: an agent that handed permissions on, and which. The next hop's agent, or the one that acts, has them. */
export interface DelegationHop {
  readonly from: Agent
  /** Patterns. */
  readonly actions: readonly string[]
}

/** One hop of a delegation as it is recorded. */
export interface ChainLink {
  /** The ID of the delegation; absent where the application proved it. */
  readonly delegation?: string | undefined
  /** Agents' IDs. */
  readonly from: string
  readonly to: string
  /** Patterns. */
  readonly actions: readonly string[]
}

/** What a request lends to work that goes on after its answer. */
export interface RequestLife {
  /** Keeps a serverless runtime alive until the promise settles. */
  readonly waitUntil?: ((promise: Promise<unknown>) => void) | undefined
}

/** A question for a source. */
export interface DecisionRequest extends RequestLife {
  /** `verb:object`. */
  readonly action: string
  /** Who calls, proved already. */
  readonly agent?: Agent | undefined
  /** A bearer token that has *not* been verified. Only a source that says `authenticates` may look at it. */
  readonly token?: string | undefined
  /** To what. Readable by conditions as `resource`. */
  readonly resource?: string | undefined
  /** The circumstances. Readable by conditions as `context.<key>`. */
  readonly context?: Readonly<Record<string, unknown>> | undefined
  readonly request?: RequestInfo | undefined
  /**
   * For whom `agent` acts, from the root on; absent if it acts for itself. Every hop must have been proved and looked up: nothing
   * here is verified again. Only a source that says `delegates` is asked.
   */
  readonly delegation?: readonly DelegationHop[] | undefined
  readonly traceId: string
  /** Aborted when nobody waits for the answer any more. */
  readonly signal?: AbortSignal | undefined
}

/** What a source answers. One whose `allowed` is not a boolean, or does not agree with its `code`, is `unavailable`. */
export interface Answer {
  readonly allowed: boolean
  readonly code: Code
  readonly policy?: string | undefined
  readonly rule?: string | undefined
  readonly reason?: string | undefined
  /** Seconds. */
  readonly retryAfter?: number | undefined
  /** The exhausted limit, with `rate_limited`. */
  readonly limit?: Limit | undefined
  readonly policyVersion?: string | undefined
  /** The agent that a source which `authenticates` made of the token. */
  readonly agent?: Agent | undefined
  /** For whom that agent acts, from the root on; as it is recorded. */
  readonly chain?: readonly ChainLink[] | undefined
}

/** One rule looked at, and why it did or did not match. */
export interface ExplainedRule {
  readonly rule: string
  readonly matched: boolean
  readonly why: string
}

/** One policy looked at, and whether it applies to the agent. */
export interface ExplainedPolicy {
  readonly policy: string
  readonly applies: boolean
  readonly why: string
  readonly rules: readonly ExplainedRule[]
}

/** A source's answer with every step that led to it. Asking for one consumes no rate limit. */
export interface AnswerExplanation extends Answer {
  readonly steps: readonly ExplainedPolicy[]
}

/** A decision with every step that led to it. */
export interface Explanation extends Decision {
  readonly steps: readonly ExplainedPolicy[]
}

/** Who answers. Implement `decide` and you have a source. */
export interface DecisionSource {
  /** For the audit log and error messages. */
  readonly name: string
  /** The source verifies `token` itself; the guard then needs no `authenticate`. */
  readonly authenticates?: boolean | undefined
  /** The source evaluates `delegation`; a request that holds one is otherwise refused without asking it. */
  readonly delegates?: boolean | undefined
  /**
   * Answers one question. A throw, a rejection or a malformed answer is a denial (`unavailable`).
   *
   * @param now The time of the decision in ms since the epoch: the clock of `time` conditions and of rate limits. The guard
   * always passes it; a source that needs no clock ignores it.
   */
  decide(request: DecisionRequest, now?: number): Answer | Promise<Answer>
  /** Answers many questions on one policy version, in order. */
  decideMany?(requests: readonly DecisionRequest[], now?: number): readonly Answer[] | Promise<readonly Answer[]>
  /** Answers with every step. Consumes no rate limit. Without it `guard.explain` rejects with a TypeError. */
  explain?(request: DecisionRequest, now?: number): AnswerExplanation | Promise<AnswerExplanation>
  /** Ends what it keeps open. Called by `guard.close`. */
  close?(): Promise<void>
}

/** What a sink is told of every decision, and of how governed work ended. */
export type AuditEvent = DecisionEvent | OutcomeEvent

/** A decision as it is recorded. */
export interface DecisionEvent extends Decision {
  readonly type: 'decision'
  readonly agent?: Agent | undefined
  readonly request?: RequestInfo | undefined
  /** For whom the agent acts, from the root on; absent where it acts for itself. */
  readonly chain?: readonly ChainLink[] | undefined
  /** The name of the source that was asked. */
  readonly source: string
  /** From the question to the answer; absent when it was answered at once. */
  readonly durationMs?: number | undefined
  /** What was asked for is the agent's own word, as at a guardian: nobody saw what it went on to do. */
  readonly claimed?: true | undefined
}

/** How work that `govern` let run ended. */
export interface OutcomeEvent {
  readonly type: 'outcome'
  /** Of the decision that let it run. */
  readonly traceId: string
  /** `false` if it threw or rejected. */
  readonly ok: boolean
  readonly durationMs: number
}

/** Where decisions are recorded. `record` must not block; one that throws turns the answer into `unavailable`. */
export interface AuditSink {
  /**
   * Takes one event, at once.
   *
   * @param request On Workers, what writes after the answer goes to its `waitUntil`, or is dropped with the request.
   */
  record(event: AuditEvent, request?: RequestLife): void
  /** Writes what waits. Called by `guard.close`. */
  close?(): Promise<void>
}

/** So many requests in so many milliseconds. */
export interface Limit {
  readonly requests: number
  readonly windowMs: number
}

/** A rate limit's bucket: `requests` in `windowMs`, all of them at once if they were saved up. */
export interface Bucket extends Limit {
  /** Names agent, policy and rule: what has the same key is counted together. */
  readonly key: string
}

/** What became of a `take`. */
export interface Taken {
  /** Whether there was enough in all of them. */
  readonly ok: boolean
  /** Seconds, rounded up; 0 when `ok`. */
  readonly retryAfter: number
  /** The bucket that was exhausted, for `RateLimit` headers; a limiter may leave it out. */
  readonly exhausted?: Bucket | undefined
}

/** Counts rate limits. `take` is atomic over its buckets: one unit from each, or nothing from any. */
export interface Limiter {
  /**
   * @param buckets What the request counts against; at least one.
   * @param now In ms since the epoch.
   */
  take(buckets: readonly Bucket[], now: number): Taken | Promise<Taken>
}

/**
 * Turns a bearer token into the agent it stands for.
 *
 * It throws, or rejects with, `AuthenticationError` for a token that is not good and `UnavailableError` when that cannot be
 * told. A token that it remembers is answered synchronously.
 */
export type Authenticate = (token: string) => Agent | Promise<Agent>
