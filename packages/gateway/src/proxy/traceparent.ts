import { createHash, randomUUID } from 'node:crypto'

const PARENT = /^00-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-([0-9a-f]{2})$/
const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/

/**
 * The `traceparent` (W3C Trace Context) of a forwarded request: the client's trace goes on; otherwise one begins that is named
 * after the trace ID. The span is new.
 *
 * @param parent The client's own, as it came.
 */
export function traceparentOf(parent: string | undefined, traceId: string): string {
  const [, trace = traceOf(traceId), flags = '01'] = (parent === undefined ? null : PARENT.exec(parent)) ?? []
  return `00-${trace}-${newSpan()}-${flags}`
}

/** Whether a client's `traceparent` goes on, and its `tracestate` with it. */
export function isTraceparent(parent: string | undefined): boolean {
  return parent !== undefined && PARENT.test(parent)
}

const TRACE = /^(?!0{32})[0-9a-f]{32}$/

function traceOf(traceId: string): string {
  if (TRACE.test(traceId)) return traceId
  if (UUID.test(traceId)) return traceId.replaceAll('-', '')
  return createHash('sha256').update(traceId).digest('hex').slice(0, 32)
}

function newSpan(): string {
  const uuid = randomUUID()
  return uuid.slice(0, 8) + uuid.slice(28)
}
