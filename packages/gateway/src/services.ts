import type { Agent, Code, Decision, DecisionRequest, Guard, PolicyDocument } from '@meshguard/core'
import type { Logger } from 'pino'
import type { AuditLog } from './audit/audit-log.js'
import type { Bundles } from './bundle/bundles.js'
import type { GatewayConfig } from './config.js'
import type { Keys } from './identity/keys.js'
import type { Metrics } from './metrics.js'
import type { AgentRecord, DelegationRecord, Scope, Store } from './store/store.js'

/** What a route handler is given besides the request. */
export interface GatewayEnv {
  Bindings: { incoming: import('node:http').IncomingMessage; outgoing: import('node:http').ServerResponse }
  Variables: {
    /** Well formed, or a new one. */
    traceId: string
    /** The address of the caller; that of `X-Forwarded-For` only behind one of `TRUSTED_PROXIES`. */
    ip: string
    /** Who administers; only on the routes of operators. `tokenId` is that of a service token, absent for the admin token. */
    operator?: { readonly name: string; readonly tokenId?: string }
  }
}

/** An agent whose token was verified and looked up: the registry's tier and tags, not the token's. */
export interface IdentifiedAgent {
  /** The same object for as long as the registry's record stays the same, so that its profile is remembered. */
  readonly agent: Agent
  /** From the root to the leaf, which is `agent`; absent without a delegation. */
  readonly chain?: readonly { readonly delegation: DelegationRecord; readonly from: Agent }[] | undefined
}

/** A service token that was verified. */
export interface ServiceCaller {
  readonly id: string
  readonly name: string
  readonly scopes: readonly Scope[]
}

/** Who calls. A bad credential is an `AuthenticationError`; one that cannot be judged an `UnavailableError`. */
export interface Identity {
  /** Verifies an agent's token. Synchronous where it and its agent are remembered. */
  agentOf(token: string): IdentifiedAgent | Promise<IdentifiedAgent>
  /** The registry's agent by its id; `undefined` if unknown or revoked. */
  agentById(id: string): Agent | undefined | Promise<Agent | undefined>
  /** The service that a `msvc_…` token stands for. */
  serviceOf(token: string): Promise<ServiceCaller>
  /** Whether these headers carry an operator's credential (`X-Admin-Token`, `Bearer msat_…`, or a service token with `admin`). */
  isOperator(headers: Headers): Promise<boolean>
  /** Forgets what is remembered of an agent: it was changed or revoked. */
  forget(agentId: string): void
}

/** The policies of the folder and those of the API, side by side. */
export interface PolicyRegistry {
  /** The set in force, for `fromPolicies`. */
  current(): import('@meshguard/core').Policies
  /** Every policy with where it came from; a shadowed one is there, and not in force. */
  list(): Promise<readonly ListedPolicy[]>
  get(name: string): Promise<ListedPolicy | undefined>
  /** @throws RequestError 409 for a policy of a file, 412 for a lost update; ValidationError for a bad document. */
  put(document: PolicyDocument, ifRevision?: number): Promise<ListedPolicy>
  /** @throws RequestError 404, 409, 412. */
  delete(name: string, ifRevision?: number): Promise<void>
  /** What is wrong with the folder just now; the last good set is in force meanwhile. */
  problem(): string | undefined
  /** Told after another set came into force, by whatever way. Returns how to be told no more. */
  subscribe(listener: () => void): () => void
  close(): Promise<void>
}

export interface ListedPolicy {
  readonly document: PolicyDocument
  readonly origin: 'file' | 'api'
  /** Absent for a file. */
  readonly revision?: number | undefined
  readonly updatedAt: number
  /** A file holds a policy of the same name, which wins. */
  readonly shadowed?: true | undefined
}

/** One decision, made and recorded. */
export interface Decide {
  /**
   * Asks the policies, delegation included, and resolves once the entry is in the audit log (`AUDIT_MODE=durable`).
   *
   * @throws UnavailableError when it cannot be recorded; RequestError 429 `too_many_requests` beyond `DENIED_RPM`.
   */
  (asked: Asked): Promise<Decision>
}

export interface Asked {
  readonly who: IdentifiedAgent | undefined
  readonly request: DecisionRequest
  /** Refuses without asking the policies, and records it: a path that maps to no action, a credential that is none. */
  readonly refuse?: { readonly code: Code; readonly reason: string } | undefined
  /**
   * What the agent declares beside what was derived from its request. It is asked too, consumes nothing, and can only narrow:
   * the decision names it if it was refused. The entry holds both.
   */
  readonly declared?: Pick<DecisionRequest, 'action' | 'resource' | 'context'> | undefined
  /**
   * The request in small letters, where whoever serves it may take capitals for the same. It is asked first, of the policies in
   * small letters, and consumes nothing: a rule that denies it denies the request, and that no rule allows it says nothing.
   */
  readonly spelled?: Pick<DecisionRequest, 'action' | 'resource' | 'request'> | undefined
  /** What the audit entry says besides. */
  readonly entry?: EntryNotes | undefined
}

/** What an audit entry says besides the decision. */
export interface EntryNotes {
  /** The HTTP request, in the place of what `request.request` says of it. */
  readonly method?: string | undefined
  readonly route?: string | undefined
  readonly path?: string | undefined
  readonly ip?: string | undefined
  /** What was asked is the agent's own word: a cooperative check. */
  readonly claimed?: true | undefined
  /** The service that asked for the agent. */
  readonly service?: Pick<ServiceCaller, 'id' | 'name'> | undefined
}

/** What every part of the gateway works with; made once by `createGateway`. */
export interface Services {
  readonly config: GatewayConfig
  readonly log: Logger
  /** Milliseconds since the epoch. */
  readonly now: () => number
  readonly store: Store
  readonly keys: Keys
  readonly identity: Identity
  readonly policies: PolicyRegistry
  /** Core's guard over the policies in force; records nothing itself. */
  readonly guard: Guard
  readonly decide: Decide
  readonly audit: AuditLog
  readonly bundles: Bundles
  readonly metrics: Metrics
  /** Aborted when the gateway begins to close: answers that would go on for ever (event streams) end. */
  readonly closing: AbortSignal
}

export type { AgentRecord }
