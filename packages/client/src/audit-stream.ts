import { ConnectionError, UnavailableError } from '@meshguard/core'
import { readEvents } from './event-stream.js'
import { type Gateway, query } from './gateway.js'
import type { CallOptions } from './options.js'
import type { AuditEntry, AuditFilter } from './records.js'
import { sleep } from './transport.js'

/** Which entries to follow, and after which. */
export interface AuditStream extends Omit<AuditFilter, 'from' | 'to'> {
  /** The `id` of the last entry that is known: those after it come first. Default: only what is new. */
  readonly lastEventId?: string | undefined
}

const FIRST_PAUSE_MS = 100
const LONGEST_PAUSE_MS = 5000

/**
 * Follows the audit log. A lost connection is made again, from the last entry on, until the gateway has not answered for the
 * client's `timeoutMs`. Ends when the signal is aborted or the client closed.
 */
export async function* followAudit(
  gateway: Gateway,
  { lastEventId, ...filter }: AuditStream,
  options: CallOptions,
): AsyncGenerator<AuditEntry, void, undefined> {
  const following = gateway.transport.enter()
  const { signal } = following
  const ended = options.signal === undefined ? signal : AbortSignal.any([signal, options.signal])
  const retry = new Retry(options.timeoutMs ?? gateway.timeoutMs)
  let last = lastEventId
  try {
    while (!ended.aborted) {
      try {
        const headers = { accept: 'text/event-stream', 'last-event-id': last }
        const stream = await gateway.operateStream(
          `/admin/audit/stream${query(filter)}`,
          { ...options, signal: ended },
          { headers },
        )
        retry.worked()
        const events = readEvents(stream, (id) => {
          last = id
        })
        for await (const { data } of events) yield entryOf(data)
      } catch (error) {
        if (ended.aborted) return
        if (!(error instanceof ConnectionError) || !retry.mayGoOn()) throw error
      }
      await retry.pause(ended)
    }
  } finally {
    gateway.transport.leave(following)
  }
}

function entryOf(data: string): AuditEntry {
  try {
    return JSON.parse(data) as AuditEntry
  } catch (error) {
    throw new UnavailableError('The gateway sent an audit entry that is no JSON', { cause: error })
  }
}

/** Pauses that grow until the gateway answers again. */
class Retry {
  readonly #timeoutMs: number
  #pauseMs = FIRST_PAUSE_MS
  #lostAt: number | undefined = -Infinity

  constructor(timeoutMs: number) {
    this.#timeoutMs = timeoutMs
  }

  worked(): void {
    this.#pauseMs = FIRST_PAUSE_MS
    this.#lostAt = undefined
  }

  /** Not when the first connection failed already, nor when all of them have for too long. */
  mayGoOn(): boolean {
    this.#lostAt ??= Date.now()
    return Date.now() - this.#lostAt < this.#timeoutMs
  }

  /** Resolves early when the stream has ended. */
  async pause(ended: AbortSignal): Promise<void> {
    const ms = this.#pauseMs
    this.#pauseMs = Math.min(ms * 2, LONGEST_PAUSE_MS)
    await sleep(ms, ended).catch(() => undefined)
  }
}
