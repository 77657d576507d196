import type { AuditFilter, Page } from '../store/store.js'

/** An entry of the audit log, as the API answers it. */
export interface AuditEntry {
  readonly id: string
  /** ISO 8601. */
  readonly timestamp: string
  readonly traceId: string
  readonly agentId?: string | undefined
  readonly agentName?: string | undefined
  readonly trustTier?: string | undefined
  readonly action: string
  readonly resource?: string | undefined
  readonly decision: 'allow' | 'deny'
  readonly code: string
  readonly policy?: string | undefined
  readonly rule?: string | undefined
  readonly reason?: string | undefined
  readonly mode: string
  readonly source: string
  readonly durationMs?: number | undefined
  readonly request?:
    | {
        readonly method: string
        readonly route?: string | undefined
        readonly path?: string | undefined
        readonly ip?: string | undefined
      }
    | undefined
  readonly metadata?: Readonly<Record<string, unknown>> | undefined
  /** `claimed`, `declared`, `onBehalfOf`, `chain`, `writer`, `receivedAt`… */
  readonly [member: string]: unknown
}

/** An entry that has not been given its `id` (a UUID) and time yet. */
export type NewEntry = Omit<AuditEntry, 'id' | 'timestamp'> & { readonly id?: string; readonly timestamp?: string }

/** What verification found. */
export interface Verified {
  readonly valid: boolean
  readonly entries: number
  readonly firstBad?: { readonly id: string; readonly reason: string } | undefined
}

/** The chained audit log. */
export interface AuditLog {
  /**
   * Resolves once the entry is committed (`durable`), or at once (`async`).
   *
   * @throws UnavailableError when it cannot be written.
   */
  append(entry: NewEntry): Promise<void>
  /** Keeps entries that others recorded, each id once; resolves with how many were new. */
  ship(writer: string, entries: readonly AuditEntry[]): Promise<number>
  /**
   * Whether one more denial of this agent is to be recorded on its own; beyond `DENIED_RPM` it is counted into one summary
   * entry a minute, and the caller answers 429 `too_many_requests`.
   */
  admitsDenial(agentId: string): boolean
  /** Whether one more unauthenticated request of this address is recorded on its own (60 a minute), or only counted. */
  admitsUnauthenticated(ip: string): boolean
  query(filter: AuditFilter): Promise<Page<AuditEntry>>
  /** The id of the entry that was committed last. */
  newest(): Promise<string | undefined>
  /** Entries committed after the one with this id (`undefined`: all), in that order; `undefined` when there is no such entry. */
  after(id: string | undefined, limit: number): Promise<readonly AuditEntry[] | undefined>
  /** Called with every entry once it is committed; returns how to stop. */
  subscribe(listener: (entry: AuditEntry) => void): () => void
  verify(onProgress?: (entries: number) => void): Promise<Verified>
  /** Deletes what is older than the retention, keeping the chain verifiable. How many entries went. */
  applyRetention(): Promise<number>
  /** Entries that were lost because too many waited, or because they could not be written; only with `AUDIT_MODE=async`. */
  readonly dropped: { readonly allowed: number; readonly denied: number }
  /** Writes what is still to be summarised, and waits for what is being written. Later entries are refused. */
  close(): Promise<void>
}
