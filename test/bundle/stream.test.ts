/** The connection of wake-ups by itself, on a clock of the test. */
import type { MeshGuardError } from '@meshguard/core'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { BundleStream } from '../../packages/core/src/bundle/stream.js'

const gateway = { origin: 'https://gateway.example', base: '' }

/** An open answer of the gateway. */
interface Line {
  say(text: string): Promise<void>
  end(): Promise<void>
  readonly isAborted: () => boolean
}

let lines: Line[]
let answer: () => Response | undefined
let wake: ReturnType<typeof vi.fn<() => void>>
let reported: MeshGuardError[]
let stream: BundleStream

beforeEach(() => {
  vi.useFakeTimers()
  vi.spyOn(Math, 'random').mockReturnValue(0.5)
  lines = []
  answer = () => undefined
  wake = vi.fn<() => void>()
  reported = []
  vi.spyOn(globalThis, 'fetch').mockImplementation(async (_url, init) => answer() ?? connect(init?.signal as AbortSignal))
  stream = new BundleStream({ gateway, token: 'msvc_x', wake, report: (error) => void reported.push(error) })
})
afterEach(() => {
  stream.close()
  vi.restoreAllMocks()
  vi.useRealTimers()
})

const pass = (ms: number) => vi.advanceTimersByTimeAsync(ms)
const refusal = () => new Response('', { status: 503 })

function connect(signal: AbortSignal): Response {
  let out: ReadableStreamDefaultController<Uint8Array>
  const body = new ReadableStream<Uint8Array>({
    start: (controller) => {
      out = controller
      signal.addEventListener('abort', () => controller.error(signal.reason))
    },
  })
  lines.push({
    async say(text) {
      out.enqueue(new TextEncoder().encode(text))
      await pass(0)
    },
    async end() {
      out.close()
      await pass(0)
    },
    isAborted: () => signal.aborted,
  })
  return new Response(body, { headers: { 'content-type': 'text/event-stream' } })
}
const line = () => lines.at(-1) as Line

describe('Wake-ups', () => {
  it('come of a new connection and of each event, and not of comments and blank lines', async () => {
    stream.open()
    stream.open()
    await pass(200)
    expect([lines.length, wake.mock.calls.length]).toEqual([1, 1])
    await line().say(': \n\n: still here\n\n\n\r\n')
    await pass(200)
    expect(wake).toHaveBeenCalledTimes(1)
    await line().say('event: bundle\nid: 1\n')
    await pass(200)
    expect(wake, 'it has not ended yet').toHaveBeenCalledTimes(1)
    await line().say('data: {}\n\n')
    await pass(200)
    expect(wake).toHaveBeenCalledTimes(2)
    for (const part of ['eve', 'nt: bundle\r', '\ndata: {}\r', '\n\r\n']) await line().say(part)
    await pass(200)
    expect(wake).toHaveBeenCalledTimes(3)
  })

  it('of a burst are one, after a moment that is not the same for all', async () => {
    stream.open()
    await pass(200)
    for (let i = 0; i < 10; i++) await line().say('data: {}\n\n')
    await pass(99)
    expect(wake).toHaveBeenCalledTimes(1)
    await pass(1)
    expect(wake).toHaveBeenCalledTimes(2)
    await pass(1000)
    expect(wake).toHaveBeenCalledTimes(2)
  })
})

describe('A connection', () => {
  it('that is refused is tried again with pauses that double from 1 to 30 s, and that is said once', async () => {
    answer = refusal
    stream.open()
    const tries: number[] = []
    for (let second = 0; second < 125; second++) {
      const before = vi.mocked(fetch).mock.calls.length
      await pass(1000)
      if (vi.mocked(fetch).mock.calls.length > before) tries.push(second + 1)
    }
    expect(tries).toEqual([1, 3, 7, 15, 31, 61, 91, 121])
    expect(reported.map(({ message }) => message)).toEqual([expect.stringMatching(/^No wake-ups: .*503/)])
  })

  it('that was good makes the pauses short again', async () => {
    answer = refusal
    stream.open()
    await pass(20_000)
    answer = () => undefined
    await pass(16_000)
    expect(lines).toHaveLength(1)
    await line().say(': \n\n')
    await line().end()
    await pass(1000)
    expect(lines).toHaveLength(2)
  })

  it('that is silent for a minute is given up, and one that speaks is not', async () => {
    stream.open()
    await pass(0)
    for (let i = 0; i < 8; i++) {
      await pass(15_000)
      await line().say(': \n\n')
    }
    expect(line().isAborted()).toBe(false)
    await pass(59_999)
    expect(line().isAborted()).toBe(false)
    await pass(1)
    expect(line().isAborted()).toBe(true)
    expect(reported.map(({ message }) => message)).toEqual(['No wake-ups: the gateway fell silent'])
    await pass(1000)
    expect(lines).toHaveLength(2)
  })

  it('that never says a word is given up as well', async () => {
    stream.open()
    await pass(59_999)
    expect(line().isAborted()).toBe(false)
    await pass(1)
    expect(line().isAborted()).toBe(true)
  })

  it('whose lines do not end is given up', async () => {
    stream.open()
    await pass(0)
    await line().say('x'.repeat(65_000))
    expect(reported).toEqual([])
    await line().say('x'.repeat(1000))
    expect(reported.map(({ message }) => message)).toEqual(['No wake-ups: the gateway sent a line that does not end'])
    await pass(1000)
    expect(lines).toHaveLength(2)
  })

  it('is none any more once it is closed, open or between two', async () => {
    stream.open()
    await pass(0)
    stream.close()
    expect(line().isAborted()).toBe(true)
    await pass(100_000)
    stream.open()
    await pass(100_000)
    expect(fetch).toHaveBeenCalledTimes(1)
    expect(reported).toEqual([])
  })
})
