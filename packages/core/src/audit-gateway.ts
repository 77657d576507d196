import {
  type AuditLosses,
  type BoundedSink,
  boundedSink,
  checkQueueOptions,
  DEFAULT_CAPACITY,
  type QueueOptions,
} from './audit.js'
import { Shipper } from './audit-shipper.js'
import { assertMs } from './options.js'
import { IO_OUTLIVES_REQUESTS } from './transport/requests.js'
import { assertToken, readGatewayUrl } from './transport/transport.js'

/** Options of {@link auditToGateway}. */
export interface GatewaySinkOptions extends QueueOptions {
  /** Where the gateway is: `http://127.0.0.1:3100`. */
  readonly url: string
  /** A service token with the scope `audit:write`. */
  readonly token: string
  /** How long one request may take, in ms. Default 5000. */
  readonly timeoutMs?: number | undefined
}

const DEFAULT_TIMEOUT_MS = 5000
/** The longest pause after a request; shorter where the queue is so small that it could fill meanwhile. */
export const MAX_GATHER_MS = 10
const EVENTS_A_MS = 1000

/**
 * Ships decisions to the gateway's audit log, in batches, one request at a time. What is recorded in the 10 ms after a request goes
 * together in the next one, because a request costs more than a hundred decisions do; not on Workers.
 *
 * Each has an id of its own that it keeps, and the gateway takes an id once: what may have got lost on the way is sent again, with
 * pauses that double from 0.1 to 30 s, and is recorded once. Meanwhile the queue fills; `onFull` says what happens then.
 * What the gateway refuses for good (400, 413) is taken apart until only the entries that it does not take are lost; they are
 * counted in `dropped`. Decisions of a clock that is so far ahead that the gateway refuses them are recorded at the gateway's time.
 * How governed work ended is no entry of the gateway's log and is left out. After `close()` what waits is tried three times more,
 * for at most twice `timeoutMs`; what could not be shipped then is counted. Where decisions come of `fromGateway`, the gateway has
 * recorded them already.
 *
 * The console is told when shipping begins to fail, and when it works again. As in every line that MeshGuard writes, long fields
 * are cut and tokens are left out.
 *
 * @throws TypeError for wrong options.
 *
 * @example
 * ```ts
 * const guard = createGuard({ source, audit: auditToGateway({ url, token: 'msvc_…' }) })
 * ```
 */
export function auditToGateway(options: GatewaySinkOptions): BoundedSink {
  checkQueueOptions('auditToGateway', options, ['url', 'token', 'timeoutMs'])
  const { url, token, timeoutMs = DEFAULT_TIMEOUT_MS, capacity = DEFAULT_CAPACITY, onFull } = options
  const gateway = readGatewayUrl('auditToGateway', url)
  assertToken('auditToGateway', token)
  assertMs('auditToGateway', 'timeoutMs', timeoutMs)
  const shipper = new Shipper(gateway, token, timeoutMs)
  const gatherMs = IO_OUTLIVES_REQUESTS ? Math.min(MAX_GATHER_MS, capacity / EVENTS_A_MS) : 0
  const sink = boundedSink({
    capacity,
    onFull,
    name: 'audit to the gateway',
    write: (events) => shipper.ship(events, gatherMs),
  })
  return {
    record(event, request) {
      if (event.type === 'decision') sink.record(event, request)
    },
    get dropped() {
      return sum(sink.dropped, shipper.lost)
    },
    close() {
      shipper.hurry()
      return sink.close()
    },
  }
}

/** Both losses together. */
export function sum(one: AuditLosses, other: AuditLosses): AuditLosses {
  return {
    allowed: one.allowed + other.allowed,
    denied: one.denied + other.denied,
    outcomes: one.outcomes + other.outcomes,
  }
}
