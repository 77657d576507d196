/** How old a bundle may be, with clocks that are wrong, gateways that are away, and processes that begin anew. */
import { mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import {
  type AuditEvent,
  agentTokens,
  ConnectionError,
  createGuard,
  type DecisionRequest,
  generateKeys,
  mintAgentToken,
} from '@meshguard/core'
import { cacheInCacheApi, cacheInKv, cacheInMemory } from '@meshguard/core/bundle'
import { cacheInFile } from '@meshguard/core/node'
import { Miniflare, Response as WorkerResponse } from 'miniflare'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { type Publisher, startPublisher } from './publisher.js'
import { sourcesOf } from './sources.js'

const MINUTE_MS = 60_000
const HOUR_MS = 3_600_000
const START = Date.UTC(2026, 0, 5)
const agent = { id: 'agent_nova', trustTier: 'verified' }
const question: DecisionRequest = { action: 'read:contacts', agent, traceId: 'trace-0001' }
const gone = { ...question, agent: { ...agent, id: 'agent_gone' } }

/** The part of Miniflare's cache that is used; it takes its own kind of response. */
interface KeptResponses {
  match(url: string): Promise<unknown>
  put(url: string, response: WorkerResponse): Promise<unknown>
}

let publisher: Publisher
const { start, errors, close } = sourcesOf(() => publisher, { pollMs: 24 * HOUR_MS })

beforeEach(async () => {
  vi.useFakeTimers({ toFake: ['Date'], now: START })
  publisher = await startPublisher()
})
afterEach(async () => {
  await close()
  await publisher.close()
  vi.useRealTimers()
  vi.restoreAllMocks()
})

const outcome = (source: ReturnType<typeof start>, asked = question) =>
  Promise.resolve(source.decide(asked)).then(
    ({ code }) => code,
    (error: Error) => error.constructor.name,
  )
const moveTo = (ms: number) => void vi.setSystemTime(START + ms)

describe('A gateway that is away', () => {
  it('is not missed for the whole of maxStalenessMs, and then nothing is allowed any more', async () => {
    await publisher.publish({ agents: { agent_gone: { revoked: true } } })
    const source = start()
    await source.refresh()
    await publisher.close()
    for (const ms of [1, HOUR_MS, 5 * HOUR_MS, 6 * HOUR_MS, 6 * HOUR_MS + 5 * MINUTE_MS]) {
      moveTo(ms)
      expect(source.decide(question)).toMatchObject({ allowed: true })
      expect(source.decide(gone)).toMatchObject({ code: 'unauthenticated' })
    }
    moveTo(6 * HOUR_MS + 5 * MINUTE_MS + 1)
    expect(await createGuard({ source }).check('read:contacts', { agent })).toMatchObject({
      allowed: false,
      code: 'unavailable',
    })
    expect(source.bundle?.isGood).toBe(false)
    expect(errors.map(({ message }) => message)).toEqual([
      expect.stringMatching(/cannot be reached/),
      'The bundle is too old to decide by',
    ])
    expect(await outcome(source), 'it could not be reached').toBe('ConnectionError')
    expect(await outcome(source, gone), 'revocations outlive the bundle').toBe('unauthenticated')
    expect(await Promise.resolve(source.decideMany?.([question, gone])).catch((error) => error)).toBeInstanceOf(ConnectionError)
    await expect(source.explain(question)).rejects.toBeInstanceOf(ConnectionError)
    await publisher.reopen()
    await publisher.publish()
    await source.refresh()
    expect(source.decide(question)).toMatchObject({ allowed: true })
  })

  it('may be opened for, by agents whose tokens the guard verified, and never for one that is revoked', async () => {
    const agents = { agent_gone: { revoked: true as const }, agent_old: { tier: 'verified' as const, tags: [], gen: 1 } }
    await publisher.publish({ agents })
    const source = start()
    await source.refresh()
    const events: AuditEvent[] = []
    const guard = createGuard({
      source,
      authenticate: agentTokens({ jwks: publisher.signer.tokens.jwks }),
      onUnavailable: { allow: ['read:*'] },
      audit: (event) => void events.push(event),
    })
    await publisher.close()
    moveTo(7 * HOUR_MS)
    await source.refresh().catch(() => undefined)
    const check = async (id: string, action = 'read:contacts') => {
      const { allowed, code, failedOpen } = await guard.check(action, { token: await publisher.signer.mint({ ...agent, id }) })
      return { allowed, code, failedOpen }
    }
    expect(await check('agent_nova')).toEqual({ allowed: true, code: 'unavailable', failedOpen: true })
    expect(await check('agent_nova', 'write:contacts')).toEqual({ allowed: false, code: 'unavailable' })
    expect(await check('agent_gone')).toEqual({ allowed: false, code: 'unauthenticated' })
    expect(await check('agent_old')).toEqual({ allowed: false, code: 'unauthenticated' })
    expect(events).toHaveLength(4)
    await publisher.reopen()
  })

  it('is not waited for by a token of an unknown key, while the bundle is too old and the last attempt has failed', async () => {
    const load = vi.fn(() => publisher.signer.sign())
    const source = start({ url: undefined, load } as never)
    await source.refresh()
    moveTo(7 * HOUR_MS)
    load.mockRejectedValue(new ConnectionError('away'))
    vi.spyOn(Math, 'random').mockReturnValue(0.999)
    await source.refresh().catch(() => undefined)
    const { length } = load.mock.calls
    moveTo(7 * HOUR_MS + 1100)
    const stranger = await mintAgentToken({ id: agent.id, key: (await generateKeys()).privateKey })
    expect(await outcome(source, { ...question, agent: undefined, token: stranger } as never)).toBe('ConnectionError')
    expect(load).toHaveBeenCalledTimes(length)
  })

  it('is not what a gateway is that serves bundles which are too old: that opens nothing', async () => {
    await publisher.publish()
    const source = start()
    await source.refresh()
    moveTo(7 * HOUR_MS)
    await expect(source.refresh()).resolves.toMatchObject({ isGood: false })
    expect(await outcome(source)).toBe('unavailable')
    publisher.serve('nonsense')
    await expect(source.refresh()).rejects.toThrow('JWS')
    expect(await outcome(source)).toBe('unavailable')
  })

  it('is waited for by a decision that finds its bundle too old, if it was there the last time', async () => {
    await publisher.publish()
    const source = start()
    await source.refresh()
    moveTo(25 * HOUR_MS)
    await publisher.publish()
    expect(await outcome(source)).toBe('allowed')
    expect(publisher.asked).toHaveLength(2)
  })

  it('a bundle that says itself to be good for less is good for less', async () => {
    await publisher.publish({ expiresAt: new Date(START + HOUR_MS).toISOString() })
    const source = start()
    await source.refresh()
    moveTo(HOUR_MS + 5 * MINUTE_MS)
    expect(source.decide(question)).toMatchObject({ allowed: true })
    moveTo(HOUR_MS + 5 * MINUTE_MS + 1)
    expect(await outcome(source)).toBe('unavailable')
  })
})

describe('Clocks', () => {
  it.each([-5, -1, 0, 1, 5])('that are off by %i minutes do not matter', async (minutes) => {
    await publisher.publish()
    moveTo(minutes * MINUTE_MS)
    const source = start({ maxStalenessMs: HOUR_MS })
    await source.refresh()
    expect(source.decide(question)).toMatchObject({ allowed: true })
  })

  it('that are far behind make a bundle one of the future', async () => {
    await publisher.publish()
    moveTo(-6 * MINUTE_MS)
    await expect(start().refresh()).rejects.toThrow(/in the future/)
  })

  it('that are set back do not make a bundle younger than it can be', async () => {
    await publisher.publish()
    const source = start()
    await source.refresh()
    moveTo(-6 * MINUTE_MS)
    expect(await outcome(source)).toBe('unavailable')
    moveTo(0)
    expect(source.decide(question)).toMatchObject({ allowed: true })
  })
})

describe('A process that begins anew', () => {
  const caches = {
    memory: async () => ({ cache: cacheInMemory(), end: async () => undefined }),
    file: async () => {
      const folder = await mkdtemp(join(tmpdir(), 'meshguard-bundle-'))
      return { cache: cacheInFile(join(folder, 'bundle.jws')), end: () => rm(folder, { recursive: true }) }
    },
    'Workers KV': async () => {
      const workerd = new Miniflare({ modules: true, script: 'export default {}', kvNamespaces: ['BUNDLES'] })
      return { cache: cacheInKv((await workerd.getKVNamespace('BUNDLES')) as never), end: () => workerd.dispose() }
    },
    'the Cache API': async () => {
      const workerd = new Miniflare({ modules: true, script: 'export default {}' })
      const { default: cache } = (await workerd.getCaches()) as unknown as { default: KeptResponses }
      const put = async (url: string, { headers, body }: Response) =>
        cache.put(url, new WorkerResponse(await new Response(body).text(), { headers: [...headers] }))
      const match = (url: string) => cache.match(url) as Promise<Response | undefined>
      return { cache: cacheInCacheApi({ match, put }), end: () => workerd.dispose() }
    },
  }

  it.each(Object.entries(caches))('starts from %s with the gateway down, and knows its version', async (_, make) => {
    const { cache, end } = await make()
    try {
      expect(await outcome(start({ cache }))).toMatch(/unavailable|Error/)
      for (let i = 0; i < 3; i++) await publisher.publish({ agents: { agent_gone: { revoked: true } } })
      await start({ cache }).refresh()
      await publisher.close()
      const source = start({ cache })
      expect(await outcome(source)).toBe('allowed')
      expect(await outcome(source, gone)).toBe('unauthenticated')
      expect(source.bundle).toMatchObject({ version: 3, isGood: true })
      await publisher.reopen()
    } finally {
      await end()
    }
  })

  it.each<[string, (jws: string) => string]>([
    ['forged', (jws) => `${jws.slice(0, -20)}${'A'.repeat(20)}`],
    ['cut off', (jws) => jws.slice(0, 100)],
    ['nothing of the kind', () => 'nonsense'],
  ])('does not believe a cache whose content is %s', async (_, damage) => {
    const cache = cacheInMemory()
    const jws = await publisher.publish()
    cache.set(damage(jws))
    await publisher.close()
    expect(await outcome(start({ cache }))).toBe('ConnectionError')
    expect(errors[0]?.message).toMatch(/^The cached bundle is of no use/)
    await publisher.reopen()
    const source = start({ cache })
    expect(await outcome(source)).toBe('allowed')
    await vi.waitFor(async () => expect(await cache.get()).toBe(jws))
  })

  it('does not decide by a cached bundle that is too old, but refuses older ones', async () => {
    const cache = cacheInMemory()
    for (let i = 0; i < 3; i++) await publisher.publish({ agents: { agent_gone: { revoked: true } } })
    await start({ cache }).refresh()
    moveTo(7 * HOUR_MS)
    publisher.serve(await publisher.signer.sign({ version: 2 }))
    const source = start({ cache })
    expect(await outcome(source)).toBe('unavailable')
    expect(await outcome(source, gone)).toBe('unauthenticated')
    expect(errors.map(({ message }) => message)).toContainEqual(expect.stringMatching(/goes back/))
  })

  it('prefers the gateway’s bundle to the cached one, and does not wait for it for long', async () => {
    const cache = cacheInMemory()
    await publisher.publish()
    await start({ cache }).refresh()
    const jws = await publisher.publish({ agents: { [agent.id]: { revoked: true } } })
    expect(await outcome(start({ cache })), 'it knows what was revoked meanwhile').toBe('unauthenticated')
    await vi.waitFor(async () => expect(await cache.get()).toBe(jws))
    publisher.fail(() => undefined)
    const source = start({ cache })
    expect(await outcome(source), 'the gateway hangs').toBe('unauthenticated')
    expect(source.bundle?.version).toBe(2)
  })

  it('still knows the cached bundle after an attempt that died', async () => {
    const cache = cacheInMemory()
    for (let i = 0; i < 3; i++) await publisher.publish({ agents: { agent_gone: { revoked: true } } })
    await start({ cache }).refresh()
    const old = await publisher.signer.sign({ version: 2, policies: [] })
    const answers = [new Promise<string>(() => undefined), old]
    const asked: unknown[] = []
    const load = ({ etag }: { etag?: string | undefined }) => {
      asked.push(etag)
      return answers.shift()
    }
    const source = start({ url: undefined, load, cache } as never)
    void Promise.resolve(source.decide(question)).catch(() => undefined)
    await vi.waitFor(() => expect(asked).toHaveLength(1))
    moveTo(20_001)
    expect(await outcome(source), 'the old one is refused').toBe('allowed')
    expect(await outcome(source, gone)).toBe('unauthenticated')
    expect(source.bundle?.version).toBe(3)
    expect(errors.map(({ message }) => message)).toContainEqual(expect.stringMatching(/goes back/))
  })

  it('goes on without a cache that fails, and says so', async () => {
    const fail = () => Promise.reject(new Error('disk full'))
    await publisher.publish()
    const source = start({ cache: { get: fail, set: fail } })
    await source.refresh()
    expect(source.decide(question)).toMatchObject({ allowed: true })
    expect(errors.map(({ message }) => message)).toEqual([
      'The cached bundle is of no use: disk full',
      'The bundle was not cached: disk full',
    ])
  })
})

describe('A cache that hangs', () => {
  const never = () => new Promise<never>(() => undefined)

  it('does not hold up a decision by a bundle that came, and nobody when the source is closed', async () => {
    await publisher.publish()
    expect(await outcome(start({ cache: { get: () => null, set: never }, timeoutMs: 60_000 }))).toBe('allowed')
    const source = start({ cache: { get: never, set: never }, timeoutMs: 60_000 })
    const waiting = outcome(source)
    await source.close()
    expect(await waiting).toBe('unavailable')
  })

  it('holds nothing up for longer than loading may take', async () => {
    await publisher.publish()
    const source = start({ cache: { get: never, set: never }, timeoutMs: 100 })
    expect(await outcome(source)).toBe('allowed')
    await publisher.publish()
    await source.refresh()
    expect(source.bundle?.version).toBe(2)
    expect(errors.map(({ message }) => message)).toEqual([
      'The cached bundle is of no use: The cache: no answer in time',
      'The bundle was not cached: The cache: no answer in time',
      'The bundle was not cached: The cache: no answer in time',
    ])
  })
})

describe('The cache in a file', () => {
  it('is whole at any time, for its owner alone, and leaves nothing else behind', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'meshguard-bundle-'))
    try {
      const path = join(folder, 'bundle.jws')
      const cache = cacheInFile(path)
      expect(await cache.get()).toBeUndefined()
      await writeFile(path, 'old', { mode: 0o644 })
      const large = Array.from({ length: 8 }, (_, i) => String(i).repeat(2_000_000))
      const seen = new Set<unknown>()
      let writing = true
      const reading = (async () => {
        while (writing) seen.add(await cache.get())
      })()
      await Promise.all(large.map((jws) => cache.set(jws)))
      writing = false
      await reading
      for (const jws of seen) expect(jws === 'old' || large.includes(jws as string)).toBe(true)
      expect((await stat(path)).mode & 0o777).toBe(0o600)
      expect(await readdir(folder)).toEqual(['bundle.jws'])
      expect(large).toContain(await readFile(path, 'utf8'))
      await expect(cacheInFile(join(folder, 'no', 'bundle.jws')).set('x')).rejects.toThrow('ENOENT')
      expect(() => cacheInFile('')).toThrow(TypeError)
      await mkdir(join(folder, 'in-the-way'))
      const blocked = cacheInFile(join(folder, 'in-the-way'))
      await expect(blocked.get(), 'it is there, and cannot be read').rejects.toThrow('EISDIR')
      await expect(blocked.set('x')).rejects.toThrow('EISDIR')
      expect((await readdir(folder)).sort()).toEqual(['bundle.jws', 'in-the-way'])
    } finally {
      await rm(folder, { recursive: true })
    }
  })
})
