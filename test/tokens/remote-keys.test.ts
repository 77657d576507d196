import { createServer, type RequestListener, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { JWK } from 'jose'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { AuthenticationError, ConnectionError, UnavailableError } from '../../packages/core/src/errors.js'
import { agentTokens } from '../../packages/core/src/tokens/agent-tokens.js'
import { type GeneratedKeyPair, generateKeys, mintAgentToken } from '../../packages/core/src/tokens/mint.js'
import type { Authenticate } from '../../packages/core/src/types.js'
import { NOW } from './tokens.js'

let server: Server
let url: string
let requests: number
let answer: RequestListener
let now: number
const clock = () => now

let a: GeneratedKeyPair
let b: GeneratedKeyPair
let authenticate: Authenticate

const serving =
  (...keys: unknown[]): RequestListener =>
  (_, res) =>
    res.end(JSON.stringify({ keys }))
const mint = (key: JWK, id = 'agent-low') => mintAgentToken({ id, key, clock })
const attempt = async (token: string) => authenticate(token)
const listen = (port = 0) =>
  new Promise<void>((resolve) => {
    server = createServer((req, res) => {
      requests += 1
      answer(req, res)
    }).listen(port, '127.0.0.1', resolve)
  })
const close = () =>
  new Promise<void>((resolve) => {
    server.close(() => resolve())
    server.closeAllConnections()
  })

beforeEach(async () => {
  now = NOW
  requests = 0
  a = await generateKeys()
  b = await generateKeys({ alg: 'ES256' })
  answer = serving(a.publicKey)
  await listen()
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/.well-known/jwks.json`
  authenticate = agentTokens({ jwks: url, clock })
})
afterEach(close)

describe('A key set behind a URL', () => {
  test('is fetched when the first token comes, once for many', async () => {
    expect(requests).toBe(0)
    const token = await mint(a.privateKey)
    const agents = await Promise.all([attempt(token), attempt(token), attempt(await mint(a.privateKey, 'other'))])
    expect(agents.map(({ id }) => id)).toEqual(['agent-low', 'agent-low', 'other'])
    expect(agents[0]).toBe(agents[1])
    expect(requests).toBe(1)
    expect(authenticate(token)).toBe(agents[0])
  })

  test('may be given as a URL object, which is copied', async () => {
    const address = new URL(url)
    authenticate = agentTokens({ jwks: address, clock })
    address.port = '1'
    await expect(attempt(await mint(a.privateKey))).resolves.toHaveProperty('id')
  })

  test('is fetched again for a key that is new, and tokens of the key that went are forgotten', async () => {
    const old = await mint(a.privateKey)
    const remembered = await attempt(old)
    answer = serving(b.publicKey)
    now += 30_000
    const agent = await attempt(await mint(b.privateKey))
    expect(agent.id).toBe('agent-low')
    expect(requests).toBe(2)
    await expect(attempt(old)).rejects.toBeInstanceOf(AuthenticationError)
    expect(remembered).not.toBe(agent)
  })

  test('holds old and new keys side by side during a rotation', async () => {
    const old = await mint(a.privateKey)
    await attempt(old)
    answer = serving(a.publicKey, b.publicKey)
    now += 30_000
    await expect(attempt(await mint(b.privateKey))).resolves.toHaveProperty('id')
    await expect(attempt(old)).resolves.toHaveProperty('id')
    expect(requests).toBe(2)
  })

  test('is not fetched for every unknown key within 30 s', async () => {
    await attempt(await mint(a.privateKey))
    const unknown = await mint(b.privateKey)
    now += 29_999
    for (let i = 0; i < 5; i++) await expect(attempt(unknown)).rejects.toBeInstanceOf(AuthenticationError)
    expect(requests).toBe(1)
    now += 1
    for (let i = 0; i < 5; i++) await expect(attempt(unknown)).rejects.toBeInstanceOf(AuthenticationError)
    expect(requests).toBe(2)
  })

  test('is fetched again after 10 minutes; while the keys are the same, so is the agent', async () => {
    const token = await mint(a.privateKey)
    const agent = await attempt(token)
    now += 599_999
    expect(authenticate(token)).toBe(agent)
    now += 1
    const again = authenticate(token)
    expect(again).toBeInstanceOf(Promise)
    expect(await again).toBe(agent)
    expect(requests).toBe(2)
    expect(authenticate(token)).toBe(agent)
  })

  test('takes a key away within 10 minutes from tokens that are remembered', async () => {
    const token = await mint(a.privateKey)
    await attempt(token)
    answer = serving(b.publicKey)
    now += 600_000
    await expect(attempt(token)).rejects.toBeInstanceOf(AuthenticationError)
  })

  test('is fetched again when the clock went back', async () => {
    const token = await mint(a.privateKey)
    await attempt(token)
    now -= 1
    await expect(attempt(token)).resolves.toHaveProperty('id')
    expect(requests).toBe(2)
  })

  test('is passed over where it holds keys that cannot verify tokens', async () => {
    const secret = Buffer.from('a secret of more than thirty-two bytes').toString('base64url')
    answer = serving(
      { kty: 'RSA', kid: 'r', n: 'AQAB', e: 'AQAB' },
      { kty: 'oct', kid: 'o', k: secret },
      a.privateKey,
      { ...a.publicKey, kid: 'enc', use: 'enc' },
      { ...b.publicKey, alg: 'ES512' },
      b.publicKey,
    )
    await expect(attempt(await mint(b.privateKey))).resolves.toHaveProperty('id')
    await expect(attempt(await mint(a.privateKey))).rejects.toThrow(/No key/)
  })

  test('that holds a key nobody can read is unavailable for tokens of that key alone', async () => {
    const { publicKey } = await generateKeys({ alg: 'ES256' })
    answer = serving({ ...b.publicKey, x: publicKey.x as string }, a.publicKey)
    await expect(attempt(await mint(b.privateKey))).rejects.toBeInstanceOf(UnavailableError)
    await expect(attempt(await mint(a.privateKey))).resolves.toHaveProperty('id')
  })
})

describe('A key set that cannot be had is unavailable, never a bad token:', () => {
  const broken: Array<[string, RequestListener]> = [
    ['status 500', (_, res) => res.writeHead(500).end('{"keys":[]}')],
    ['status 404', (_, res) => res.writeHead(404).end()],
    ['status 204', (_, res) => res.writeHead(204).end()],
    ['an answer that is too long', (_, res) => res.end(`{"keys":[],"x":"${'x'.repeat(1024 * 1024)}"}`)],
    ['a redirect', (_, res) => res.writeHead(302, { location: '/elsewhere' }).end()],
    ['HTML', (_, res) => res.end('<html></html>')],
    ['an empty body', (_, res) => res.end()],
    ['JSON that is no key set', (_, res) => res.end('{"keys":{}}')],
    ['a list', (_, res) => res.end('[]')],
    ['null', (_, res) => res.end('null')],
    ['a key that is no object', (_, res) => res.end('{"keys":[1]}')],
    ['half an answer', (_, res) => res.writeHead(200, { 'content-length': 100 }).write('{"keys":', () => res.destroy())],
    ['a connection that is cut', (req) => req.socket.destroy()],
  ]

  test.each(broken)('%s, at first and when it was good before', async (_, failing) => {
    const token = await mint(a.privateKey)
    answer = failing
    const error = await attempt(token).catch((thrown: unknown) => thrown)
    expect(error).toBeInstanceOf(UnavailableError)
    expect(error).not.toBeInstanceOf(ConnectionError)
    expect((error as Error).message).toContain('/.well-known/jwks.json')
    expect((error as Error).message).not.toContain(token)

    answer = serving(a.publicKey)
    const agent = await attempt(token)
    answer = failing
    now += 30_000
    await expect(attempt(await mint(b.privateKey))).rejects.toBeInstanceOf(UnavailableError)
    expect(authenticate(token)).toBe(agent)
    now += 600_000
    await expect(attempt(token)).rejects.toBeInstanceOf(UnavailableError)
    answer = serving(a.publicKey)
    await expect(attempt(token)).resolves.toBe(agent)
  })

  test('it is not asked for every unknown key while it fails, and asked again after a second', async () => {
    await attempt(await mint(a.privateKey))
    const unknown = await mint(b.privateKey)
    answer = (_, res) => res.writeHead(500).end()
    now += 30_000
    for (const asked of [2, 3]) {
      for (let i = 0; i < 5; i++) await expect(attempt(unknown)).rejects.toBeInstanceOf(UnavailableError)
      expect(requests).toBe(asked)
      now += 1000
    }
    answer = serving(b.publicKey)
    await expect(attempt(unknown)).resolves.toHaveProperty('id')
  })

  test('nobody listens', async () => {
    await close()
    await expect(attempt(await mint(a.privateKey))).rejects.toBeInstanceOf(UnavailableError)
    await listen(Number(new URL(url).port))
    await expect(attempt(await mint(a.privateKey))).resolves.toHaveProperty('id')
  })

  test('it never answers', async () => {
    answer = () => {}
    await expect(attempt(await mint(a.privateKey))).rejects.toBeInstanceOf(UnavailableError)
  })

  test('a token that is malformed is refused without asking', async () => {
    answer = (_, res) => res.writeHead(500).end()
    await expect(attempt('nonsense')).rejects.toBeInstanceOf(AuthenticationError)
    expect(requests).toBe(0)
  })
})
