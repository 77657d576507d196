import type { Generated } from 'kysely'
import type { Checkpoint } from './store.js'

/** The tables, as Kysely sees them. Times are in ms since the epoch; `tags`, `metadata`, `scopes`, `actions` and `document` hold JSON. */
export interface Schema {
  agents: AgentsTable
  agent_tags: { agent_id: string; tag: string }
  policies: PoliciesTable
  tokens: TokensTable
  delegations: DelegationsTable
  settings: { key: string; value: string }
  audit: AuditTable
  checkpoints: Checkpoint
  cuts: Checkpoint
  rate_limits: RateLimitsTable
  schema_version: { version: number }
}

export interface AgentsTable {
  id: string
  name: string
  trust_tier: string
  tags: string
  metadata: string
  status: string
  generation: number
  created_at: number
  updated_at: number
  revoked_at: number | null
  last_seen_at: number | null
}

export interface PoliciesTable {
  name: string
  /** `null` for a policy that was deleted, whose revision goes on growing. */
  document: string | null
  revision: number
  updated_at: number
}

export interface TokensTable {
  id: string
  name: string
  scopes: string
  hash: string
  created_at: number
  expires_at: number | null
}

export interface DelegationsTable {
  id: string
  from_agent: string
  to_agent: string
  actions: string
  parent: string | null
  depth: number
  reason: string | null
  created_at: number
  expires_at: number
  revoked_at: number | null
}

export interface AuditTable {
  /** Grows with every row, in the order of the commits. */
  position: Generated<number>
  writer: string
  sequence: number
  id: string
  timestamp: number
  trace_id: string
  agent_id: string | null
  action: string
  decision: string
  code: string
  policy: string | null
  entry: string
  hash: string
}

/** A level of core's limiter, and when it will have run empty. */
export interface RateLimitsTable {
  key: string
  used: number
  at: number
  requests: number
  window_ms: number
  empty_at: number
}
