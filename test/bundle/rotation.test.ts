/** Keys of bundles that change while guards poll. */
import { type DecisionRequest, generateKeys } from '@meshguard/core'
import { signBundle } from '@meshguard/core/bundle'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { type Publisher, startPublisher } from './publisher.js'
import { sourcesOf } from './sources.js'

const question: DecisionRequest = {
  action: 'read:contacts',
  agent: { id: 'agent_nova', trustTier: 'verified' },
  traceId: 'trace-0001',
}

let publisher: Publisher
const { start, close } = sourcesOf(() => publisher)

beforeEach(async () => {
  vi.useFakeTimers({ toFake: ['Date'], now: Date.UTC(2026, 0, 5) })
  publisher = await startPublisher()
})
afterEach(async () => {
  await close()
  await publisher.close()
  vi.useRealTimers()
  vi.restoreAllMocks()
})

const later = (ms: number) => vi.setSystemTime(Date.now() + ms)

describe('A key that is rotated while polling', () => {
  it('is fetched when a bundle names it, and the old one goes on as long as the set holds it', async () => {
    const next = await generateKeys()
    const source = start({ publicKeys: undefined, jwks: `${publisher.url}/jwks` } as never)
    await publisher.publish()
    await source.refresh()
    const { bundles } = publisher.signer
    const was = { ...bundles }
    Object.assign(bundles, next)
    await publisher.publish({ agents: { agent_nova: { revoked: true } } })
    await expect(source.refresh(), 'the set was fetched just now').rejects.toThrow(/not signed by a key/)
    expect(source.decide(question)).toMatchObject({ allowed: true })
    later(31_000)
    expect(await source.refresh()).toMatchObject({ version: 2 })
    expect(source.decide(question)).toMatchObject({ code: 'unauthenticated' })
    later(31_000)
    Object.assign(bundles, was)
    publisher.serve(await signBundle({ ...(await documentOf()), version: 3 }, { key: was.privateKey }))
    Object.assign(bundles, next)
    await expect(source.refresh(), 'the old key is no longer published').rejects.toThrow(/not signed by a key/)
  })

  it('is fetched by who knows the first one, and only when it is needed', async () => {
    const { bundles } = publisher.signer
    await publisher.publish()
    const alone = start({ publicKeys: [bundles.publicKey], jwks: 'http://127.0.0.1:9/jwks' } as never)
    expect(await alone.refresh()).toMatchObject({ version: 1 })
    const source = start({ publicKeys: [bundles.publicKey], jwks: `${publisher.url}/jwks` } as never)
    expect(await source.refresh()).toMatchObject({ version: 1 })
    Object.assign(bundles, await generateKeys())
    await publisher.publish()
    expect(await source.refresh()).toMatchObject({ version: 2 })
    publisher.serve(await signBundle({ ...(await documentOf()), version: 3 }, { key: (await generateKeys()).privateKey }))
    await expect(source.refresh()).rejects.toThrow(/not signed by a key/)
  })

  const documentOf = async () => {
    const now = Date.now()
    const times = { issuedAt: new Date(now).toISOString(), expiresAt: new Date(now + 3_600_000).toISOString() }
    return { version: 1, ...times, policies: [], agents: {}, delegations: [], jwks: { keys: [] } }
  }

  it('is asked for at most every 30 s, whatever bundles name', async () => {
    let fetched = 0
    const real = globalThis.fetch
    vi.spyOn(globalThis, 'fetch').mockImplementation((...given) => {
      if (String(given[0]).endsWith('/jwks')) fetched++
      return real(...given)
    })
    const source = start({ publicKeys: undefined, jwks: `${publisher.url}/jwks` } as never)
    await publisher.publish()
    await source.refresh()
    for (let i = 0; i < 20; i++) {
      const { privateKey } = await generateKeys()
      publisher.serve(await signBundle({ ...(await documentOf()), version: 9 + i }, { key: privateKey }))
      await expect(source.refresh()).rejects.toThrow(/not signed by a key/)
    }
    expect(fetched).toBe(1)
    expect(source.bundle?.version).toBe(1)
  })
})
