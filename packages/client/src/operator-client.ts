import type { Explanation, PolicyDocument } from '@meshguard/core'
import { type AuditStream, followAudit } from './audit-stream.js'
import { type Content, Gateway, listIn, query, segment } from './gateway.js'
import type { CallOptions, ClientOptions, PolicyWriteOptions } from './options.js'
import { inPages } from './pages.js'
import { policyContent, policyNameOf } from './policy-content.js'
import type {
  AgentQuery,
  AgentUpdate,
  AuditEntry,
  AuditExport,
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
import { readSettings } from './settings.js'

/**
 * The administration of a gateway, a part of `MeshGuardClient`.
 *
 * Every method rejects with `AuthenticationError` when there is no `adminToken` (before any request) or the gateway does not
 * take it; with `ConnectionError` when the gateway cannot be reached; with `ValidationError`, whose issues have paths, for
 * what is malformed; and with a `MeshGuardError` whose `status` is 404 for what is unknown, 409 for what is in conflict (a
 * revoked agent, a policy of a file), 412 for what was changed meanwhile.
 */
export abstract class OperatorClient {
  protected readonly gateway: Gateway

  /** @throws TypeError that names the option or the variable of the environment that is missing or wrong. */
  constructor(options: ClientOptions = {}) {
    this.gateway = new Gateway(readSettings(options))
  }

  /**
   * The agents, oldest first; pages are followed.
   *
   * @example
   * ```ts
   * const trusted = await client.listAgents({ trustTier: 'trusted', status: 'active' })
   * ```
   */
  async listAgents(query: AgentQuery = {}, options: CallOptions = {}): Promise<RegisteredAgent[]> {
    return inPages(this.gateway, '/admin/agents', 'agents', query, options)
  }

  /** One agent. */
  async getAgent(id: string, options: CallOptions = {}): Promise<RegisteredAgent> {
    return this.#operate('GET', `/admin/agents/${segment('agent id', id)}`, options)
  }

  /**
   * Registers an agent and issues its first token, which is shown this once.
   *
   * @example
   * ```ts
   * const { id, token } = await client.createAgent({ name: 'scout', trustTier: 'verified', tags: ['sales'] })
   * ```
   */
  async createAgent(agent: NewAgent, options: CallOptions = {}): Promise<CreatedAgent> {
    return this.#operate('POST', '/admin/agents', options, { json: agent })
  }

  /** Changes what is given of an agent; the next request of its tokens is decided by it. */
  async updateAgent(id: string, change: AgentUpdate, options: CallOptions = {}): Promise<RegisteredAgent> {
    return this.#operate('PATCH', `/admin/agents/${segment('agent id', id)}`, options, { json: change })
  }

  /** Revokes an agent for good: its next request is answered 401. */
  async revokeAgent(id: string, options: CallOptions = {}): Promise<void> {
    await this.#operate('DELETE', `/admin/agents/${segment('agent id', id)}`, options)
  }

  /**
   * Issues another token of an agent.
   *
   * @example
   * ```ts
   * const { token, expiresAt } = await client.issueToken(id, { expiresIn: '1h', revokePrevious: true })
   * ```
   */
  async issueToken(agentId: string, request: TokenRequest = {}, options: CallOptions = {}): Promise<IssuedToken> {
    return this.#operate('POST', `/admin/agents/${segment('agent id', agentId)}/token`, options, { json: request })
  }

  /** Every policy, those of files included. */
  async listPolicies(options: CallOptions = {}): Promise<ListedPolicy[]> {
    return listIn(await this.gateway.operate('GET', '/admin/policies', options), 'policies')
  }

  /**
   * Why the gateway's folder of policies is not in force as it stands now, with file, line and column; the last good policies
   * are. `undefined` where all is well.
   */
  async policyProblem(options: CallOptions = {}): Promise<string | undefined> {
    const { problem } = await this.gateway.operate('GET', '/admin/policies', options)
    return typeof problem === 'string' ? problem : undefined
  }

  /** One policy. */
  async getPolicy(name: string, options: CallOptions = {}): Promise<ListedPolicy> {
    return this.#operate('GET', `/admin/policies/${segment('policy name', name)}`, options)
  }

  /**
   * Puts a policy in force, in the place of one of the same name: a document, or YAML or JSON text that holds one policy.
   * Text is parsed before it is sent, so that a mistake is a `ValidationError` with its line and column.
   *
   * @example
   * ```ts
   * await client.applyPolicy({ name: 'readers', rules: [{ effect: 'allow', actions: ['read:*'] }] })
   * await client.applyPolicy(await readFile('policies/writers.yaml', 'utf8'))
   * ```
   */
  async applyPolicy(policy: PolicyDocument | string, options: PolicyWriteOptions = {}): Promise<ListedPolicy> {
    const path = `/admin/policies/${segment('policy name', await policyNameOf(policy))}`
    const { headers, ...content } = policyContent(policy)
    return this.#operate('PUT', path, options, { ...content, headers: { ...headers, ...ifMatch(options) } })
  }

  /** Takes a policy that came through the API out of force. */
  async deletePolicy(name: string, options: PolicyWriteOptions = {}): Promise<void> {
    await this.#operate('DELETE', `/admin/policies/${segment('policy name', name)}`, options, { headers: ifMatch(options) })
  }

  /** Has the gateway look at a policy and changes nothing. Does not reject for a bad one: says what is wrong with it. */
  async validatePolicy(policy: PolicyDocument | string, options: CallOptions = {}): Promise<PolicyValidation> {
    return this.#operate('POST', '/admin/policies/validate', options, policyContent(policy))
  }

  /**
   * What the policies would answer, with every step that leads there. Nothing is counted or recorded.
   *
   * @example
   * ```ts
   * const { allowed, steps } = await client.testPolicy({ agent: { trustTier: 'verified' }, action: 'delete:contacts' })
   * ```
   */
  async testPolicy(test: PolicyTest, options: CallOptions = {}): Promise<Explanation> {
    return this.#operate('POST', '/admin/policies/test', options, { json: test })
  }

  /**
   * The newest entries of the audit log, newest first; pages are followed up to `limit`.
   *
   * @example
   * ```ts
   * for (const { timestamp, agentName, action, reason } of await client.getAuditLog({ limit: 20, decision: 'deny' })) {
   *   console.log(timestamp, agentName, action, reason)
   * }
   * ```
   */
  async getAuditLog(query: AuditQuery = {}, options: CallOptions = {}): Promise<AuditEntry[]> {
    return inPages(this.gateway, '/admin/audit', 'entries', { limit: 50, ...query }, options)
  }

  /** All entries of one trace, the oldest first. */
  async getTrace(traceId: string, options: CallOptions = {}): Promise<AuditEntry[]> {
    return inPages(this.gateway, `/admin/audit/traces/${segment('trace ID', traceId)}`, 'entries', {}, options)
  }

  /** How much was allowed and denied in a period: `1h`, `24h` (the default), `7d`. */
  async getAuditStats(asked: { readonly period?: string | undefined } = {}, options: CallOptions = {}): Promise<AuditStats> {
    return this.#operate('GET', `/admin/audit/stats${query(asked)}`, options)
  }

  /**
   * Follows the audit log: entries as they are committed. A lost connection is made again, from the last entry on; it rejects
   * when the gateway has not answered for `timeoutMs`. Ends with `break`, an aborted signal, or `close()`.
   *
   * @example
   * ```ts
   * for await (const { agentName, action, decision } of client.streamAudit({ decision: 'deny' })) {
   *   console.log(agentName, action, decision)
   * }
   * ```
   */
  streamAudit(stream: AuditStream = {}, options: CallOptions = {}): AsyncGenerator<AuditEntry, void, undefined> {
    return followAudit(this.gateway, stream, options)
  }

  /**
   * The audit log as CSV or JSON lines, streamed, oldest first.
   *
   * @example
   * ```ts
   * const bytes = await client.exportAudit({ from: '2026-01-01T00:00:00Z', format: 'csv' })
   * await writeFile('audit.csv', bytes) // of node:fs/promises
   * ```
   */
  async exportAudit(what: AuditExport = {}, options: CallOptions = {}): Promise<ReadableStream<Uint8Array>> {
    return this.gateway.operateStream(`/admin/audit/export${query({ format: 'jsonl', ...what })}`, options, {})
  }

  /** Verifies the whole audit log: whether an entry was changed, removed, moved or cut off. */
  async verifyAudit(options: CallOptions = {}): Promise<AuditVerification> {
    return this.#operate('GET', '/admin/audit/verify', options)
  }

  /** Every service token, without the tokens themselves. */
  async listTokens(options: CallOptions = {}): Promise<ServiceToken[]> {
    return listIn(await this.gateway.operate('GET', '/admin/tokens', options), 'tokens')
  }

  /**
   * Makes a service token, which is shown this once.
   *
   * @example
   * ```ts
   * const { token } = await client.createToken({ name: 'orders-api', scopes: ['decide'], expiresIn: '90d' })
   * ```
   */
  async createToken(token: NewServiceToken, options: CallOptions = {}): Promise<CreatedServiceToken> {
    return this.#operate('POST', '/admin/tokens', options, { json: token })
  }

  /** Deletes a service token: it stops working at once. */
  async revokeToken(id: string, options: CallOptions = {}): Promise<void> {
    await this.#operate('DELETE', `/admin/tokens/${segment('token id', id)}`, options)
  }

  /** Every delegation. */
  async listDelegations(options: CallOptions = {}): Promise<Delegation[]> {
    return listIn(await this.gateway.operate('GET', '/admin/delegations', options), 'delegations')
  }

  /**
   * Lets one agent act for another, within `actions` and for so long; the token is shown this once.
   *
   * @example
   * ```ts
   * const { token } = await client.createDelegation({ from: boss, to: helper, actions: ['read:*'], expiresIn: '1h' })
   * ```
   */
  async createDelegation(delegation: NewDelegation, options: CallOptions = {}): Promise<CreatedDelegation> {
    return this.#operate('POST', '/admin/delegations', options, { json: delegation })
  }

  /** Ends a delegation, and every one that extends it. */
  async revokeDelegation(id: string, options: CallOptions = {}): Promise<void> {
    await this.#operate('DELETE', `/admin/delegations/${segment('delegation id', id)}`, options)
  }

  async #operate<T>(method: string, path: string, options: CallOptions, content?: Content): Promise<T> {
    return (await this.gateway.operate(method, path, options, content)) as T
  }
}

/** The revision as the gateway's ETag has it (RFC 9110, 13.1.1), or that there is to be none yet (13.1.2). */
function ifMatch({ ifRevision }: PolicyWriteOptions): Record<string, string> {
  if (ifRevision === undefined) return {}
  return ifRevision === 0 ? { 'if-none-match': '*' } : { 'if-match': `"${ifRevision}"` }
}
