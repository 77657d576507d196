import type { Limiter, PolicyDocument, TrustTier } from '@meshguard/core'

/** An agent as the registry knows it. Its tier and tags are the ones that count. Times are in ms since the epoch. */
export interface AgentRecord {
  readonly id: string
  readonly name: string
  readonly trustTier: TrustTier
  readonly tags: readonly string[]
  readonly metadata: Readonly<Record<string, unknown>>
  readonly status: 'active' | 'revoked'
  /** Raised when its tokens are revoked; a token of an older generation is refused. */
  readonly generation: number
  readonly createdAt: number
  readonly updatedAt: number
  readonly revokedAt?: number | undefined
  readonly lastSeenAt?: number | undefined
}

/** What may change of an agent. */
export type AgentChange = Partial<
  Pick<AgentRecord, 'name' | 'trustTier' | 'tags' | 'metadata' | 'status' | 'generation' | 'revokedAt' | 'lastSeenAt'>
>

/** One page, and where the next one begins. */
export interface Page<T> {
  readonly items: readonly T[]
  readonly nextCursor?: string | undefined
}

export interface AgentFilter {
  readonly trustTier?: TrustTier | undefined
  readonly tag?: string | undefined
  readonly status?: AgentRecord['status'] | undefined
  /** Default 100, at most 1 000. */
  readonly limit?: number | undefined
  readonly cursor?: string | undefined
}

/** Agents, oldest first. */
export interface AgentStore {
  list(filter?: AgentFilter): Promise<Page<AgentRecord>>
  get(id: string): Promise<AgentRecord | undefined>
  /** Which of at most 1 000 ids are of agents. */
  known(ids: readonly string[]): Promise<ReadonlySet<string>>
  /** @throws Error when the id is taken. */
  insert(agent: AgentRecord): Promise<void>
  /**
   * The agent after the change, or `undefined` for an unknown one. `updatedAt` becomes `now`, but not for `lastSeenAt` alone.
   *
   * @throws RequestError 409, and changes nothing, for a generation that is not above the one there is.
   */
  update(id: string, change: AgentChange, now: number): Promise<AgentRecord | undefined>
  /**
   * The agents that were changed or revoked at or after a time, the earliest change first; one that is as it was made is not among
   * them. `limit` is 1 000 unless it is said, and at most that.
   */
  changedSince(
    since: number,
    page?: { readonly limit?: number; readonly cursor?: string | undefined },
  ): Promise<Page<AgentRecord>>
}

/** A policy that came through the API. */
export interface StoredPolicy {
  readonly name: string
  /** The document as it was sent, so that it can be shown, and parsed again. */
  readonly document: PolicyDocument
  /** Grows by one with every change of this policy; its ETag. */
  readonly revision: number
  readonly updatedAt: number
}

export interface PolicyStore {
  list(): Promise<readonly StoredPolicy[]>
  get(name: string): Promise<StoredPolicy | undefined>
  /**
   * Writes if the policy stands at `ifRevision` (0: there is none yet; `undefined`: whatever there is).
   *
   * @returns the policy as it is now, or `undefined` for a lost update, which changes nothing.
   */
  put(document: PolicyDocument, now: number, ifRevision?: number): Promise<StoredPolicy | undefined>
  /** `'deleted'`, `'unknown'`, or `'changed'` when it no longer stands at `ifRevision`. */
  delete(name: string, ifRevision?: number): Promise<'deleted' | 'unknown' | 'changed'>
}

/** What a service token may be used for. */
export type Scope = 'decide' | 'bundle' | 'audit:write' | 'audit:read' | 'admin'

/** A service token (`msvc_…`) or an operator's (`msat_…`): hashed, never the token itself. */
export interface TokenRecord {
  readonly id: string
  readonly name: string
  readonly scopes: readonly Scope[]
  /** Lower-case hex of the SHA-256 of the token. */
  readonly hash: string
  readonly createdAt: number
  readonly expiresAt?: number | undefined
}

export interface TokenStore {
  list(): Promise<readonly TokenRecord[]>
  findByHash(hash: string): Promise<TokenRecord | undefined>
  insert(token: TokenRecord): Promise<void>
  /** Whether there was one. */
  delete(id: string): Promise<boolean>
}

/** The right to act for another agent, given by an operator. */
export interface DelegationRecord {
  readonly id: string
  readonly from: string
  readonly to: string
  readonly actions: readonly string[]
  /** The delegation this one extends. */
  readonly parent?: string | undefined
  /** 1 for the first hop. */
  readonly depth: number
  readonly reason?: string | undefined
  readonly createdAt: number
  readonly expiresAt: number
  readonly revokedAt?: number | undefined
}

export interface DelegationStore {
  list(): Promise<readonly DelegationRecord[]>
  get(id: string): Promise<DelegationRecord | undefined>
  insert(delegation: DelegationRecord): Promise<void>
  /** Whether there was one that was not revoked yet. */
  revoke(id: string, now: number): Promise<boolean>
}

/** A row of the audit log: the columns that are asked for, and the canonical entry that the chain is made of. */
export interface AuditRow {
  /** One chain a writer; `sequence` counts its entries from 1 without a gap. */
  readonly writer: string
  readonly sequence: number
  readonly id: string
  readonly timestamp: number
  readonly traceId: string
  readonly agentId?: string | undefined
  readonly action: string
  readonly decision: 'allow' | 'deny'
  readonly code: string
  readonly policy?: string | undefined
  /** The RFC 8785 form of the whole entry, which is what is hashed. */
  readonly entry: string
  /** Lower-case hex of `SHA-256(hash of the row before, entry)`. */
  readonly hash: string
}

/** The signed head of a chain. */
export interface Checkpoint {
  readonly writer: string
  readonly sequence: number
  readonly hash: string
  readonly timestamp: number
  /** Compact JWS of `{writer, sequence, hash, timestamp}`. */
  readonly signature: string
}

export interface AuditFilter {
  readonly decision?: 'allow' | 'deny' | undefined
  readonly agentId?: string | undefined
  /** An action, or a pattern with `*`. */
  readonly action?: string | undefined
  readonly traceId?: string | undefined
  readonly policy?: string | undefined
  /** From this time on, in ms. */
  readonly from?: number | undefined
  /** Before this time, in ms. */
  readonly to?: number | undefined
  /** Which come first. Default `newest`. A cursor belongs to one order. */
  readonly order?: 'newest' | 'oldest' | undefined
  /** At most 1 000; default 50. */
  readonly limit?: number | undefined
  readonly cursor?: string | undefined
}

/** A part of the audit log that can be dropped as a whole. */
export interface AuditPart {
  readonly name: string
  /** The last row of every chain in it. */
  readonly ends: readonly Pick<AuditRow, 'writer' | 'sequence' | 'hash'>[]
}

export interface AuditStore {
  /** Appends rows and their checkpoint in one durable transaction: all or none. Rejects if an id is there already. */
  append(rows: readonly AuditRow[], checkpoint: Checkpoint): Promise<void>
  /** Which of these ids are there already. */
  known(ids: readonly string[]): Promise<ReadonlySet<string>>
  /** Newest first (by timestamp, then sequence), or the other way round. */
  query(filter: AuditFilter): Promise<Page<AuditRow>>
  /** The id of the row that was committed last, of whatever chain. */
  newest(): Promise<string | undefined>
  /**
   * The rows of all chains that were committed after the row with this id (`undefined`: all of them), in the order of their
   * commits; `undefined` when there is no such row.
   */
  after(id: string | undefined, limit: number): Promise<readonly AuditRow[] | undefined>
  /** One chain in order, a block at a time, from after `sequence`. */
  scan(writer: string, afterSequence: number, limit: number): Promise<readonly AuditRow[]>
  writers(): Promise<readonly string[]>
  /** The last row of a chain, or `undefined` for an empty one. */
  head(writer: string): Promise<AuditRow | undefined>
  /** The newest checkpoint of a chain. */
  checkpoint(writer: string): Promise<Checkpoint | undefined>
  /** The signed point where retention cut the chain: its `hash` is what the oldest row kept is chained to. */
  cut(writer: string): Promise<Checkpoint | undefined>
  /**
   * Deletes the rows of a chain up to and including `cut.sequence` and keeps `cut`, unless the chain was cut further on already,
   * in one transaction. How many went.
   */
  deleteThrough(cut: Checkpoint): Promise<number>
  /**
   * Where the log is kept in parts: the ends of the chains in the oldest part whose rows were all stored before a time, or
   * `undefined` when there is no such part.
   */
  oldestPart?(before: number): Promise<AuditPart | undefined>
  /** Drops a part as a whole and keeps the cuts, of every chain in it, in one transaction. How many rows went. */
  dropPart?(part: AuditPart, cuts: readonly Checkpoint[]): Promise<number>
  /**
   * How many decisions since a time, by decision; and the most denied actions. A change by an operator (code `administered`)
   * is no decision, and a denial without an action (a bad credential, a path that maps to none) is counted and not named.
   */
  stats(since: number): Promise<{
    readonly allowed: number
    readonly denied: number
    readonly topDenied: readonly { readonly action: string; readonly count: number }[]
  }>
}

/** Small facts of an installation. */
export interface SettingsStore {
  get(key: string): Promise<string | undefined>
  set(key: string, value: string): Promise<void>
  /** Sets a value if what is there is still `expected` (`undefined`: nothing), in one step for all replicas. Whether it was. */
  swap(key: string, expected: string | undefined, value: string): Promise<boolean>
}

/** Something that a gateway on the same database has changed. */
export interface StoreChange {
  readonly kind: 'agents' | 'policies' | 'tokens' | 'delegations' | 'settings'
  /** The agent's id, the policy's name… */
  readonly key: string
}

/** Told what changed; `undefined` when anything may have changed, so that nothing that is remembered counts any more. */
export type ChangeListener = (changes: readonly StoreChange[] | undefined) => void | Promise<void>

/** What changes in a database that several gateways share, one's own changes included. */
export interface Changes {
  /** Whom to tell. A listener that rejects is told again, with everything since, within about a second. Returns how to stop. */
  subscribe(listener: ChangeListener): () => void
  /** Resolves when the listeners know of everything that was committed before. @throws UnavailableError */
  catchUp(): Promise<void>
}

/**
 * Where the gateway keeps what must outlive it. Every method rejects with `UnavailableError` when the database cannot be
 * read or written.
 */
export interface Store {
  readonly agents: AgentStore
  readonly policies: PolicyStore
  readonly tokens: TokenStore
  readonly delegations: DelegationStore
  readonly audit: AuditStore
  /** Rate limits, atomic over their buckets. */
  readonly limiter: Limiter
  /** Small facts of this installation, like the hash of its admin token. */
  readonly settings: SettingsStore
  /** Only where several gateways share the database. */
  readonly changes?: Changes | undefined
  /** Rejects if the database does not answer, or may not be written. */
  ping(): Promise<void>
  close(): Promise<void>
}
