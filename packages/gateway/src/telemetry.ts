import type { MiddlewareHandler } from 'hono'
import type { GatewayEnv } from './services.js'

const NAME = '@meshguard/gateway'
const SERVER_ERROR = 500

/**
 * A span for every request, where `@opentelemetry/api` is installed and the process has registered a tracer provider before the
 * gateway is created; `undefined` otherwise, so that it costs nothing.
 */
export async function openTracing(): Promise<MiddlewareHandler<GatewayEnv> | undefined> {
  const api = await import('@opentelemetry/api').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ERR_MODULE_NOT_FOUND') return undefined
    throw error
  })
  if (api === undefined) return undefined
  const { context, propagation, SpanKind, SpanStatusCode, trace } = api
  const tracer = trace.getTracer(NAME)
  const started = tracer.startSpan('meshguard.start')
  started.end()
  if (!trace.isSpanContextValid(started.spanContext())) return undefined
  return async function tracing(c, next) {
    const { method = '', headers } = c.env.incoming
    const parent = propagation.extract(context.active(), headers)
    const attributes = { 'http.request.method': method, 'url.scheme': 'http' }
    const span = tracer.startSpan(method, { kind: SpanKind.SERVER, attributes }, parent)
    try {
      await context.with(trace.setSpan(parent, span), next)
    } finally {
      const route = c.req.matchedRoutes.findLast((one) => one.method !== 'ALL' || one.path !== '/*')?.path
      if (route !== undefined) span.updateName(`${method} ${route}`).setAttribute('http.route', route)
      span.setAttribute('http.response.status_code', c.res.status)
      span.setAttribute('meshguard.trace_id', c.get('traceId') ?? '')
      if (c.res.status >= SERVER_ERROR) span.setStatus({ code: SpanStatusCode.ERROR })
      span.end()
    }
  }
}
