/** What the gateway's administration answers, and what it is asked with. Times are ISO 8601 unless they end in `Ms`. */
import type { PolicyDocument, TrustTier } from '@meshguard/core'

/** An agent as the registry knows it. */
export interface RegisteredAgent {
  /** Made by the gateway: `agent_…`. */
  readonly id: string
  readonly name: string
  readonly trustTier: TrustTier
  readonly tags: readonly string[]
  readonly metadata: Readonly<Record<string, unknown>>
  readonly status: 'active' | 'revoked'
  readonly createdAt: string
  readonly updatedAt: string
  readonly revokedAt?: string | undefined
  /** Of its last request; up to five minutes older. */
  readonly lastSeenAt?: string | undefined
}

/** Which agents to list. */
export interface AgentQuery {
  readonly trustTier?: TrustTier | undefined
  readonly tag?: string | undefined
  readonly status?: RegisteredAgent['status'] | undefined
  /** At most so many. Default: all of them. */
  readonly limit?: number | undefined
}

/** A new agent. */
export interface NewAgent {
  readonly name: string
  /** Default `verified`. */
  readonly trustTier?: TrustTier | undefined
  readonly tags?: readonly string[] | undefined
  readonly metadata?: Readonly<Record<string, unknown>> | undefined
}

/** An agent that was just made, with its first token, which is shown this once. */
export interface CreatedAgent {
  readonly id: string
  readonly name: string
  readonly trustTier: TrustTier
  readonly tags: readonly string[]
  /** For `Authorization: Bearer`. */
  readonly token: string
  readonly createdAt: string
}

/** What to change of an agent; what is absent stays. */
export type AgentUpdate = Partial<NewAgent>

/** How to issue a token. */
export interface TokenRequest {
  /** `90s`, `15m`, `24h`, `7d`; at most what the gateway allows. Default: the gateway's `JWT_EXPIRES_IN`. */
  readonly expiresIn?: string | undefined
  /** Whether every token the agent has had so far stops working. Default `false`. */
  readonly revokePrevious?: boolean | undefined
}

/** A new token of an agent, shown this once. */
export interface IssuedToken {
  readonly token: string
  readonly expiresAt: string
}

/** A policy in the gateway, and where it came from. */
export interface ListedPolicy extends PolicyDocument {
  /** `file`: from `POLICIES_DIR`, and read-only here. */
  readonly origin: 'file' | 'api'
  /** Grows by one with every change; absent for a file. */
  readonly revision?: number | undefined
  readonly updatedAt: string
  /** A file holds a policy of the same name, which is the one in force. */
  readonly shadowed?: true | undefined
}

/** What is wrong with a policy, or that nothing is. */
export interface PolicyValidation {
  readonly valid: boolean
  readonly issues: readonly {
    readonly path: string
    readonly message: string
    readonly line?: number
    readonly column?: number
  }[]
}

/** A question for the policies, without consequences: nothing is counted and nothing recorded. */
export interface PolicyTest {
  /** The id of a registered agent, or what an agent would be. */
  readonly agent: string | { readonly trustTier?: TrustTier | undefined; readonly tags?: readonly string[] | undefined }
  readonly action: string
  readonly resource?: string | undefined
  readonly context?: Readonly<Record<string, unknown>> | undefined
  /** Only this policy instead of the set in force. */
  readonly policy?: string | undefined
}

/** An entry of the audit log. */
export interface AuditEntry {
  readonly id: string
  readonly timestamp: string
  readonly traceId: string
  readonly agentId?: string | undefined
  readonly agentName?: string | undefined
  readonly trustTier?: string | undefined
  readonly action: string
  readonly resource?: string | undefined
  readonly decision: 'allow' | 'deny'
  /** Why, for programs: a decision's `Code`, or `administered`. */
  readonly code: string
  readonly policy?: string | undefined
  readonly rule?: string | undefined
  readonly reason?: string | undefined
  /** `enforce`, `audit` or `bypass`. */
  readonly mode: string
  /** Who decided: `policies` at the gateway, or what an application named its source. */
  readonly source: string
  readonly durationMs?: number | undefined
  readonly request?: AuditedRequest | undefined
  readonly metadata?: Readonly<Record<string, unknown>> | undefined
  /** `claimed`, `declared`, `onBehalfOf`, `chain`, `writer`, `receivedAt`… */
  readonly [member: string]: unknown
}

/** What an entry says of the HTTP request. */
export interface AuditedRequest {
  readonly method?: string | undefined
  readonly route?: string | undefined
  readonly path?: string | undefined
  readonly ip?: string | undefined
}

/** Which entries to answer. */
export interface AuditFilter {
  readonly decision?: 'allow' | 'deny' | undefined
  readonly agentId?: string | undefined
  /** An action, or a pattern with `*`. */
  readonly action?: string | undefined
  readonly traceId?: string | undefined
  readonly policy?: string | undefined
  /** From this time on. */
  readonly from?: string | Date | undefined
  /** Before this time. */
  readonly to?: string | Date | undefined
}

/** Which entries to answer, and how many. */
export interface AuditQuery extends AuditFilter {
  /** Default 50. */
  readonly limit?: number | undefined
}

/** What to export. */
export interface AuditExport {
  readonly from?: string | Date | undefined
  readonly to?: string | Date | undefined
  /** Default `jsonl`. */
  readonly format?: 'csv' | 'jsonl' | undefined
}

/** How much was allowed and denied in a period. */
export interface AuditStats {
  readonly total: number
  readonly allowed: number
  readonly denied: number
  readonly period: string
  /** The most denied actions first. */
  readonly topDenied: readonly { readonly action: string; readonly count: number }[]
}

/** What became of verifying the audit log. */
export interface AuditVerification {
  readonly valid: boolean
  /** How many entries were looked at. */
  readonly entries: number
  /** The first entry that was changed, removed, moved or cut off. */
  readonly firstBad?: { readonly id: string; readonly reason: string } | undefined
}

/** What a service token may be used for. */
export type Scope = 'decide' | 'bundle' | 'audit:write' | 'audit:read' | 'admin'

/** A service token, without the token itself. */
export interface ServiceToken {
  readonly id: string
  readonly name: string
  readonly scopes: readonly Scope[]
  readonly createdAt: string
  readonly expiresAt?: string | undefined
}

/** A new service token. */
export interface NewServiceToken {
  readonly name: string
  readonly scopes: readonly Scope[]
  /** `15m`, `24h`, `90d`. Default: it does not expire. */
  readonly expiresIn?: string | undefined
}

/** A service token that was just made: `token` is shown this once. */
export interface CreatedServiceToken extends ServiceToken {
  readonly token: string
}

/** The right of one agent to act for another. */
export interface Delegation {
  readonly id: string
  readonly from: string
  readonly to: string
  readonly actions: readonly string[]
  /** The delegation this one extends. */
  readonly parent?: string | undefined
  /** 1 for the first hop. */
  readonly depth: number
  readonly reason?: string | undefined
  readonly createdAt: string
  readonly expiresAt: string
  readonly revokedAt?: string | undefined
}

/** A new delegation. */
export interface NewDelegation {
  /** The agent that hands on what it may do. */
  readonly from: string
  /** The agent that acts. */
  readonly to: string
  /** Patterns; nothing beyond them is delegated. */
  readonly actions: readonly string[]
  /** `15m`, `24h`. */
  readonly expiresIn: string
  readonly reason?: string | undefined
  /** The delegation to extend, where `from` itself acts for another. */
  readonly parent?: string | undefined
}

/** A delegation that was just made: `token` is what `to` acts with, shown this once. */
export interface CreatedDelegation extends Delegation {
  readonly token: string
}

/** How the gateway is. */
export interface Health {
  /** `degraded`: it decides, and something needs a look; `checks` says what. */
  readonly status: 'healthy' | 'degraded' | (string & {})
  readonly timestamp: string
  readonly version: string
  readonly mode: string
  readonly uptimeSeconds: number
  readonly checks: Readonly<Record<string, unknown>>
}

/** What the gateway says of itself. */
export interface GatewayInfo {
  readonly name: string
  readonly version: string
  readonly mode: string
  readonly docs: string
}
