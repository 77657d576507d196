import {
  context,
  propagation,
  ROOT_CONTEXT,
  type Span,
  type SpanOptions,
  SpanStatusCode,
  type TextMapPropagator,
  trace,
} from '@opentelemetry/api'
import { afterEach, expect, test, vi } from 'vitest'
import { openTracing } from '../../packages/gateway/src/telemetry.js'
import { startGateway, type World } from './gateway-world.js'

/** A span as it was recorded. */
interface Recorded {
  name: string
  attributes: Record<string, unknown>
  status?: number
  parent?: string | undefined
  ended: boolean
}

let world: World | undefined
afterEach(async () => {
  await world?.close()
  world = undefined
  trace.disable()
  propagation.disable()
})

/** Registers a tracer provider as an SDK would, which keeps its spans. */
function recordSpans(): Recorded[] {
  const spans: Recorded[] = []
  const startSpan = (name: string, options: SpanOptions = {}, parent = ROOT_CONTEXT): Span => {
    const recorded: Recorded = { name, attributes: { ...options.attributes }, ended: false }
    recorded.parent = trace.getSpanContext(parent)?.traceId
    spans.push(recorded)
    const span: Partial<Span> = {
      spanContext: () => ({ traceId: 'a'.repeat(32), spanId: 'b'.repeat(16), traceFlags: 1 }),
      setAttribute(key, value) {
        recorded.attributes[key] = value
        return span as Span
      },
      setStatus({ code }) {
        recorded.status = code
        return span as Span
      },
      updateName(next) {
        recorded.name = next
        return span as Span
      },
      end() {
        recorded.ended = true
      },
    }
    return span as Span
  }
  trace.setGlobalTracerProvider({ getTracer: () => ({ startSpan, startActiveSpan: vi.fn() }) })
  const propagator: TextMapPropagator = {
    inject() {},
    fields: () => ['traceparent'],
    extract(from, carrier) {
      const [, traceId, spanId] = String((carrier as Record<string, string>)['traceparent']).split('-')
      if (traceId === undefined || spanId === undefined) return from
      return trace.setSpanContext(from, { traceId, spanId, traceFlags: 1 })
    },
  }
  propagation.setGlobalPropagator(propagator)
  return spans
}

test('Without a tracer provider there is nothing around a request', async () => {
  expect(await openTracing()).toBeUndefined()
  expect(context.active()).toBe(ROOT_CONTEXT)
})

test('With one, every request is a span of its route, in the trace of its caller', async () => {
  const spans = recordSpans()
  world = await startGateway()
  spans.length = 0
  const traceparent = `00-${'c'.repeat(32)}-${'d'.repeat(16)}-01`
  await world.fetch('/health', { headers: { traceparent } })
  await world.fetch('/nothing')
  expect(spans).toEqual([
    {
      name: 'GET /health',
      parent: 'c'.repeat(32),
      ended: true,
      attributes: {
        'http.request.method': 'GET',
        'url.scheme': 'http',
        'http.route': '/health',
        'http.response.status_code': 200,
        'meshguard.trace_id': 'c'.repeat(32),
      },
    },
    expect.objectContaining({
      name: 'GET',
      ended: true,
      attributes: expect.objectContaining({ 'http.response.status_code': 404 }),
    }),
  ])
})

test('A request that fails is a span that failed, and one that is refused early is none the less a span', async () => {
  const spans = recordSpans()
  world = await startGateway()
  spans.length = 0
  vi.spyOn(world.services.policies, 'problem').mockImplementation(() => {
    throw new Error('no')
  })
  await world.fetch('/health')
  await world.fetch(`/${'a'.repeat(3000)}`)
  expect(spans.map(({ status, attributes }) => [status, attributes['http.response.status_code']])).toEqual([
    [SpanStatusCode.ERROR, 500],
    [undefined, 414],
  ])
  expect(spans.every(({ ended }) => ended)).toBe(true)
})
