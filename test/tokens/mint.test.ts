import { createPrivateKey, createPublicKey, generateKeyPairSync } from 'node:crypto'
import fc from 'fast-check'
import { calculateJwkThumbprint, decodeJwt, decodeProtectedHeader, type JWK } from 'jose'
import { beforeAll, describe, expect, test } from 'vitest'
import { TIER_SPELLINGS, tierOf } from '../../packages/core/src/agent.js'
import { type AgentTokenKeys, agentTokens } from '../../packages/core/src/tokens/agent-tokens.js'
import {
  type GeneratedKeyPair,
  generateKeys,
  type MintAgentTokenOptions,
  mintAgentToken,
} from '../../packages/core/src/tokens/mint.js'
import { clock, NOW, NOW_S, SECRET } from './tokens.js'

let pairs: { Ed25519: GeneratedKeyPair; ES256: GeneratedKeyPair }
beforeAll(async () => {
  pairs = { Ed25519: await generateKeys(), ES256: await generateKeys({ alg: 'ES256' }) }
})

const LETTERS = [...'ABCXYZabcxyz0189']
const ids = fc
  .tuple(fc.constantFrom(...LETTERS), fc.string({ unit: fc.constantFrom(...LETTERS, ...'._:@-'), maxLength: 127 }))
  .map(([first, rest]) => first + rest)
const tags = fc.array(fc.string({ unit: 'grapheme', maxLength: 16 }), { maxLength: 20 })
const safeKeys = fc.string({ maxLength: 8 }).filter((key) => !['__proto__', 'constructor', 'prototype'].includes(key))
const metadata = fc.dictionary(
  safeKeys,
  fc.oneof(fc.integer(), fc.boolean(), fc.string({ maxLength: 20 }), fc.constant(null)),
  {
    maxKeys: 5,
    noNullPrototype: true,
  },
)

describe.each(['Ed25519', 'ES256', 'HS256'] as const)('A minted token (%s)', (alg) => {
  test('is verified as the agent it was minted for, whatever its id, name, tier, tags and metadata', async () => {
    const [key, keys] = alg === 'HS256' ? [SECRET, { secret: SECRET }] : [pairs[alg].privateKey, { jwks: pairs[alg].jwks }]
    const authenticate = agentTokens({ ...(keys as AgentTokenKeys), clock })
    const trustTiers = fc.option(fc.constantFrom(...TIER_SPELLINGS), { nil: undefined })
    const optional = <T>(arbitrary: fc.Arbitrary<T>) => fc.option(arbitrary, { nil: undefined })
    const agents = fc.record({
      id: ids,
      name: optional(fc.string({ unit: 'grapheme', maxLength: 20 })),
      trustTier: trustTiers,
      tags: optional(tags),
      metadata: optional(metadata),
    })
    const property = fc.asyncProperty(agents, async (agent) => {
      const verified = await authenticate(await mintAgentToken({ ...agent, key, clock }))
      expect(verified).toEqual({
        ...agent,
        trustTier: tierOf({ id: agent.id, trustTier: agent.trustTier ?? 'unverified' }),
        tags: agent.tags ?? [],
      })
    })
    await fc.assert(property, { numRuns: 200, interruptAfterTimeLimit: 5000, markInterruptAsFailure: false })
  })
})

test('A minted token has the claims and the header of an agent token', async () => {
  const { privateKey } = pairs.Ed25519
  const token = await mintAgentToken({
    id: 'bot',
    name: 'Bot',
    trustTier: 'basic',
    tags: ['x'],
    metadata: { team: 'a' },
    audience: 'api',
    expiresInMs: 1500,
    key: privateKey,
    clock,
  })
  const { jti, ...claims } = decodeJwt(token)
  expect(claims).toEqual({
    sub: 'bot',
    name: 'Bot',
    tier: 'verified',
    tags: ['x'],
    metadata: { team: 'a' },
    iss: 'meshguard',
    aud: 'api',
    iat: NOW_S,
    exp: NOW_S + 2,
  })
  expect(jti).toMatch(/^[\da-f-]{36}$/)
  expect(decodeProtectedHeader(token)).toEqual({ alg: 'EdDSA', typ: 'JWT', kid: privateKey.kid })
})

test('A minted token lives for a day, is from meshguard, has a jti of its own, and no kid where its key has none', async () => {
  const [first, second] = await Promise.all([1, 2].map(() => mintAgentToken({ id: 'bot', key: SECRET, clock })))
  const claims = decodeJwt(first as string)
  expect(claims).toMatchObject({ iss: 'meshguard', iat: NOW_S, exp: NOW_S + 86_400 })
  expect(claims).not.toHaveProperty('aud')
  expect(claims).not.toHaveProperty('tier')
  expect(claims.jti).not.toBe(decodeJwt(second as string).jti)
  expect(decodeProtectedHeader(first as string)).toEqual({ alg: 'HS256', typ: 'JWT' })
})

test('A token for several audiences and of another issuer is good where both are expected', async () => {
  const token = await mintAgentToken({ id: 'bot', key: SECRET, clock, audience: ['a', 'b'], issuer: 'https://id.example' })
  const options = { secret: SECRET, clock, issuer: 'https://id.example' }
  await expect(agentTokens({ ...options, audience: 'b' })(token)).resolves.toHaveProperty('id', 'bot')
  await expect(agentTokens({ ...options, audience: 'c' })(token)).rejects.toThrow(/"aud"/)
  await expect(agentTokens({ secret: SECRET, clock })(token)).rejects.toThrow(/"iss"/)
})

describe('Keys of every form are read:', () => {
  const made = {
    Ed25519: generateKeyPairSync('ed25519'),
    ES256: generateKeyPairSync('ec', { namedCurve: 'P-256' }),
  }
  const algorithms = { Ed25519: 'Ed25519', ES256: { name: 'ECDSA', namedCurve: 'P-256' } }

  test.each(['Ed25519', 'ES256'] as const)('%s as CryptoKey, JWK and PEM', async (alg) => {
    const { privateKey, publicKey } = made[alg]
    const [spki, pkcs8] = [
      publicKey.export({ format: 'der', type: 'spki' }),
      privateKey.export({ format: 'der', type: 'pkcs8' }),
    ]
    const signing = [
      await crypto.subtle.importKey('pkcs8', new Uint8Array(pkcs8), algorithms[alg], false, ['sign']),
      privateKey.export({ format: 'jwk' }) as JWK,
      String(privateKey.export({ format: 'pem', type: 'pkcs8' })),
      `\n${String(privateKey.export({ format: 'pem', type: 'pkcs8' })).replaceAll('\n', '\r\n')}`,
    ]
    const verifying = [
      await crypto.subtle.importKey('spki', new Uint8Array(spki), algorithms[alg], true, ['verify']),
      publicKey.export({ format: 'jwk' }) as JWK,
      (await crypto.subtle.exportKey(
        'jwk',
        await crypto.subtle.importKey('spki', new Uint8Array(spki), algorithms[alg], true, ['verify']),
      )) as JWK,
      String(publicKey.export({ format: 'pem', type: 'spki' })),
    ]
    for (const key of signing) {
      const token = await mintAgentToken({ id: 'bot', key, clock })
      for (const one of verifying)
        await expect(agentTokens({ publicKey: one, clock })(token)).resolves.toHaveProperty('id', 'bot')
    }
  })

  test('a secret as text and as bytes, which are copied', async () => {
    const bytes = new TextEncoder().encode(SECRET)
    const authenticate = agentTokens({ secret: bytes, clock })
    const token = await mintAgentToken({ id: 'bot', key: Buffer.from(SECRET), clock })
    bytes.fill(0)
    await expect(authenticate(token)).resolves.toHaveProperty('id', 'bot')
  })
})

describe('generateKeys', () => {
  test.each(['Ed25519', 'ES256'] as const)('makes a %s pair that other programs can read', async (alg) => {
    const { privateKey, publicKey, jwks } = await generateKeys({ alg })
    expect(publicKey).toMatchObject({
      use: 'sig',
      alg: alg === 'ES256' ? 'ES256' : 'EdDSA',
      kid: await calculateJwkThumbprint(publicKey),
    })
    expect(privateKey).toMatchObject(publicKey)
    expect(publicKey).not.toHaveProperty('d')
    expect(jwks).toEqual({ keys: [publicKey] })
    const derived = createPublicKey(createPrivateKey({ key: privateKey as never, format: 'jwk' })).export({ format: 'jwk' })
    expect(publicKey).toMatchObject(derived)
  })

  test('makes a secret of 32 random bytes', async () => {
    const [{ secret }, other] = await Promise.all([generateKeys({ alg: 'HS256' }), generateKeys({ alg: 'HS256' })])
    expect(Buffer.from(secret, 'base64url')).toHaveLength(32)
    expect(other.secret).not.toBe(secret)
    const token = await mintAgentToken({ id: 'bot', key: secret })
    await expect(agentTokens({ secret })(token)).resolves.toHaveProperty('id', 'bot')
  })

  test('knows no other algorithm', async () => {
    await expect(generateKeys({ alg: 'RS256' as 'ES256' })).rejects.toThrow(/"alg"/)
  })
})

const rsaPem = String(generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey.export({ format: 'pem', type: 'pkcs8' }))

test.each<[string, () => Record<string, unknown>]>([
  ['id', () => ({ id: 'a b' })],
  ['id', () => ({ id: undefined })],
  ['name', () => ({ name: 7 })],
  ['trustTier', () => ({ trustTier: 'root' })],
  ['tags', () => ({ tags: Array(65).fill('a') })],
  ['tags', () => ({ tags: ['a'.repeat(65)] })],
  ['tags', () => ({ tags: 'admin' })],
  ['metadata', () => ({ metadata: ['a'] })],
  ['metadata', () => ({ metadata: new Date() })],
  ['metadata', () => ({ metadata: JSON.parse('{"__proto__":{}}') })],
  ['metadata', () => ({ metadata: { a: { b: { c: { d: { e: { f: { g: { h: {} } } } } } } } } })],
  ['metadata', () => ({ metadata: { text: 'x'.repeat(8192) } })],
  ['expiresInMs', () => ({ expiresInMs: 0 })],
  ['expiresInMs', () => ({ expiresInMs: -1 })],
  ['expiresInMs', () => ({ expiresInMs: Number.POSITIVE_INFINITY })],
  ['expiresInMs', () => ({ expiresInMs: '1h' })],
  ['expiresIn', () => ({ expiresIn: 1000 })],
  ['issuer', () => ({ issuer: '' })],
  ['audience', () => ({ audience: [] })],
  ['audience', () => ({ audience: ['a', 1] })],
  ['clock', () => ({ clock: NOW })],
  ['key', () => ({ key: undefined })],
  ['key', () => ({ key: 'short' })],
  ['key', () => ({ key: new Uint8Array(31) })],
  ['key', () => ({ key: rsaPem })],
  ['key', () => ({ key: pairs.ES256.publicKey })],
  ['key', () => ({ key: { kty: 'oct', k: 'AAAA' } })],
  ['key', () => ({ key: '-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----' })],
])('mintAgentToken names the option that is wrong: %s', async (option, wrong) => {
  const options = { id: 'bot', key: SECRET, clock, ...wrong() } as MintAgentTokenOptions
  const error = await mintAgentToken(options).catch((thrown: unknown) => thrown)
  expect(error).toBeInstanceOf(TypeError)
  expect((error as Error).message).toContain(`"${option}"`)
})
