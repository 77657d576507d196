/** A signed bundle, as it is served. */
export interface SignedBundle {
  readonly version: number
  /** Milliseconds since the epoch. */
  readonly issuedAt: number
  /** `"<version>-<issuedAt>"`; the same for the same bytes, whichever replica serves them. Compressed ones have it as a weak one. */
  readonly etag: string
  /** The compact JWS. */
  readonly bytes: Uint8Array<ArrayBuffer>
}

/** The newest bundle, signed when somebody wants it. */
export interface Bundles {
  /**
   * A bundle that holds everything that was changed before the call; the one in memory where nothing was.
   *
   * @throws UnavailableError when the store cannot be read.
   */
  current(): Promise<SignedBundle>
  /** An agent was changed or made; without an id, something else that bundles hold: policies, delegations, keys. */
  changed(agentId?: string): void
  /**
   * Told every new bundle. As long as somebody listens, one is signed after every change, those of a moment together, and once
   * an hour. Returns how to be told no more.
   */
  subscribe(listener: (bundle: SignedBundle) => void): () => void
  close(): Promise<void>
}
