import type { AuditEvent } from '@meshguard/core'
import { afterEach, beforeEach, describe, expect, it, type MockInstance, vi } from 'vitest'
import { auditTo, boundedSink, toSink } from '../../packages/core/src/audit.js'
import { allow, deny, outcome } from './events.js'

let log: MockInstance

beforeEach(() => {
  log = vi.spyOn(console, 'error').mockImplementation(() => {})
})

afterEach(() => {
  log.mockRestore()
})

/** A writer whose writes are done when the test says so. */
function slowWriter() {
  const batches: string[][] = []
  const open: { done(): void; fail(error: Error): void }[] = []
  const write = (events: readonly AuditEvent[]) => {
    batches.push(events.map(({ traceId }) => traceId))
    return new Promise<void>((resolve, reject) => {
      open.push({ done: resolve, fail: reject })
    })
  }
  const nth = async (i: number) => {
    await vi.waitUntil(() => open[i] !== undefined)
    return open[i] as (typeof open)[number]
  }
  return { batches, write, nth }
}

describe('a bounded sink', () => {
  it('does not write while record runs, and writes soon after', async () => {
    const write = vi.fn()
    const sink = boundedSink({ write })
    sink.record(allow('a'))
    expect(write).not.toHaveBeenCalled()
    await sink.close()
    expect(write).toHaveBeenCalledTimes(1)
  })

  it('writes one batch at a time, in order, and what comes meanwhile with the next', async () => {
    const { batches, write, nth } = slowWriter()
    const sink = boundedSink({ write })
    for (const id of ['1', '2']) sink.record(allow(id))
    const first = await nth(0)
    for (const id of ['3', '4', '5']) sink.record(deny(id))
    expect(batches).toEqual([['1', '2']])
    first.done()
    const second = await nth(1)
    expect(batches[1]).toEqual(['3', '4', '5'])
    const closed = sink.close()
    second.done()
    await closed
    expect(sink.dropped).toEqual({ allowed: 0, denied: 0, outcomes: 0 })
  })

  it('holds no more than its capacity, that which is being written included', async () => {
    const { batches, write, nth } = slowWriter()
    const sink = boundedSink({ write, capacity: 3 })
    for (const id of ['1', '2']) sink.record(allow(id))
    const first = await nth(0)
    for (const id of ['3', '4', '5']) sink.record(allow(id))
    expect(sink.dropped.allowed).toBe(2)
    first.done()
    ;(await nth(1)).done()
    await sink.close()
    expect(batches).toEqual([['1', '2'], ['3']])
  })

  it('drops denials first: an allow takes the place of the youngest denial, and a denial takes none', async () => {
    const batches: string[][] = []
    const sink = boundedSink({ capacity: 4, write: (events) => void batches.push(events.map(({ traceId }) => traceId)) })
    for (const event of [deny('d1'), allow('a1'), deny('d2'), deny('d3')]) sink.record(event)
    for (const event of [deny('d4'), allow('a2'), outcome, allow('a3')]) sink.record(event)
    expect(sink.dropped).toEqual({ allowed: 0, denied: 4, outcomes: 0 })
    sink.record(allow('a4'))
    expect(sink.dropped).toEqual({ allowed: 1, denied: 4, outcomes: 0 })
    await sink.close()
    expect(batches).toEqual([['a1', 'a2', outcome.traceId, 'a3']])
  })

  it('loses nothing uncounted, whatever comes', async () => {
    let written = 0
    const write = async (events: readonly AuditEvent[]) => {
      written += events.length
    }
    const sink = boundedSink({ capacity: 10, write })
    let recorded = 0
    for (let round = 0; round < 200; round++) {
      for (let i = 0; i < round % 37; i++, recorded++)
        sink.record((round * i) % 3 === 0 ? deny('d') : i % 5 === 0 ? outcome : allow('a'))
      if (round % 4 === 0) await undefined
    }
    await sink.close()
    const { allowed, denied, outcomes } = sink.dropped
    expect(written + allowed + denied + outcomes).toBe(recorded)
    expect(written).toBeGreaterThan(100)
  })

  it('reports once that it is full, and once that this is over', async () => {
    const { write, nth } = slowWriter()
    const sink = boundedSink({ name: 'warehouse', write, capacity: 1 })
    for (const id of ['1', '2', '3']) sink.record(allow(id))
    expect(log).toHaveBeenCalledTimes(1)
    ;(await nth(0)).done()
    await sink.close()
    expect(log.mock.calls.map(([text]) => text)).toEqual([
      'MeshGuard: warehouse loses or holds back audit events: its queue of 1 events is full',
      'MeshGuard: warehouse works again; lost so far: 2 allowed, 0 denied, 0 outcomes',
    ])
  })

  it('reports a writer that fails once until it works again, counts what was lost and goes on', async () => {
    const { batches, write, nth } = slowWriter()
    const sink = boundedSink({ write })
    sink.record(allow('1'))
    const first = await nth(0)
    sink.record(deny('2'))
    first.fail(new Error('disk\u001b[2J full'))
    ;(await nth(1)).fail(new Error('again'))
    await vi.waitUntil(() => sink.dropped.denied === 1)
    expect(log.mock.calls).toEqual([['MeshGuard: audit loses or holds back audit events: disk\\u001b[2J full']])
    sink.record(allow('3'))
    ;(await nth(2)).done()
    await sink.close()
    expect(log).toHaveBeenCalledTimes(2)
    expect(sink.dropped).toEqual({ allowed: 1, denied: 1, outcomes: 0 })
    expect(batches).toEqual([['1'], ['2'], ['3']])
  })

  it.each([[Object.create(null)], [undefined], ['disk full'], [Symbol('x')]])(
    'survives a writer that throws %o',
    async (thrown) => {
      const sink = boundedSink({
        write: () => {
          throw thrown
        },
      })
      sink.record(allow('a'))
      await sink.close()
      expect(sink.dropped.allowed).toBe(1)
      expect(log.mock.calls[0]?.[0]).toContain(typeof thrown === 'string' ? thrown : 'it failed')
    },
  )

  it('takes a writer that throws for one that fails', async () => {
    const sink = boundedSink({
      write: () => {
        throw new Error('no')
      },
    })
    sink.record(outcome)
    await sink.close()
    expect(sink.dropped.outcomes).toBe(1)
  })

  it('loses and counts what comes after it was closed', async () => {
    const sink = boundedSink({ write: () => {} })
    await sink.close()
    sink.record(deny('late'))
    expect(sink.dropped.denied).toBe(1)
    await sink.close()
  })

  it('refuses options that are wrong, naming them', () => {
    const make = (options: unknown) => () => boundedSink(options as Parameters<typeof boundedSink>[0])
    expect(make({})).toThrow(/"write"/)
    expect(make({ write: () => {}, capacity: 0 })).toThrow(/"capacity"/)
    expect(make({ write: () => {}, onFull: 'throw' })).toThrow(/"onFull"/)
    expect(make({ write: () => {}, onful: 'deny' })).toThrow(/"onful".*"onFull"/)
  })
})

describe('a bounded sink with onFull: deny', () => {
  it('throws UnavailableError when it is full, whatever the event, and loses nothing', async () => {
    const { batches, write, nth } = slowWriter()
    const sink = boundedSink({ write, capacity: 2, onFull: 'deny' })
    sink.record(deny('1'))
    sink.record(deny('2'))
    for (const event of [allow('3'), deny('3'), outcome]) {
      expect(() => sink.record(event)).toThrow(expect.objectContaining({ name: 'UnavailableError', status: 503 }))
    }
    ;(await nth(0)).done()
    await sink.close()
    expect(batches).toEqual([['1', '2']])
    expect(sink.dropped).toEqual({ allowed: 0, denied: 0, outcomes: 0 })
    expect(() => sink.record(allow('late'))).toThrow(/closed/)
  })

  it('keeps what could not be written, denies when it is full of it, and recovers with the next event', async () => {
    const batches: string[][] = []
    let works = false
    const sink = boundedSink({
      capacity: 2,
      onFull: 'deny',
      write: async (events) => {
        if (!works) throw new Error('disk full')
        batches.push(events.map(({ traceId }) => traceId))
      },
    })
    sink.record(allow('1'))
    await vi.waitUntil(() => log.mock.calls.length === 1)
    sink.record(allow('2'))
    expect(() => sink.record(allow('3'))).toThrow(/full/)
    works = true
    await vi.waitUntil(() => {
      try {
        sink.record(allow('4'))
        return true
      } catch {
        return false
      }
    })
    await sink.close()
    expect(batches.flat()).toEqual(['1', '2', '4'])
    expect(log).toHaveBeenCalledTimes(2)
  })

  it('writes what it kept before what came meanwhile', async () => {
    const batches: string[][] = []
    const refused: (() => void)[] = []
    const sink = boundedSink({
      onFull: 'deny',
      write: async (events) => {
        if (refused.length === 0)
          await new Promise<void>((_resolve, reject) => refused.push(() => reject(new Error('disk full'))))
        batches.push(events.map(({ traceId }) => traceId))
      },
    })
    sink.record(allow('1'))
    await vi.waitUntil(() => refused.length === 1)
    sink.record(allow('2'))
    refused[0]?.()
    await vi.waitUntil(() => log.mock.calls.length === 1)
    sink.record(allow('3'))
    await sink.close()
    expect(batches.flat()).toEqual(['1', '2', '3'])
  })

  it('counts what it cannot write even when it is closed, and comes to an end', async () => {
    const sink = boundedSink({ onFull: 'deny', write: () => Promise.reject(new Error('no')) })
    sink.record(allow('1'))
    await sink.close()
    expect(sink.dropped.allowed).toBe(1)
  })
})

describe('a function as a sink', () => {
  it('is called at once with the event itself', () => {
    const seen: AuditEvent[] = []
    const event = allow('1')
    toSink((one) => seen.push(one)).record(event)
    expect(seen[0]).toBe(event)
  })

  it('lets a throw through, so that an answer that is not recorded is none', () => {
    const sink = auditTo(() => {
      throw new Error('no')
    })
    expect(() => sink.record(allow('1'))).toThrow('no')
  })

  it('reports a rejection once, counts it, and waits for open calls when it is closed', async () => {
    let done = 0
    const sink = auditTo(async (event) => {
      await undefined
      if (event.type === 'decision' && !event.allowed) throw new Error('no')
      done++
    })
    for (const event of [deny('1'), deny('2'), allow('3')]) sink.record(event)
    await sink.close()
    expect(done).toBe(1)
    expect(sink.dropped).toEqual({ allowed: 0, denied: 2, outcomes: 0 })
    expect(log).toHaveBeenCalledTimes(1)
  })

  it('begins no more calls while 10 000 are open', () => {
    const write = vi.fn(() => new Promise(() => {}))
    const sink = auditTo(write)
    for (let i = 0; i < 10_005; i++) sink.record(allow('1'))
    expect(write).toHaveBeenCalledTimes(10_000)
    expect(sink.dropped.allowed).toBe(5)
  })

  it('is told from a sink, and from what is neither', () => {
    const told: unknown[] = []
    toSink({ record: (event) => told.push(event) }).record(allow('a'))
    toSink((event) => told.push(event)).record(allow('b'))
    expect(told).toHaveLength(2)
    for (const value of [undefined, null, 'file', {}]) expect(() => toSink(value as never)).toThrow(/"audit"/)
  })
})
