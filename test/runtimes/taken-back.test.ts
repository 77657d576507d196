import { afterEach, expect, it, vi } from 'vitest'

afterEach(() => {
  vi.useRealTimers()
  vi.unstubAllGlobals()
  vi.resetModules()
})

it('on Workers a batch whose request ended under it is written again, by a request of 35 s later and not before', async () => {
  vi.stubGlobal('navigator', { userAgent: 'Cloudflare-Workers' })
  vi.resetModules()
  vi.useFakeTimers({ toFake: ['Date'] })
  const { boundedSink } = await import('@meshguard/core')
  const written: string[][] = []
  const sink = boundedSink({
    write: (events) => {
      written.push(events.map(({ traceId }) => traceId))
      return written.length === 1 ? new Promise<void>(() => undefined) : undefined
    },
  })
  const record = async (traceId: string) => {
    sink.record({ type: 'outcome', traceId, ok: true, durationMs: 1 })
    await new Promise(setImmediate)
  }
  await record('first')
  vi.setSystemTime(Date.now() + 34_000)
  await record('second')
  vi.setSystemTime(Date.now() + 1_000)
  await record('third')
  expect(written.slice(0, 2)).toEqual([['first'], ['second']])
  expect(written.slice(2).flat().sort()).toEqual(['first', 'third'])
})
