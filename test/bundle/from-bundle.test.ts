import {
  ConnectionError,
  createGuard,
  type DecisionRequest,
  type FromBundleOptions,
  fromBundle,
  generateKeys,
  UnavailableError,
  ValidationError,
} from '@meshguard/core'
import { cacheInMemory, signBundle } from '@meshguard/core/bundle'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { ALLOW_READING, type Publisher, startPublisher } from './publisher.js'
import { sourcesOf } from './sources.js'

const HOUR_MS = 3_600_000
const agent = { id: 'agent_nova', trustTier: 'verified', tags: ['sales'] }
const question: DecisionRequest = { action: 'read:contacts', agent, traceId: 'trace-0001' }
const at = (ms: number) => new Date(ms).toISOString()

let publisher: Publisher
let reloads: object[]
const { start, errors, close } = sourcesOf(() => publisher, {
  pollMs: 24 * HOUR_MS,
  onReload: (info: object) => void reloads.push(info),
})

beforeEach(async () => {
  vi.useFakeTimers({ toFake: ['Date'], now: Date.UTC(2026, 0, 5) })
  publisher = await startPublisher()
  reloads = []
})
afterEach(async () => {
  await close()
  await publisher.close()
  vi.useRealTimers()
})

const later = (ms: number) => vi.setSystemTime(Date.now() + ms)
const codeOf = async (source: ReturnType<typeof start>, more: object = {}) =>
  (await source.decide({ ...question, ...more })).code
const messages = () => errors.map(({ message }) => message).join('\n')

describe('fromBundle', () => {
  it('fetches nothing before its first use, and then decides at once', async () => {
    await publisher.publish()
    const source = start({ token: 'msvc_service' })
    await new Promise((resolve) => setTimeout(resolve, 50))
    expect(publisher.asked).toEqual([])
    expect(source.bundle).toBeUndefined()
    expect(await source.decide(question)).toMatchObject({ allowed: true, rule: 'allow read:*' })
    expect(publisher.asked).toEqual([{ authorization: 'Bearer msvc_service', ifNoneMatch: undefined }])
    expect(source.decide(question)).toMatchObject({ allowed: true, code: 'allowed' })
    expect(source.bundle).toMatchObject({ version: 1, isGood: true, issuedAt: Date.now() })
  })

  it('makes a guard synchronous, with agents and with tokens that it has seen', async () => {
    await publisher.publish()
    const source = start()
    await source.refresh()
    const guard = createGuard({ source })
    const token = await publisher.signer.mint(agent)
    expect(guard.decide(question)).toMatchObject({ allowed: true, agentId: agent.id })
    const asked = { action: 'read:contacts', token, traceId: 'trace-0001' }
    expect(await guard.decide(asked)).toMatchObject({ allowed: true, agentId: agent.id })
    expect(guard.decide(asked)).toMatchObject({ allowed: true, agentId: agent.id })
    expect(await guard.explain('read:contacts', { token })).toMatchObject({ allowed: true, steps: [{ policy: 'readers' }] })
    const many = await guard.checkMany([{ action: 'read:a' }, { action: 'write:a' }], { token })
    expect(many.map(({ allowed }) => allowed)).toEqual([true, false])
  })

  it('loads bundles from wherever they are kept', async () => {
    const jws = await publisher.signer.sign({ policies: ALLOW_READING })
    const load = vi.fn(() => jws)
    const source = start({ url: undefined, load } as never)
    expect(await codeOf(source)).toBe('allowed')
    expect(load).toHaveBeenCalledWith({ etag: undefined, signal: expect.any(AbortSignal) })
  })

  it('refuses options that are wrong, naming them', () => {
    const make = (options: object) => () => fromBundle(options as FromBundleOptions)
    const good = { url: publisher.url, ...publisher.signer.options }
    expect(make({ ...good, publicKeys: undefined })).toThrow(/publicKeys and jwks/)
    expect(make({ ...good, jwks: { keys: [] } })).toThrow(/publicKeys and jwks/)
    expect(make({ ...good, publicKeys: [] })).toThrow(/"publicKeys"/)
    expect(make({ ...good, publicKeys: [publisher.signer.bundles.privateKey] })).toThrow(
      /"publicKeys\[0\]" holds a private key/,
    )
    expect(make({ url: publisher.url, jwks: { keys: [] } })).toThrow(/"jwks"/)
    expect(make({ url: publisher.url, jwks: 'ftp://x.example' })).toThrow(/fromBundle: option "jwks"/)
    expect(make({ ...good, url: undefined })).toThrow(/url and load/)
    expect(make({ ...good, load: () => '' })).toThrow(/url and load/)
    expect(make({ ...good, url: 'x' })).toThrow(/"url"/)
    expect(make({ ...good, token: 'do not tell' })).toThrow(/^(?!.*do not tell).*"token"/)
    expect(make({ ...publisher.signer.options, load: () => '', stream: true })).toThrow(/"stream"/)
    for (const name of ['pollMs', 'maxStalenessMs', 'timeoutMs', 'maxTokenAgeMs']) {
      for (const value of [0, -1, Number.NaN, '5']) expect(make({ ...good, [name]: value })).toThrow(new RegExp(`"${name}"`))
    }
    for (const minVersion of [0, 1.5, '2']) expect(make({ ...good, minVersion })).toThrow(/"minVersion"/)
    for (const name of ['cache', 'limiter']) expect(make({ ...good, [name]: {} })).toThrow(new RegExp(`"${name}"`))
    for (const name of ['onError', 'onReload']) expect(make({ ...good, [name]: 1 })).toThrow(new RegExp(`"${name}"`))
    expect(make({ ...good, polMs: 1 })).toThrow(/"polMs". Did you mean "pollMs"/)
  })

  it('answers nothing any more once it is closed', async () => {
    await publisher.publish()
    const source = start()
    await source.refresh()
    await source.close()
    expect(await source.decide(question)).toMatchObject({ code: 'unavailable', reason: 'The source is closed' })
    await expect(source.refresh()).rejects.toThrow('closed')
    expect(publisher.asked).toHaveLength(1)
  })

  it('closed is not out of reach: nothing opens for it', async () => {
    await publisher.close()
    const source = start()
    await expect(source.decide(question)).rejects.toBeInstanceOf(ConnectionError)
    await source.close()
    expect(await source.decide(question)).toMatchObject({ code: 'unavailable', reason: 'The source is closed' })
    await publisher.reopen()
  })
})

describe('A bundle that is refused is reported, and the last good one stays:', () => {
  const bad: readonly (readonly [string, (publisher: Publisher) => Promise<string>, RegExp])[] = [
    [
      'forged',
      async ({ signer }) => (await signer.sign({ policies: [] })).replace(/\.[\w-]+\./, (body) => body.toLowerCase()),
      /not signed by/,
    ],
    ['truncated', async ({ signer }) => (await signer.sign()).slice(0, 200), /JWS|signed/],
    ['empty', async () => '', /not a JWS/],
    ['an HTML page', async () => '<!doctype html>', /not a JWS/],
    ['older', async ({ signer }) => signer.sign({ version: 2, policies: [] }), /goes back: its version is 2, not 3/],
    [
      'expired',
      ({ signer }) => signer.sign({ issuedAt: at(Date.now() - 2 * HOUR_MS), expiresAt: at(Date.now() - HOUR_MS) }),
      /has expired/,
    ],
    ['issued too long ago', ({ signer }) => signer.sign({ issuedAt: at(Date.now() - 7 * HOUR_MS) }), /longer ago/],
    ['issued in the future', ({ signer }) => signer.sign({ issuedAt: at(Date.now() + HOUR_MS) }), /in the future/],
    [
      'signed by a foreign key',
      async ({ signer }) => {
        const document = {
          version: 9,
          issuedAt: at(Date.now()),
          expiresAt: at(Date.now() + HOUR_MS),
          policies: [],
          agents: {},
          delegations: [],
          jwks: signer.tokens.jwks,
        }
        return signBundle(document, { key: (await generateKeys()).privateKey, kid: signer.bundles.publicKey.kid })
      },
      /not signed by/,
    ],
    ['too large', async () => 'x'.repeat(32 * 1024 * 1024 + 1), /larger than 32 MiB/],
    ['bad JSON', async ({ signer }) => signer.sign({ policies: 'x' as never }).catch(() => 'e30.e30.e30'), /typ/],
    ['of a bad policy', ({ signer }) => signer.sign({ policies: [{ name: 'x', rules: [] }] }), /policies\[0\]/],
    ['of a bad agent', ({ signer }) => signer.sign({ agents: { a: { tier: 'root' } as never } }), /agents\."a"/],
  ]

  it.each(bad)('%s', async (_, make, why) => {
    for (let i = 0; i < 3; i++) await publisher.publish({ agents: { agent_gone: { revoked: true } } })
    const source = start()
    expect(await source.refresh()).toMatchObject({ version: 3 })
    publisher.serve(await make(publisher))
    await expect(source.refresh()).rejects.toBeInstanceOf(ValidationError)
    await expect(source.refresh()).rejects.toBeInstanceOf(ValidationError)
    expect(errors, 'reported once').toHaveLength(1)
    expect(messages()).toMatch(why)
    expect(source.decide(question)).toMatchObject({ allowed: true })
    expect(source.decide({ ...question, agent: { ...agent, id: 'agent_gone' } })).toMatchObject({ code: 'unauthenticated' })
    expect(source.bundle).toMatchObject({ version: 3, isGood: true })
    await publisher.publish({ version: 10, policies: [] })
    expect(await source.refresh()).toMatchObject({ version: 10 })
    expect(reloads).toMatchObject([{ version: 10, recovered: true }])
    expect(source.decide(question)).toMatchObject({ code: 'no_match' })
  })

  it('and there is none without a good one', async () => {
    publisher.serve('nonsense')
    const source = start()
    expect(await source.decide(question)).toMatchObject({ code: 'unavailable' })
    expect(messages()).toMatch(/not a JWS/)
  })

  it.each([
    [401, /401: the service token is not good/],
    [403, /403: the service token lacks the scope "bundle"/],
    [409, /JWT_SECRET/],
    [500, /500/],
    [502, /502/, ConnectionError],
    [503, /503/, ConnectionError],
    [504, /504/, ConnectionError],
    [505, /505/],
    [301, /301/],
  ])('and an answer %i is none', async (status, why, kind = UnavailableError) => {
    await publisher.publish()
    const source = start()
    await source.refresh()
    publisher.fail((_, response) => response.writeHead(status, { location: '/jwks' }).end('{}'))
    const error = await source.refresh().catch((thrown: Error) => thrown)
    expect(error).toMatchObject({ message: expect.stringMatching(why), constructor: kind })
    expect(source.decide(question)).toMatchObject({ allowed: true })
  })

  it('the same version signed later is taken, signed earlier is not', async () => {
    await publisher.publish({ version: 5 })
    const source = start()
    const { issuedAt } = await source.refresh()
    later(HOUR_MS)
    await publisher.publish({ version: 5 })
    expect(await source.refresh()).toMatchObject({ version: 5, issuedAt: issuedAt + HOUR_MS })
    publisher.serve(await publisher.signer.sign({ version: 5, issuedAt: at(issuedAt), policies: [] }))
    expect(await source.refresh()).toMatchObject({ issuedAt: issuedAt + HOUR_MS })
    expect(source.decide(question)).toMatchObject({ allowed: true })
    expect(errors).toEqual([])
    expect(reloads).toEqual([])
  })

  it('what a callback throws changes nothing', async () => {
    const said = vi.spyOn(console, 'error').mockImplementation(() => undefined)
    const throwing = () => {
      throw new Error('mine')
    }
    await publisher.publish()
    const source = start({ onError: throwing, onReload: throwing })
    await source.refresh()
    publisher.serve('nonsense')
    await expect(source.refresh()).rejects.toThrow('JWS')
    await publisher.publish()
    await source.refresh()
    expect(said.mock.calls.flat().join()).toMatch(/fromBundle threw: mine/)
    said.mockRestore()
  })

  it('without callbacks it is said on stderr', async () => {
    const said = vi.spyOn(console, 'error').mockImplementation(() => undefined)
    await publisher.publish()
    const source = start({ onError: undefined, onReload: undefined })
    await source.refresh()
    publisher.serve('nonsense\u001b[2J')
    await expect(source.refresh()).rejects.toThrow('JWS')
    await publisher.publish()
    await source.refresh()
    expect(said.mock.calls.flat()).toEqual([
      expect.stringMatching(/no new bundle.*\n.*not a JWS/),
      expect.stringMatching(/bundles can be had again \(version 2/),
    ])
    said.mockRestore()
  })
})

describe('Versions go forward across restarts', () => {
  it('through the cache', async () => {
    const cache = cacheInMemory()
    for (let i = 0; i < 3; i++) await publisher.publish()
    await start({ cache }).refresh()
    const restarted = start({ cache })
    publisher.serve(await publisher.signer.sign({ version: 2, policies: [] }))
    await expect(restarted.refresh()).rejects.toThrow(/goes back: its version is 2, not 3/)
    expect(restarted.decide(question)).toMatchObject({ allowed: true })
  })

  it('and through minVersion', async () => {
    await publisher.publish()
    const source = start({ minVersion: 2 })
    await expect(source.refresh()).rejects.toThrow(/not 2 or later/)
    expect(await codeOf(source)).toBe('unavailable')
    const cache = { get: () => publisher.signer.sign({ version: 1 }), set: vi.fn() }
    const cached = start({ minVersion: 2, cache })
    await publisher.close()
    await expect(codeOf(cached)).rejects.toThrow(/cannot be reached/)
    expect(messages()).toMatch(/older than minVersion/)
    await publisher.reopen()
  })
})
