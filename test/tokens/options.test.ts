import { generateKeyPairSync } from 'node:crypto'
import { describe, expect, test } from 'vitest'
import { type AgentTokensOptions, agentTokens } from '../../packages/core/src/tokens/agent-tokens.js'
import { generateKeys, mintAgentToken } from '../../packages/core/src/tokens/mint.js'
import { clock, ed25519, hs256, SECRET, write } from './tokens.js'

const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 }).publicKey
const p384 = generateKeyPairSync('ec', { namedCurve: 'P-384' }).publicKey
const ed448 = generateKeyPairSync('ed448').publicKey
const pem = (key: typeof rsa) => String(key.export({ format: 'pem', type: 'spki' }))
const { publicKey, privateKey } = await generateKeys()
const { publicKey: ecKey } = await generateKeys({ alg: 'ES256' })
const subtle = (await crypto.subtle.generateKey('Ed25519', false, ['sign', 'verify'])) as CryptoKeyPair
const p384Subtle = (await crypto.subtle.generateKey({ name: 'ECDSA', namedCurve: 'P-384' }, false, [
  'sign',
  'verify',
])) as CryptoKeyPair
const hmacKey = await crypto.subtle.generateKey({ name: 'HMAC', hash: 'SHA-256' }, false, ['sign', 'verify'])

const wrong: Array<[what: string, options: Record<string, unknown>, message: RegExp]> = [
  ['no key', {}, /exactly one of jwks, publicKey and secret/],
  ['a key that is undefined', { secret: undefined }, /exactly one/],
  ['two keys', { secret: SECRET, publicKey }, /exactly one/],
  ['three keys', { secret: SECRET, publicKey, jwks: 'https://a/' }, /exactly one/],
  ['a secret of 31 bytes', { secret: new Uint8Array(31) }, /"secret".*32 bytes, it has 31/],
  ['a secret of 31 letters', { secret: 'a'.repeat(31) }, /"secret".*32/],
  ['a secret that is a number', { secret: 7 }, /"secret"/],
  ['a secret that is null', { secret: null }, /"secret"/],
  ['a secret that is a public key', { secret: ed25519.pem }, /"secret".*key file/],
  ['a secret that is the bytes of a public key', { secret: Buffer.from(` ${ed25519.pem}`) }, /"secret".*key file/],
  ['an RSA key', { publicKey: pem(rsa) }, /"publicKey".*Ed25519 or a P-256/],
  ['a P-384 key', { publicKey: pem(p384) }, /"publicKey".*P-256/],
  ['an Ed448 key', { publicKey: pem(ed448) }, /"publicKey".*Ed25519/],
  ['an RSA JWK', { publicKey: rsa.export({ format: 'jwk' }) }, /"publicKey"/],
  ['a P-384 JWK', { publicKey: p384.export({ format: 'jwk' }) }, /"publicKey"/],
  ['a P-384 CryptoKey', { publicKey: p384Subtle.publicKey }, /"publicKey"/],
  ['an HMAC CryptoKey', { publicKey: hmacKey }, /"publicKey"/],
  ['a symmetric JWK', { publicKey: { kty: 'oct', k: SECRET } }, /"publicKey"/],
  ['a private JWK', { publicKey: privateKey }, /"publicKey" holds a private key/],
  ['a private CryptoKey', { publicKey: subtle.privateKey }, /"publicKey".*public key/],
  [
    'a private PEM',
    { publicKey: '-----BEGIN PRIVATE KEY-----\nAA==\n-----END PRIVATE KEY-----' },
    /"publicKey".*BEGIN PUBLIC KEY/,
  ],
  ['two keys in one PEM', { publicKey: ed25519.pem + ed25519.pem }, /"publicKey" must hold one key/],
  ['text that is no PEM', { publicKey: 'abc' }, /"publicKey"/],
  ['a JWK for encryption', { publicKey: { ...publicKey, use: 'enc' } }, /"publicKey".*"use"/],
  ['a JWK that is not to verify with', { publicKey: { ...publicKey, key_ops: ['sign'] } }, /"publicKey".*"key_ops"/],
  ['a JWK for another algorithm', { publicKey: { ...publicKey, alg: 'ES256' } }, /"publicKey".*"alg"/],
  ['a JWK with a short x', { publicKey: { ...publicKey, x: 'AA' } }, /"publicKey".*32 bytes/],
  ['a JWK without y', { publicKey: { ...ecKey, y: undefined } }, /"publicKey".*32 bytes/],
  ['a JWK with a kid that is a number', { publicKey: { ...publicKey, kid: 7 } }, /"publicKey".*"kid"/],
  ['a public key that is null', { publicKey: null }, /"publicKey"/],
  ['a key set that is a list', { jwks: [publicKey] }, /"jwks"/],
  ['a key set without keys', { jwks: { keys: [] } }, /"jwks" has no keys/],
  ['a key set with a wrong key', { jwks: { keys: [publicKey, { kty: 'RSA' }] } }, /"jwks": keys\[1\]/],
  ['a key set with two keys of one name', { jwks: { keys: [publicKey, { ...ecKey, kid: publicKey.kid }] } }, /"jwks".*"kid"/],
  ['a key set that is null', { jwks: null }, /"jwks"/],
  ['an address that is none', { jwks: 'jwks.json' }, /"jwks".*URL/],
  ['a file', { jwks: 'file:///jwks.json' }, /"jwks".*URL/],
  ['an address with a password', { jwks: 'https://user:pass@example.com/' }, /"jwks".*password/],
  ['an empty issuer', { secret: SECRET, issuer: '' }, /"issuer"/],
  ['an issuer in a list', { secret: SECRET, issuer: ['a'] }, /"issuer"/],
  ['an empty audience', { secret: SECRET, audience: '' }, /"audience"/],
  ['no audiences', { secret: SECRET, audience: [] }, /"audience"/],
  ['an audience that is null', { secret: SECRET, audience: null }, /"audience"/],
  ['a longest life of zero', { secret: SECRET, maxTokenAgeMs: 0 }, /"maxTokenAgeMs"/],
  ['a longest life without end', { secret: SECRET, maxTokenAgeMs: Number.POSITIVE_INFINITY }, /"maxTokenAgeMs"/],
  ['a longest life in words', { secret: SECRET, maxTokenAgeMs: '24h' }, /"maxTokenAgeMs"/],
  ['a list of revoked tokens', { secret: SECRET, isRevoked: new Set() }, /"isRevoked"/],
  ['a clock that stands', { secret: SECRET, clock: 7 }, /"clock"/],
  ['a misspelt option', { secret: SECRET, audiance: 'api' }, /"audiance".*"audience"/],
]

describe('agentTokens throws a TypeError at creation for', () => {
  test.each(wrong)('%s', (_, options, message) => {
    const create = () => agentTokens(options as unknown as AgentTokensOptions)
    expect(create).toThrow(TypeError)
    expect(create).toThrow(message)
  })
})

test('Options are copied: changing them later changes nothing', async () => {
  const audience = ['api']
  const { jwks, privateKey: key } = await generateKeys()
  const [options, other] = [{ jwks, audience, issuer: 'one', clock }, await generateKeys()]
  const authenticate = agentTokens(options)
  options.issuer = 'two'
  audience[0] = 'web'
  Object.assign(jwks.keys[0] as object, other.publicKey)
  const token = await mintAgentToken({ id: 'bot', key, clock, issuer: 'one', audience: 'api' })
  await expect(authenticate(token)).resolves.toHaveProperty('id', 'bot')
})

describe('The tier of an agent', () => {
  test.each([
    [{ tier: 'trusted' }, 'trusted'],
    [{ tier: 'basic' }, 'verified'],
    [{ trust: 'privileged' }, 'privileged'],
    [{ tier: 'verified', trust: 'privileged' }, 'verified'],
    [{ tier: 'root', trust: 'privileged' }, 'unverified'],
    [{ tier: null, trust: 'privileged' }, 'unverified'],
    [{ tier: 'root' }, 'unverified'],
    [{ tier: ['privileged'] }, 'unverified'],
    [{ trustTier: 'privileged' }, 'unverified'],
    [{ tier: '__proto__' }, 'unverified'],
    [{}, 'unverified'],
  ])('of a token with %j is %s', async (payload, tier) => {
    const agent = await agentTokens({ ...hs256.keys, clock })(write(hs256, { payload }))
    expect(agent.trustTier).toBe(tier)
  })
})

test('A name that is no text and metadata that is no object are left out', async () => {
  const payload = { name: 7, metadata: ['a'] }
  const agent = await agentTokens({ ...hs256.keys, clock })(write(hs256, { payload }))
  expect(agent.name).toBeUndefined()
  expect(agent.metadata).toBeUndefined()
})

test('A polluted prototype adds nothing to an agent', async () => {
  const authenticate = agentTokens({ ...hs256.keys, clock })
  const polluted = { tier: 'privileged', trust: 'privileged', tags: ['admin'], name: 'root', metadata: { root: true } }
  try {
    for (const [key, value] of Object.entries(polluted)) {
      Object.defineProperty(Object.prototype, key, { value, configurable: true, writable: true })
    }
    const agent = await authenticate(write(hs256))
    expect([agent.trustTier, agent.tags, agent.name, agent.metadata]).toEqual(['unverified', [], undefined, undefined])
  } finally {
    for (const key of Object.keys(polluted)) Reflect.deleteProperty(Object.prototype, key)
  }
})
