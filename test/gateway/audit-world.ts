/** An audit log over a real store and real keys in a folder of its own, with a clock and a store that can be made to fail. */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type Logger, pino } from 'pino'
import { Registry } from 'prom-client'
import { vi } from 'vitest'
import type { AuditLog, NewEntry } from '../../packages/gateway/src/audit/audit-log.js'
import { createAuditLog } from '../../packages/gateway/src/audit/create-audit-log.js'
import { completeConfig, type GatewayConfig, type GatewaySettings } from '../../packages/gateway/src/config.js'
import { createKeys } from '../../packages/gateway/src/identity/create-keys.js'
import type { Metrics } from '../../packages/gateway/src/metrics.js'
import { openStore } from '../../packages/gateway/src/store/open-store.js'
import type { AuditStore, Store } from '../../packages/gateway/src/store/store.js'

export const START = Date.UTC(2026, 0, 1)

/** What every entry of a test has; `id` and time are the log's own. */
export const allowed = (traceId: string, members: Partial<NewEntry> = {}): NewEntry => ({
  traceId,
  agentId: 'agent_1',
  action: 'read:contacts',
  decision: 'allow',
  code: 'allowed',
  policy: 'readers',
  rule: 'allow read:*',
  mode: 'enforce',
  source: 'policies',
  ...members,
})

export const denied = (traceId: string, members: Partial<NewEntry> = {}): NewEntry =>
  allowed(traceId, { decision: 'deny', code: 'denied', ...members })

export interface World {
  readonly audit: AuditLog
  readonly config: GatewayConfig
  readonly log: Logger
  readonly metrics: Metrics
  now(): number
  /** As it is, without the faults that `fault` puts between it and the log. */
  readonly store: Store
  /** What the log was told to do with the store; a test puts something else in place of a method. */
  readonly fault: Partial<AuditStore>
  readonly clock: { now: number }
  readonly commits: number[]
  readonly logged: { msg: string; level: number }[]
  readonly databasePath: string
  /** Closes the log and opens it again on the same database, as after a restart. */
  reopen(): Promise<AuditLog>
}

const open: { close(): Promise<void> }[] = []

/** Closes what a test opened; for `afterEach`. */
export async function closeWorlds(): Promise<void> {
  vi.useRealTimers()
  for (const one of open.splice(0).reverse()) await one.close()
}

export async function openAuditWorld(settings: GatewaySettings = {}): Promise<World> {
  const dataDir = await mkdtemp(join(tmpdir(), 'meshguard-audit-'))
  const databasePath = join(dataDir, 'meshguard.db')
  const config = completeConfig({ dataDir, databaseUrl: `sqlite:${databasePath}`, ...settings })
  const clock = { now: START }
  const logged: World['logged'] = []
  const log = pino({ level: 'info' }, { write: (line: string) => void logged.push(JSON.parse(line)) })
  const now = () => clock.now
  const keys = await createKeys({ config, log, now })
  const store = await openStore(config.databaseUrl, { log, now })
  const fault: Partial<AuditStore> = {}
  const audit = new Proxy(store.audit, {
    get: (target, name) => Reflect.get(fault, name) ?? Reflect.get(target, name)?.bind(target),
  })
  const commits: number[] = []
  const metrics: Metrics = {
    registry: new Registry(),
    decision: () => {},
    proxied: () => {},
    auditCommit: (entries) => void commits.push(entries),
    bundleSigned: () => {},
    bundleServed: () => {},
    bundleStreams: () => {},
  }
  const parts = { store: { ...store, audit }, keys, config, log, metrics, now }
  let current = await createAuditLog(parts)
  open.push({
    async close() {
      await current.close()
      await store.close()
      await rm(dataDir, { recursive: true })
    },
  })
  return {
    get audit() {
      return current
    },
    config,
    log,
    metrics,
    now,
    store,
    fault,
    clock,
    commits,
    logged,
    databasePath,
    async reopen() {
      await current.close()
      current = await createAuditLog(parts)
      return current
    },
  }
}
