import type { BundleSource, Guard } from '@meshguard/core'

/** What the routes of a guardian work with. */
export interface GuardianParts {
  readonly source: BundleSource
  readonly guard: Guard
  readonly ownToken: (() => string | undefined) | undefined
  /** What the sink has lost. */
  readonly losses: () => object | undefined
}
