/** When a bundle is asked for, and what becomes of the answers. */
import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import type { DecisionRequest } from '@meshguard/core'
import type { BundleRequest } from '@meshguard/core/bundle'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { FROM_INPUT, nodeProgram } from '../node-program.js'
import { ALLOW_READING, type Publisher, startPublisher } from './publisher.js'
import { sourcesOf } from './sources.js'

const question: DecisionRequest = {
  action: 'read:contacts',
  agent: { id: 'agent_nova', trustTier: 'verified' },
  traceId: 'trace-0001',
}
const POLL_MS = 30_000
const run = promisify(execFile)

let publisher: Publisher
const { start, errors, close } = sourcesOf(() => publisher)

beforeEach(async () => {
  publisher = await startPublisher()
})
afterEach(async () => {
  await close()
  await publisher.close()
  vi.useRealTimers()
  vi.restoreAllMocks()
})

/** Waits, on the real clock, until something holds. */
const until = (holds: () => unknown) => vi.waitFor(() => expect(holds()).toBeTruthy(), { timeout: 5000, interval: 5 })
/** Whatever can be done by now is done. */
const soon = () => new Promise((resolve) => setImmediate(resolve))
const later = (ms: number) => vi.setSystemTime(Date.now() + ms)
const stopClock = () => void vi.useFakeTimers({ toFake: ['Date'], now: Date.UTC(2026, 0, 5) })

describe('A bundle is asked for', () => {
  it('by the decision that finds it to be time, which does not wait, with the ETag of the one in force', async () => {
    stopClock()
    await publisher.publish()
    const source = start()
    await source.refresh()
    later(0.89 * POLL_MS)
    source.decide(question)
    expect(publisher.asked).toHaveLength(1)
    later(0.22 * POLL_MS)
    await publisher.publish({ agents: { agent_nova: { revoked: true } } })
    expect(source.decide(question), 'by the bundle that is there').toMatchObject({ allowed: true })
    await until(() => source.bundle?.version === 2)
    expect(source.decide(question)).toMatchObject({ code: 'unauthenticated' })
    expect(publisher.asked.map(({ ifNoneMatch }) => ifNoneMatch)).toEqual([undefined, '"1"'])
    later(1.11 * POLL_MS)
    source.decide(question)
    await until(() => publisher.asked.length === 3)
    expect(publisher.asked[2]?.ifNoneMatch).toBe('"2"')
  })

  it.each(['decideMany', 'explain'] as const)('by %s as well', async (method) => {
    stopClock()
    await publisher.publish()
    const source = start()
    const ask = () => (method === 'explain' ? source.explain(question) : source.decideMany([question]))
    await ask()
    later(0.89 * POLL_MS)
    await ask()
    expect(publisher.asked).toHaveLength(1)
    later(0.22 * POLL_MS)
    await ask()
    await until(() => publisher.asked.length === 2)
  })

  it('not by all processes at the same moment', async () => {
    stopClock()
    const jws = await publisher.publish()
    const pauses: number[] = []
    for (const random of [0, 0.25, 0.5, 0.75, 0.999]) {
      vi.spyOn(Math, 'random').mockReturnValue(random)
      let asked = 0
      const load = ({ etag }: BundleRequest) => {
        asked++
        return etag === undefined ? { jws, etag: 'x' } : undefined
      }
      const source = start({ url: undefined, load } as never)
      await source.refresh()
      let waited = 0
      for (; asked === 1; waited += 500) {
        later(500)
        source.decide(question)
        await soon()
      }
      pauses.push(waited / 1000)
      await source.close()
    }
    expect(pauses).toEqual([27, 28.5, 30, 31.5, 33])
  })

  it('by a timer as well, where there is nothing to decide', async () => {
    await publisher.publish()
    const source = start({ pollMs: 20 })
    await source.refresh()
    await publisher.publish()
    await until(() => source.bundle?.version === 2)
  })

  it('by nothing any more once it is closed', async () => {
    const load = vi.fn(() => publisher.signer.sign())
    const source = start({ url: undefined, load, pollMs: 20 } as never)
    await source.refresh()
    await source.close()
    const { length } = load.mock.calls
    await new Promise((resolve) => setTimeout(resolve, 80))
    expect(await source.decide(question)).toMatchObject({ code: 'unavailable' })
    await expect(source.explain(question)).rejects.toThrow('closed')
    expect(load).toHaveBeenCalledTimes(length)
  })

  it('at once where the clock was set back, with an attempt under way as well', async () => {
    stopClock()
    const jws = await publisher.publish()
    const load = vi.fn<() => string | Promise<string>>(() => jws)
    const source = start({ url: undefined, load, maxStalenessMs: 24 * 3_600_000 } as never)
    await source.refresh()
    later(-60_000)
    load.mockImplementation(() => new Promise<string>(() => undefined))
    expect(source.decide(question)).toMatchObject({ allowed: true })
    await until(() => load.mock.calls.length === 2)
    later(-60_000)
    source.decide(question)
    await until(() => load.mock.calls.length === 3)
  })

  it('by nothing that keeps a process alive', async () => {
    await publisher.publish()
    const program = `
      import { fromBundle } from '@meshguard/core'
      const publicKeys = [${JSON.stringify(publisher.signer.bundles.publicKey)}]
      const source = fromBundle({ url: '${publisher.url}', publicKeys, pollMs: 50 })
      console.log((await source.decide(${JSON.stringify(question)})).code)`
    const running = run(process.execPath, FROM_INPUT, { timeout: 10_000 })
    running.child.stdin?.end(await nodeProgram(program))
    const { stdout } = await running
    expect(stdout).toBe('allowed\n')
  }, 15_000)

  it('once, however many decide at the same time', async () => {
    await publisher.publish()
    const source = start()
    const answers = await Promise.all(Array.from({ length: 100 }, () => source.decide(question)))
    expect(answers.every(({ allowed }) => allowed)).toBe(true)
    expect(publisher.asked).toHaveLength(1)
  })

  it('again with pauses that double after a failure, up to pollMs', async () => {
    stopClock()
    vi.spyOn(Math, 'random').mockReturnValue(0.5)
    const attempts: number[] = []
    const began = Date.now()
    const load = () => {
      attempts.push((Date.now() - began) / 1000)
      throw new Error('down')
    }
    const source = start({ url: undefined, load } as never)
    for (let second = 0; second <= 64; second += 0.5) {
      vi.setSystemTime(began + second * 1000)
      await source.decide(question)
      await soon()
    }
    expect(attempts).toEqual([0, 1, 3, 7, 15, 31, 61])
    expect(errors).toHaveLength(1)
  })

  it('again after a failure not by all processes at the same moment, and with short pauses again after a success', async () => {
    stopClock()
    const jws = await publisher.publish()
    const pauses: number[] = []
    for (const random of [0, 0.5, 0.999]) {
      vi.spyOn(Math, 'random').mockReturnValue(random)
      const load = vi.fn<() => string>(() => jws)
      const reloads: { recovered: boolean }[] = []
      const onReload = (info: { recovered: boolean }) => void reloads.push(info)
      const source = start({ url: undefined, load, onReload } as never)
      const pauseAfterFailure = async () => {
        load.mockImplementationOnce(() => {
          throw new Error('down')
        })
        await source.refresh().catch(() => undefined)
        const { length } = load.mock.calls
        let waited = 0
        for (; load.mock.calls.length === length && waited < 10_000; waited += 50) {
          later(50)
          source.decide(question)
          await soon()
        }
        await until(() => source.bundle !== undefined)
        await source.refresh()
        return waited / 1000
      }
      await source.refresh()
      pauses.push(await pauseAfterFailure())
      expect(await pauseAfterFailure()).toBe(pauses.at(-1))
      expect(
        reloads.map(({ recovered }) => recovered),
        'told of each recovery once',
      ).toEqual([true, true])
      await source.close()
    }
    expect(pauses).toEqual([0.75, 1, 1.25])
  })

  it('with the runtime kept alive for it', async () => {
    stopClock()
    await publisher.publish()
    const source = start()
    const waiting: Promise<unknown>[] = []
    const waitUntil = (promise: Promise<unknown>) => void waiting.push(promise)
    await source.decide({ ...question, waitUntil })
    await Promise.all(waiting)
    expect(waiting.length).toBeGreaterThan(0)
    const { length } = waiting
    source.decide({ ...question, waitUntil })
    expect(waiting, 'nothing is asked for').toHaveLength(length)
    later(2 * POLL_MS)
    await publisher.publish()
    source.decide({ ...question, waitUntil })
    await Promise.all(waiting)
    expect(source.bundle?.version).toBe(2)
  })
})

describe('An attempt', () => {
  it('that takes too long is given up, and a decision does not wait for the next ones', async () => {
    publisher.fail(() => undefined)
    const source = start({ timeoutMs: 50 })
    await expect(source.decide(question)).rejects.toThrow(/No bundle came within 50 ms/)
    publisher.fail()
    await publisher.publish()
    await source.refresh()
    expect(source.decide(question)).toMatchObject({ allowed: true })
  })

  it('that is dead does not stop the next one, and what comes of it late is ignored', async () => {
    stopClock()
    const pending: ((jws: string) => void)[] = []
    const load = () => new Promise<string>((resolve) => void pending.push(resolve))
    const source = start({ url: undefined, load, timeoutMs: 10_000 } as never)
    const first = Promise.resolve(source.decide(question)).catch((error: Error) => error)
    await until(() => pending.length === 1)
    later(20_001)
    const second = source.decide(question)
    await until(() => pending.length === 2)
    const old = await publisher.signer.sign({ policies: [] })
    const current = await publisher.signer.sign({ policies: ALLOW_READING })
    pending[1]?.(current)
    expect(await second).toMatchObject({ allowed: true })
    pending[0]?.(old)
    expect(await first).toMatchObject({ allowed: false })
    await new Promise((resolve) => setTimeout(resolve, 20))
    expect(source.bundle?.version).toBe(2)
    expect(errors, 'nor is it reported').toEqual([])
  })

  it('that is under way when the source is closed ends, and changes nothing', async () => {
    const pending: ((jws: string) => void)[] = []
    let aborted = false
    const load = ({ signal }: { signal: AbortSignal }) => {
      signal.addEventListener('abort', () => {
        aborted = true
      })
      return new Promise<string>((resolve) => void pending.push(resolve))
    }
    const source = start({ url: undefined, load } as never)
    const waiting = source.decide(question)
    await until(() => pending.length === 1)
    await source.close()
    expect(await waiting).toMatchObject({ code: 'unavailable' })
    pending[0]?.(await publisher.signer.sign())
    await new Promise((resolve) => setTimeout(resolve, 20))
    expect([aborted, source.bundle, errors]).toEqual([true, undefined, []])
  })

  it('whose bundle is being verified when the source is closed changes nothing', async () => {
    const agents = Object.fromEntries(Array.from({ length: 20_000 }, (_, i) => [`agent_${i}`, { revoked: true as const }]))
    const jws = await publisher.signer.sign({ policies: ALLOW_READING, agents })
    const load = () => {
      setImmediate(() => source.close())
      return jws
    }
    const source = start({ url: undefined, load } as never)
    const refreshed = source.refresh().catch((error: Error) => error.message)
    expect(await refreshed).toBe('There is no bundle')
    await new Promise((resolve) => setTimeout(resolve, 100))
    expect(source.bundle).toBeUndefined()
    expect(await source.decide(question)).toMatchObject({ code: 'unavailable', reason: 'The source is closed' })
  })

  it('that fails in ever new ways is reported in a bounded memory', async () => {
    let failed = 0
    const source = start({
      url: undefined,
      load: () => Promise.reject(new Error(`failure ${failed++ % 40}`)),
    } as never)
    for (let i = 0; i < 80; i++) await source.refresh().catch(() => undefined)
    expect(errors.length, 'told again, once the memory was full').toBeGreaterThan(40)
  })

  it.each<[string, unknown]>([
    ['nothing', undefined],
    ['a number', 7],
    ['an object', {}],
    ['null', null],
  ])('of a loader of your own that answers %s is a failure', async (_, answer) => {
    const source = start({ url: undefined, load: () => answer } as never)
    await expect(source.refresh()).rejects.toThrow(/./)
    expect(await source.decide(question)).toMatchObject({ code: 'unavailable' })
  })

  it('of a loader of your own that has nothing although it gave no ETag is a failure', async () => {
    const answers = [await publisher.signer.sign({ policies: ALLOW_READING }), undefined]
    const source = start({ url: undefined, load: () => answers.shift() } as never)
    await source.refresh()
    await expect(source.refresh()).rejects.toThrow('No bundle was loaded')
    expect(source.decide(question)).toMatchObject({ allowed: true })
  })
})

describe('Wake-ups', () => {
  it('make a change known at once, over connections that end and come back', async () => {
    await publisher.publish()
    const source = start({ stream: true, pollMs: 3_600_000 })
    expect(publisher.listeners()).toBe(0)
    await source.refresh()
    await until(() => publisher.listeners() === 1)
    await publisher.publish()
    await until(() => source.bundle?.version === 2)
    publisher.hangUp()
    await until(() => publisher.listeners() === 0)
    await publisher.publish()
    await until(() => publisher.listeners() === 1)
    await until(() => source.bundle?.version === 3)
    await publisher.publish()
    await until(() => source.bundle?.version === 4)
    await source.close()
    await until(() => publisher.listeners() === 0)
  }, 15_000)

  it('that cannot be had are reported once, and polling goes on', async () => {
    const real = globalThis.fetch
    let asked = 0
    vi.spyOn(globalThis, 'fetch').mockImplementation((...given) => {
      if (!String(given[0]).endsWith('/stream')) return real(...given)
      asked++
      return Promise.resolve(new Response('', { status: 404 }))
    })
    vi.spyOn(Math, 'random').mockReturnValue(0)
    await publisher.publish()
    const source = start({ stream: true, pollMs: 20 })
    await source.refresh()
    await until(() => asked >= 2)
    await publisher.publish()
    await until(() => source.bundle?.version === 2)
    expect(errors.map(({ message }) => message)).toEqual([expect.stringMatching(/^No wake-ups: .*404/)])
  })

  it('that come when the source is closed ask for nothing', async () => {
    vi.spyOn(Math, 'random').mockReturnValue(0.9)
    await publisher.publish()
    const source = start({ stream: true, pollMs: 3_600_000 })
    await source.refresh()
    await until(() => publisher.listeners() === 1)
    await source.close()
    await new Promise((resolve) => setTimeout(resolve, 300))
    expect(publisher.asked).toHaveLength(1)
  })

  it('that come while a bundle is loaded are not lost', async () => {
    await publisher.publish()
    const source = start({ stream: true, pollMs: 3_600_000 })
    await source.refresh()
    await until(() => publisher.listeners() === 1)
    const held: (() => void)[] = []
    publisher.fail((_, response, jws) => void held.push(() => response.end(jws)))
    await publisher.publish()
    await until(() => held.length === 1)
    await publisher.publish()
    await new Promise((resolve) => setTimeout(resolve, 300))
    publisher.fail()
    held[0]?.()
    await until(() => source.bundle?.version === 3)
  })
})
