const TRACE_ID = /^[A-Za-z0-9._:-]{8,128}$/
const TRACEPARENT = /^(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}(?:-|$)/

/** Whether a caller's trace ID may be used: 8 to 128 letters, digits and `._:-`. Nothing else is ever echoed. */
export function isTraceId(value: unknown): value is string {
  return typeof value === 'string' && TRACE_ID.test(value)
}

/** A new trace ID, a random UUID. Costs more than a decision: made only when nobody brought one. */
export function newTraceId(): string {
  return crypto.randomUUID()
}

/** The trace-id of a `traceparent` header (W3C Trace Context), if it is one. */
export function traceIdOfParent(traceparent: string): string | undefined {
  return TRACEPARENT.exec(traceparent)?.[1]
}
