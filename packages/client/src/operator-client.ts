import type { Explanation, PolicyDocument } from '@meshguard/core'
import type { CallOptions, ClientOptions } from './options.js'
import type {
  AgentQuery,
  AgentUpdate,
  AuditEntry,
  AuditExport,
  AuditFilter,
  AuditQuery,
  AuditStats,
  AuditVerification,
  CreatedAgent,
  CreatedDelegation,
  CreatedServiceToken,
  Delegation,
  IssuedToken,
  ListedPolicy,
  NewAgent,
  NewDelegation,
  NewServiceToken,
  PolicyTest,
  PolicyValidation,
  RegisteredAgent,
  ServiceToken,
  TokenRequest,
} from './records.js'

const notYet = (): never => {
  throw new Error('being written')
}

/**
 * The administration of a gateway. Every method rejects with `AuthenticationError` before any request when there is no
 * `adminToken`, or when the gateway does not know it; with `ConnectionError` when the gateway cannot be reached; with a
 * `MeshGuardError` whose `status` is 404, 409 or 412 for what is unknown, in conflict or changed meanwhile; and with
 * `ValidationError` (400), whose issues have paths, for what is malformed.
 */
export abstract class OperatorClient {
  constructor(_options: ClientOptions = {}) {}

  /** Every agent, oldest first; pages are followed. */
  async listAgents(_query: AgentQuery = {}, _options: CallOptions = {}): Promise<RegisteredAgent[]> {
    return notYet()
  }
  /** One agent; rejects with a `MeshGuardError` of status 404 for an unknown one. */
  async getAgent(_id: string, _options: CallOptions = {}): Promise<RegisteredAgent> {
    return notYet()
  }
  async createAgent(_agent: NewAgent, _options: CallOptions = {}): Promise<CreatedAgent> {
    return notYet()
  }
  async updateAgent(_id: string, _change: AgentUpdate, _options: CallOptions = {}): Promise<RegisteredAgent> {
    return notYet()
  }
  async revokeAgent(_id: string, _options: CallOptions = {}): Promise<void> {
    return notYet()
  }
  async issueToken(_agentId: string, _request: TokenRequest = {}, _options: CallOptions = {}): Promise<IssuedToken> {
    return notYet()
  }

  async listPolicies(_options: CallOptions = {}): Promise<ListedPolicy[]> {
    return notYet()
  }
  async getPolicy(_name: string, _options: CallOptions = {}): Promise<ListedPolicy> {
    return notYet()
  }
  /** A document, or YAML or JSON text with exactly one policy. `ifRevision` refuses a lost update (412). */
  async applyPolicy(
    _policy: PolicyDocument | string,
    _options: CallOptions & { readonly ifRevision?: number | undefined } = {},
  ): Promise<ListedPolicy> {
    return notYet()
  }
  async deletePolicy(_name: string, _options: CallOptions & { readonly ifRevision?: number | undefined } = {}): Promise<void> {
    return notYet()
  }
  /** Does not reject for a bad policy: says what is wrong with it. */
  async validatePolicy(_policy: PolicyDocument | string, _options: CallOptions = {}): Promise<PolicyValidation> {
    return notYet()
  }
  /** What the policies would answer, with every step; nothing is counted or recorded. */
  async testPolicy(_test: PolicyTest, _options: CallOptions = {}): Promise<Explanation> {
    return notYet()
  }

  /** Newest first; pages are followed up to `limit`. */
  async getAuditLog(_query: AuditQuery = {}, _options: CallOptions = {}): Promise<AuditEntry[]> {
    return notYet()
  }
  /** The entries of one trace, oldest first. */
  async getTrace(_traceId: string, _options: CallOptions = {}): Promise<AuditEntry[]> {
    return notYet()
  }
  /** `period`: `1h`, `24h`, `7d`. Default `24h`. */
  async getAuditStats(_query: { readonly period?: string | undefined } = {}, _options: CallOptions = {}): Promise<AuditStats> {
    return notYet()
  }
  /** Entries as they are committed; resumes by itself after a lost connection. Ends with `break`, `signal` or `close()`. */
  // biome-ignore lint/correctness/useYield: being written
  async *streamAudit(
    _filter: AuditFilter & { readonly lastEventId?: string | undefined } = {},
    _options: CallOptions = {},
  ): AsyncGenerator<AuditEntry, void, undefined> {
    notYet()
  }
  /** The log as CSV or JSON lines, streamed. */
  async exportAudit(_what: AuditExport = {}, _options: CallOptions = {}): Promise<ReadableStream<Uint8Array>> {
    return notYet()
  }
  async verifyAudit(_options: CallOptions = {}): Promise<AuditVerification> {
    return notYet()
  }

  async listTokens(_options: CallOptions = {}): Promise<ServiceToken[]> {
    return notYet()
  }
  async createToken(_token: NewServiceToken, _options: CallOptions = {}): Promise<CreatedServiceToken> {
    return notYet()
  }
  async revokeToken(_id: string, _options: CallOptions = {}): Promise<void> {
    return notYet()
  }

  async listDelegations(_options: CallOptions = {}): Promise<Delegation[]> {
    return notYet()
  }
  async createDelegation(_delegation: NewDelegation, _options: CallOptions = {}): Promise<CreatedDelegation> {
    return notYet()
  }
  async revokeDelegation(_id: string, _options: CallOptions = {}): Promise<void> {
    return notYet()
  }
}
