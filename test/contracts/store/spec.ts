import type { AgentRecord, AuditRow, Checkpoint, Store } from '../../../packages/gateway/src/store/store.js'
import type { Assert } from '../assert.js'

/** What a case is run with. */
export interface StoreContext {
  /** Empty, and this case's alone. */
  readonly store: Store
  /** Closes the store and opens the same database again. */
  reopen(): Promise<Store>
}

/** One promise of every store. */
export interface StoreCase {
  /** A sentence. */
  readonly title: string
  run(context: StoreContext, assert: Assert): Promise<void>
}

/** The error that a promise rejects with, by its name, status and message. */
export async function errorOf(promise: Promise<unknown>): Promise<{ name: string; status: unknown; message: string }> {
  try {
    await promise
  } catch (error) {
    const { name, message } = error as Error
    return { name, status: Reflect.get(error as object, 'status'), message }
  }
  throw new Error('nothing was thrown')
}

export function agent(id: string, members: Partial<AgentRecord> = {}): AgentRecord {
  return {
    id,
    name: `Agent ${id}`,
    trustTier: 'verified',
    tags: [],
    metadata: {},
    status: 'active',
    generation: 0,
    createdAt: 1000,
    updatedAt: 1000,
    ...members,
  }
}

export function row(sequence: number, members: Partial<AuditRow> = {}): AuditRow {
  const writer = members.writer ?? 'gateway'
  return {
    writer,
    sequence,
    id: `${writer}-${sequence}`,
    timestamp: 1_700_000_000_000 + sequence,
    traceId: `trace-${sequence}`,
    action: 'read:contacts',
    decision: 'allow',
    code: 'allowed',
    entry: `{"n":${sequence}}`,
    hash: `hash-${sequence}`,
    ...members,
  }
}

export function checkpoint(sequence: number, writer = 'gateway'): Checkpoint {
  return { writer, sequence, hash: `hash-${sequence}`, timestamp: 1_700_000_000_000, signature: `signed-${sequence}` }
}

/** Appends rows of one chain with the checkpoint of the last. */
export async function append(store: Store, rows: readonly AuditRow[]): Promise<void> {
  const last = rows.at(-1) as AuditRow
  await store.audit.append(rows, checkpoint(last.sequence, last.writer))
}

/** The whole numbers from `from` to `to`. */
export function numbers(from: number, to: number): number[] {
  return Array.from({ length: to - from + 1 }, (_, i) => from + i)
}
