import type { Registry } from 'prom-client'

/** What is counted. Names begin with `meshguard_`. */
export interface Metrics {
  readonly registry: Registry
  decision(decision: 'allow' | 'deny', code: string, seconds: number): void
  auditCommit(entries: number, seconds: number): void
  proxied(status: number, seconds: number): void
}
