import type { IncomingHttpHeaders } from 'node:http'
import { isTraceId, newTraceId, traceIdOfParent } from '@meshguard/core/http'

/** The caller's own trace ID if it is well formed (`X-MeshGuard-Trace-ID`, `X-Trace-ID`, `traceparent`), otherwise a new one. */
export function traceIdOf(headers: IncomingHttpHeaders): string {
  const own = headers['x-meshguard-trace-id']
  if (isTraceId(own)) return own
  const other = headers['x-trace-id']
  if (isTraceId(other)) return other
  const parent = headers['traceparent']
  return (typeof parent === 'string' ? traceIdOfParent(parent) : undefined) ?? newTraceId()
}
