import { badRequest } from '../http/errors.js'
import type { Services } from '../services.js'
import type { AuditFilter, AuditRow, Page } from '../store/store.js'
import type { AuditEntry, AuditLog, NewEntry } from './audit-log.js'
import { type Prepared, prepare } from './chain.js'
import { ChainWriter } from './chain-writer.js'
import { GroupCommit } from './group-commit.js'
import { applyRetention } from './retention.js'
import { Summaries } from './summaries.js'
import { verifyLog } from './verify-chain.js'

type Parts = Pick<Services, 'store' | 'keys' | 'config' | 'log' | 'metrics' | 'now'>

/** The chain of what a gateway that has its database for itself records. */
export const OWN_WRITER = 'gateway'

const HOUR_MS = 3_600_000
/** Shipped entries of one transaction. */
const SLICE = 250
/** How far the clock of a service may be ahead. An entry of a later time would be the newest one of the log for as long. */
const CLOCK_SKEW_MS = 300_000

/**
 * Opens the audit log: one chain of hashes for this gateway and one for every service that ships entries, each with its end
 * signed in the transaction that wrote it. Retention is applied now and every hour.
 *
 * @param own The chain of what this gateway itself records. Gateways that share a database each have one of their own, and what
 * services ship to them is in chains of their own too, so that no chain has two writers.
 * @throws UnavailableError when the store cannot be read.
 */
export async function createAuditLog(parts: Parts, own = OWN_WRITER): Promise<AuditLog> {
  const { store, config, log, metrics, now } = parts
  const listeners = new Set<(entry: AuditEntry) => void>()
  const tell = (entries: readonly Prepared[]): void => {
    for (const listener of listeners) for (const { entry } of entries) listener(entry)
  }
  const chains = new ChainWriter(parts)
  await chains.open(own)
  const commits = new GroupCommit({
    async: config.auditMode === 'async',
    log,
    async commit(entries) {
      const started = performance.now()
      await chains.write(own, async () => entries)
      metrics.auditCommit(entries.length, (performance.now() - started) / 1000)
      tell(entries)
    },
  })
  const append = async (entry: NewEntry): Promise<void> => commits.add(prepare(entry, now()))
  const summaries = new Summaries(parts, append)
  const retention = every(
    HOUR_MS,
    async () => {
      const gone = await applyRetention(parts)
      if (gone > 0) log.info({ gone }, 'old entries of the audit log were deleted')
    },
    (error) => log.error({ err: error }, 'retention of the audit log failed'),
  )

  return {
    append,
    ship: async (writer, entries) => {
      if (writer === own) throw new TypeError(`"${own}" is the gateway's own chain`)
      const chain = own === OWN_WRITER ? writer : `${writer}@${own}`
      const marked = await mark(parts, writer, entries)
      let added = 0
      for (let i = 0; i < marked.length; i += SLICE) {
        const slice = marked.slice(i, i + SLICE)
        const written = await chains.write(chain, async () => {
          const known = await store.audit.known(slice.map(({ entry }) => entry.id))
          return slice.filter(({ entry }) => !known.has(entry.id))
        })
        added += written.length
        tell(written)
      }
      return added
    },
    admitsDenial: (agentId) => summaries.admitsDenial(agentId),
    admitsUnauthenticated: (ip) => summaries.admitsUnauthenticated(ip),
    query: async (filter) => query(parts, filter),
    newest: () => store.audit.newest(),
    after: async (id, limit) => (await store.audit.after(id, limit))?.map(entryOf),
    subscribe(listener) {
      const guarded = (entry: AuditEntry): void => {
        try {
          listener(entry)
        } catch (error) {
          log.error({ err: error }, 'a listener of the audit log failed')
        }
      }
      listeners.add(guarded)
      return () => listeners.delete(guarded)
    },
    verify: (onProgress) => verifyLog(parts, [own], onProgress),
    applyRetention: () => applyRetention(parts),
    get dropped() {
      return { ...commits.dropped }
    },
    async close() {
      await summaries.close()
      await commits.close()
      await retention.close()
    },
  }
}

/** Now and at intervals, one run at a time, without keeping the process alive. */
function every(ms: number, work: () => Promise<void>, onError: (error: unknown) => void): { close(): Promise<void> } {
  let running: Promise<void> | undefined
  const run = (): void => {
    running ??= work()
      .catch(onError)
      .finally(() => {
        running = undefined
      })
  }
  run()
  const timer = setInterval(run, ms).unref()
  return {
    async close() {
      clearInterval(timer)
      await running
    },
  }
}

/** Shipped entries, each id once, with who shipped them and when, and those marked whose agent nobody here knows. */
async function mark({ store, now }: Parts, writer: string, entries: readonly AuditEntry[]): Promise<Prepared[]> {
  const received = now()
  const receivedAt = new Date(received).toISOString()
  const known = await store.agents.known([...new Set(entries.flatMap(({ agentId }) => agentId ?? []))])
  const prepared = new Map<string, Prepared>()
  for (const [i, entry] of entries.entries()) {
    if (!(Date.parse(entry.timestamp) <= received + CLOCK_SKEW_MS)) {
      const message = 'expected ISO 8601, and no time to come: is the clock of the sender right?'
      throw badRequest('An entry has no valid timestamp', [{ path: `entries.${i}.timestamp`, message }])
    }
    const { agentId } = entry
    const unknownAgent = agentId !== undefined && !known.has(agentId) ? true : undefined
    const one = prepare({ ...entry, writer, receivedAt, unknownAgent }, now())
    if (!prepared.has(one.entry.id)) prepared.set(one.entry.id, one)
  }
  return [...prepared.values()]
}

async function query({ store }: Parts, filter: AuditFilter): Promise<Page<AuditEntry>> {
  const { items, nextCursor } = await store.audit.query(filter)
  return { items: items.map(entryOf), ...(nextCursor === undefined ? {} : { nextCursor }) }
}

/** The entry of a row; of one that was damaged, what its columns say. */
function entryOf(row: AuditRow): AuditEntry {
  try {
    return JSON.parse(row.entry)
  } catch {
    const { id, traceId, agentId, action, decision, code, policy } = row
    const timestamp = new Date(row.timestamp).toISOString()
    const reason = 'This entry was damaged: verify the audit log'
    return { id, timestamp, traceId, agentId, action, decision, code, policy, reason, mode: 'unknown', source: 'damaged' }
  }
}
