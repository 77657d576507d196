/** Options of a client, and of one call. */

/** Options of `MeshGuardClient`. What is absent is read from the environment. */
export interface ClientOptions {
  /** Where the gateway is, `https://gateway.example`. Default `MESHGUARD_GATEWAY_URL`. */
  readonly gatewayUrl?: string | undefined
  /** The agent's token: who checks and who calls through the proxy. Default `MESHGUARD_AGENT_TOKEN`. */
  readonly agentToken?: string | undefined
  /** The operator's token, for the administration. Default `MESHGUARD_ADMIN_TOKEN`. */
  readonly adminToken?: string | undefined
  /** For a whole call, retries included; of a stream, until it begins. Default `MESHGUARD_TIMEOUT_MS`, or 30 000. */
  readonly timeoutMs?: number | undefined
  /** Sent with every call: 8 to 128 letters, digits and `._:-`. Default: each call has its own. */
  readonly traceId?: string | undefined
  /** How often a check or a GET is tried again when the gateway could not be reached or answered 503. Default 0. */
  readonly retries?: number | undefined
}

/** What any call can be told. */
export interface CallOptions {
  /** Ends the call, which rejects with the signal's reason. */
  readonly signal?: AbortSignal | undefined
  /** Replaces the client's. */
  readonly timeoutMs?: number | undefined
  /** Replaces the client's. */
  readonly traceId?: string | undefined
}

/** What a change of a policy can be told. */
export interface PolicyWriteOptions extends CallOptions {
  /** Only if the policy stands at this `revision`, 0 for one that is not there yet; otherwise rejects with status 412. */
  readonly ifRevision?: number | undefined
}

/** What a check can be told. */
export interface CheckOptions extends CallOptions {
  /** To what; printable ASCII. Readable by conditions as `resource`. */
  readonly resource?: string | undefined
  /** Readable by conditions as `context.<key>`; at most 4 KiB of JSON. */
  readonly context?: Readonly<Record<string, unknown>> | undefined
}

/** What a call through the proxy can be told. */
export interface ProxyOptions extends CallOptions {
  /** What the agent declares to do. It can only narrow what the gateway derives from method and path. */
  readonly action?: string | undefined
  /** Narrows like `action`. */
  readonly resource?: string | undefined
  /** Narrows like `action`. */
  readonly context?: Readonly<Record<string, unknown>> | undefined
  /** Sent as JSON. Not together with `body`. */
  readonly json?: unknown
  /** Sent as it is. */
  readonly body?: BodyInit | null | undefined
  /** Further ones. The token and the trace ID are the client's own. */
  readonly headers?: HeadersInit | undefined
}
