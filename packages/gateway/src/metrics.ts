import { Counter, Gauge, Histogram, Registry } from 'prom-client'
import type { AuditLog } from './audit/audit-log.js'
import { bundleMetrics } from './bundle/bundle-metrics.js'
import type { SignedBundle } from './bundle/bundles.js'

/** What is counted. Names begin with `meshguard_`. */
export interface Metrics {
  readonly registry: Registry
  decision(decision: 'allow' | 'deny', code: string, seconds: number): void
  auditCommit(entries: number, seconds: number): void
  proxied(status: number, seconds: number): void
  bundleSigned(bundle: SignedBundle, seconds: number): void
  bundleServed(status: 200 | 304): void
  /** So many streams more, or fewer. */
  bundleStreams(change: 1 | -1): void
}

const FAST = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 5]
const SLOW = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30]

/** Metrics in a registry of their own, so that two gateways in one process do not count into each other's. */
export function createMetrics(): Metrics {
  const registry = new Registry()
  const registers = [registry]
  const decisions = new Counter({
    name: 'meshguard_decisions_total',
    help: 'Decisions, by what the policies said and why',
    labelNames: ['decision', 'code'],
    registers,
  })
  const decisionSeconds = new Histogram({
    name: 'meshguard_decision_seconds',
    help: 'From the question to the answer, the audit log included',
    buckets: FAST,
    registers,
  })
  const auditEntries = new Counter({ name: 'meshguard_audit_entries_total', help: 'Entries committed', registers })
  const commitSeconds = new Histogram({
    name: 'meshguard_audit_commit_seconds',
    help: 'Commits of the audit log',
    buckets: FAST,
    registers,
  })
  const proxySeconds = new Histogram({
    name: 'meshguard_proxy_seconds',
    help: 'Forwarded requests, by the class of their status',
    labelNames: ['status'],
    buckets: SLOW,
    registers,
  })
  processGauges(registers)
  const counted = new Map<string, { inc(): void }>()
  const statuses = [1, 2, 3, 4, 5].map((digit) => proxySeconds.labels({ status: `${digit}xx` }))
  return {
    registry,
    ...bundleMetrics(registers),
    decision(decision, code, seconds) {
      const key = `${decision} ${code}`
      const counter = counted.get(key) ?? decisions.labels({ decision, code })
      counted.set(key, counter)
      counter.inc()
      decisionSeconds.observe(seconds)
    },
    auditCommit(entries, seconds) {
      auditEntries.inc(entries)
      commitSeconds.observe(seconds)
    },
    proxied(status, seconds) {
      statuses[Math.floor(status / 100) - 1]?.observe(seconds)
    },
  }
}

/** Counts what the audit log has lost, which it can with `AUDIT_MODE=async` alone. */
export function countLosses({ registry }: Metrics, audit: Pick<AuditLog, 'dropped'>): void {
  new Gauge({
    name: 'meshguard_audit_dropped_total',
    help: 'Entries that were lost, by the decision that they were of',
    labelNames: ['decision'],
    registers: [registry],
    collect() {
      this.set({ decision: 'allow' }, audit.dropped.allowed)
      this.set({ decision: 'deny' }, audit.dropped.denied)
    },
  })
}

/** Read when somebody asks, and only then. */
function processGauges(registers: Registry[]): void {
  new Gauge({
    name: 'process_resident_memory_bytes',
    help: 'Resident memory of the process',
    registers,
    collect() {
      this.set(process.memoryUsage.rss())
    },
  })
  new Gauge({
    name: 'process_cpu_seconds_total',
    help: 'User and system time of the process',
    registers,
    collect() {
      const { user, system } = process.cpuUsage()
      this.set((user + system) / 1e6)
    },
  })
}
