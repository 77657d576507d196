import { MeshGuardError } from '@meshguard/core'
import { covers } from '@meshguard/core/policy'
import type { AuditEntry } from '../audit/audit-log.js'
import { badRequest, RequestError } from '../http/errors.js'
import type { Services } from '../services.js'
import type { AuditStreamFilter } from './audit-schemas.js'
import { streamed } from './streamed.js'

const PAGE = 100
const KEEP_ALIVE_MS = 15_000
/** How often the log is looked at where other gateways write to it too. */
const LOOK_MS = 1000

/** What a stream needs besides the services. */
export interface StreamOptions {
  readonly filter: AuditStreamFilter
  /** The id of the last entry that is known: what was committed after it comes first. Default: only what is new. */
  readonly lastEventId?: string | undefined
  /** Rejects with the refusal once the caller may not read any more; asked with every sign of life. */
  stillMay(): Promise<unknown>
  /** Between two signs of life, in ms. Default 15 s. */
  readonly keepAliveMs?: number | undefined
}

/**
 * Answers the audit log as server-sent events (WHATWG HTML, 9.2), for as long as somebody reads: an event's `id` is its entry's,
 * and its `data` the entry. Entries come in the order of their commits and are read from the log, so that a reader that is slow,
 * or comes back with its last id, loses nothing and costs no memory. The stream begins with the `id` from which it goes on.
 *
 * @throws RequestError 400 for a last id that the log does not hold (any more); UnavailableError.
 */
export async function streamAudit(services: Services, options: StreamOptions): Promise<Response> {
  const { audit, closing, log, store } = services
  const { filter, lastEventId, stillMay, keepAliveMs = KEEP_ALIVE_MS } = options
  let last = lastEventId ?? (await audit.newest())
  if (lastEventId !== undefined && (await audit.after(lastEventId, 1)) === undefined) {
    throw badRequest('The audit log holds no entry of that id, or none any more', [
      { path: 'Last-Event-ID', message: 'export what you missed, and start without Last-Event-ID' },
    ])
  }

  async function* events(gone: AbortSignal): AsyncGenerator<string, void, undefined> {
    const ended = AbortSignal.any([gone, closing])
    const news = new News(ended)
    const unsubscribe = audit.subscribe(() => news.tell())
    try {
      yield opening(last)
      let due = performance.now() + keepAliveMs
      while (!ended.aborted) {
        const entries = await audit.after(last, PAGE)
        if (entries === undefined) return log.warn({ last }, 'a stream of the audit log ended: retention overtook it')
        last = entries.at(-1)?.id ?? last
        const text = entries
          .filter((entry) => passes(entry, filter))
          .map(eventOf)
          .join('')
        if (text !== '') yield text
        // However much is told meanwhile, a sign of life is due: a busy log is no reason not to ask whether the caller still may.
        const left = due - performance.now()
        if (left > 0 && entries.length === PAGE) continue
        if (left > 0) await news.within(store.changes === undefined ? left : Math.min(left, LOOK_MS))
        if (performance.now() < due) continue
        if (ended.aborted || !(await holds(stillMay))) return
        yield opening(last)
        due = performance.now() + keepAliveMs
      }
    } finally {
      unsubscribe()
    }
  }
  return new Response(streamed(events), {
    headers: { 'content-type': 'text/event-stream; charset=utf-8', 'x-accel-buffering': 'no' },
  })
}

/** Tells where the stream stands without being an event; a comment where there is no entry yet. */
function opening(last: string | undefined): string {
  return last === undefined ? ': \n\n' : `id: ${last}\n\n`
}

function eventOf(entry: AuditEntry): string {
  return `id: ${entry.id}\ndata: ${JSON.stringify(entry)}\n\n`
}

function passes(entry: AuditEntry, { decision, agentId, action, traceId, policy }: AuditStreamFilter): boolean {
  return (
    (decision === undefined || decision === entry.decision) &&
    (agentId === undefined || agentId === entry.agentId) &&
    (action === undefined || covers(action, entry.action)) &&
    (traceId === undefined || traceId === entry.traceId) &&
    (policy === undefined || policy === entry.policy)
  )
}

/** Whether a caller still may; that this cannot be told is no. */
async function holds(stillMay: () => Promise<unknown>): Promise<boolean> {
  try {
    await stillMay()
    return true
  } catch (error) {
    if (error instanceof MeshGuardError || error instanceof RequestError) return false
    throw error
  }
}

/** Whether something happened since it was last asked. */
class News {
  readonly #ended: AbortSignal
  #isTold = false
  #wake: () => void = () => {}

  constructor(ended: AbortSignal) {
    this.#ended = ended
    ended.addEventListener('abort', () => this.#wake(), { once: true })
  }

  tell(): void {
    this.#isTold = true
    this.#wake()
  }

  /** Resolves as soon as there is news, with `true`; with `false` after so many ms, or at the end. */
  async within(ms: number): Promise<boolean> {
    if (!this.#isTold && !this.#ended.aborted) {
      let timer: NodeJS.Timeout | undefined
      await new Promise<void>((resolve) => {
        this.#wake = resolve
        timer = setTimeout(resolve, ms)
      })
      clearTimeout(timer)
    }
    const isTold = this.#isTold
    this.#isTold = false
    return isTold
  }
}
