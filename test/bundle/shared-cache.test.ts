/** Processes that share a cache, and do not all learn of a bundle at the same moment. */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { DecisionRequest } from '@meshguard/core'
import { cacheInMemory } from '@meshguard/core/bundle'
import { cacheInFile } from '@meshguard/core/node'
import { afterEach, beforeEach, describe, expect, it, onTestFinished, vi } from 'vitest'
import { ALLOW_READING, type Publisher, startPublisher } from './publisher.js'
import { sourcesOf } from './sources.js'

const HOUR_MS = 3_600_000
const agent = { id: 'agent_nova', trustTier: 'verified' }
const question: DecisionRequest = { action: 'read:contacts', agent, traceId: 'trace-0001' }

let publisher: Publisher
const { start, errors, close } = sourcesOf(() => publisher, { pollMs: 24 * HOUR_MS })

beforeEach(async () => {
  publisher = await startPublisher()
})
afterEach(async () => {
  await close()
  await publisher.close()
})

/** A source that loads what it is told to, when it is told to. */
function startSlow(cache: object) {
  let loaded = ''
  const source = start({ url: undefined, load: () => loaded, cache } as never)
  return {
    take(jws: string) {
      loaded = jws
      return source.refresh()
    },
  }
}

/** Two caches in the same file. */
async function caches() {
  const folder = await mkdtemp(join(tmpdir(), 'meshguard-bundle-'))
  onTestFinished(() => rm(folder, { recursive: true }))
  const path = join(folder, 'bundle.jws')
  return { one: cacheInFile(path), other: cacheInFile(path) }
}

it('A cache in a file names the file in what it reports', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'meshguard-bundle-'))
  onTestFinished(() => rm(folder, { recursive: true }))
  await publisher.publish()
  await start({ cache: cacheInFile(folder) }).refresh()
  expect(errors.map(({ message }) => message)).toEqual([
    expect.stringContaining(`The cached bundle is of no use: ${folder}: EISDIR`),
    expect.stringContaining(`The bundle was not cached: ${folder}: EISDIR`),
  ])
})

describe('A cache that processes share', () => {
  it('keeps the later bundle, whoever is the last to write', async () => {
    const { one, other } = await caches()
    const [first, second, third] = [await publisher.signer.sign(), await publisher.signer.sign(), await publisher.signer.sign()]
    const [fast, slow] = [startSlow(one), startSlow(other)]
    await slow.take(first)
    await fast.take(third)
    expect(await slow.take(second)).toMatchObject({ version: 2 })
    expect(await one.get()).toBe(third)
    const next = await publisher.signer.sign()
    await slow.take(next)
    expect(await one.get()).toBe(next)
  })

  it('keeps the same version signed later', async () => {
    const { one, other } = await caches()
    const signedAt = (ms: number) => publisher.signer.sign({ version: 5, issuedAt: new Date(Date.now() + ms).toISOString() })
    const [early, late] = [await signedAt(-HOUR_MS), await signedAt(0)]
    await startSlow(one).take(late)
    const source = startSlow({
      get: vi
        .fn()
        .mockResolvedValueOnce(undefined)
        .mockImplementation(() => other.get()),
      set: other.set,
    })
    await source.take(early)
    expect(await one.get()).toBe(late)
    expect(await startSlow(one).take(early), 'nor is an earlier one decided by').toMatchObject({
      issuedAt: expect.closeTo(Date.now(), -5),
    })
  })

  it('goes by the version first, whatever the clocks of gateways', async () => {
    const { one, other } = await caches()
    const signedAt = (ms: number) => publisher.signer.sign({ issuedAt: new Date(Date.now() + ms).toISOString() })
    const [earlier, later] = [await signedAt(0), await signedAt(-60_000)]
    await startSlow(one).take(earlier)
    await startSlow(other).take(later)
    expect(await one.get()).toBe(later)
  })

  it.each<[string, (jws: string) => string]>([
    ['forged', (jws) => `${jws.slice(0, -20)}${'A'.repeat(20)}`],
    ['cut off', (jws) => jws.slice(0, 100)],
  ])('is written over where its content was %s meanwhile, however late a version it says', async (_, damage) => {
    const cache = cacheInMemory()
    const source = start({ cache })
    await publisher.publish()
    await source.refresh()
    cache.set(damage(await publisher.signer.sign({ version: 1000 })))
    const jws = await publisher.publish({ version: 7 })
    await source.refresh()
    expect(await cache.get()).toBe(jws)
  })

  it('is written once for each bundle, not by each of them', async () => {
    const cache = cacheInMemory()
    const set = vi.fn(cache.set)
    await publisher.publish()
    const sources = Array.from({ length: 5 }, () => start({ cache: { get: cache.get, set } }))
    for (const source of sources) await source.refresh()
    expect(set).toHaveBeenCalledTimes(1)
    await publisher.publish()
    for (const source of sources) await source.refresh()
    expect(set).toHaveBeenCalledTimes(2)
    const restarted = start({ cache: { get: cache.get, set } })
    await restarted.refresh()
    expect(set).toHaveBeenCalledTimes(2)
    expect(restarted.bundle?.version).toBe(2)
  })
})

describe('A cached bundle whose keys cannot be fetched', () => {
  it('is not decided by, and the error says what to do about it', async () => {
    const cache = cacheInMemory()
    await publisher.publish({ policies: ALLOW_READING })
    await start({ cache }).refresh()
    await publisher.close()
    const jwks = `${publisher.url}/jwks`
    const alone = start({ cache, publicKeys: undefined, jwks } as never)
    await expect(alone.decide(question)).rejects.toThrow(/cannot be reached/)
    expect(errors[0]?.message).toMatch(
      /^The cached bundle is of no use: The key set at .*\/jwks could not be fetched: .*; to begin without it, give fromBundle publicKeys as well as jwks$/,
    )
    const both = start({ cache, publicKeys: [publisher.signer.bundles.publicKey], jwks } as never)
    expect(await both.decide(question)).toMatchObject({ allowed: true })
    await publisher.reopen()
  })
})
