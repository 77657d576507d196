import { createPublicKey, generateKeyPairSync, sign } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { AuthenticationError } from '../../packages/core/src/errors.js'
import { type AgentTokenKeys, agentTokens } from '../../packages/core/src/tokens/agent-tokens.js'
import { clock, ed25519, es256, goodClaims, hmac, hs256, type Kind, NOW_S, type Recipe, write } from './tokens.js'

interface TokenRecipe {
  header?: Record<string, unknown>
  payload?: Record<string, unknown>
  payloadRaw?: string
  omit?: string[]
  signWith?: string
  signature?: string
  precondition?: string
}
interface Case {
  id: string
  class: string
  expected: { property: string; allowedStatus: number[] }
  tokenRecipe: TokenRecipe
}

const { cases } = JSON.parse(readFileSync(new URL('../vectors/bypass.json', import.meta.url), 'utf8')) as { cases: Case[] }
const all = cases.filter((one) => one.class === 'jwt')
const byId = (id: string) => all.find((one) => one.id === id)?.tokenRecipe as TokenRecipe
/** These two need more than a token; they have tests of their own below. */
const jwtCases = all.filter(({ id }) => id !== 'jwt-deleted-recreated' && id !== 'jwt-hs-rs-confusion')
const attacker = generateKeyPairSync('rsa', { modulusLength: 2048 })

const YEARS_100 = 3_155_760_000
const WORDS = new Map<unknown, unknown>([
  ['now', NOW_S],
  ['now+600', NOW_S + 600],
  ['now+3600', NOW_S + 3600],
  ['now+7200', NOW_S + 7200],
  ['now-7200', NOW_S - 7200],
  ['now-120', NOW_S - 120],
  ['now+100 years', NOW_S + YEARS_100],
  ['"9999999999" as a string', '9999999999'],
  ['{{AUD}}', 'api'],
  ['attacker public key', attacker.publicKey.export({ format: 'jwk' })],
])

const inNumbers = (fields: Record<string, unknown> = {}) =>
  Object.fromEntries(Object.entries(fields).map(([name, value]) => [name, WORDS.get(value) ?? value]))

/** A recipe speaks of one deployment; where it does not say which key signs, it is the deployment's own. */
function recipeFor(
  kind: Kind,
  { header, payload, payloadRaw, omit = [], signature }: TokenRecipe,
  typ: string | undefined,
): Recipe {
  const claims: Record<string, unknown> = { ...goodClaims(), ...inNumbers(payload) }
  for (const claim of omit) delete claims[claim]
  const { alg, ...rest } = { typ, ...inNumbers(header) } as Record<string, unknown>
  const ownAlg = alg === undefined || alg === 'HS256' ? kind.alg : alg
  return {
    header: { alg: ownAlg, ...rest },
    payloadRaw: payloadRaw ?? JSON.stringify(claims),
    ...(signature !== undefined && { signature }),
  }
}

const signedBy = (kind: Kind, { signWith }: TokenRecipe): Kind =>
  signWith === 'attacker key'
    ? { ...kind, signature: (input) => sign('sha256', Buffer.from(input), attacker.privateKey).toString('base64url') }
    : kind

const keysOf = (kind: Kind & { pem?: string }): AgentTokenKeys =>
  kind.pem === undefined
    ? kind.keys
    : { jwks: { keys: [{ ...createPublicKey(kind.pem).export({ format: 'jwk' }), kid: 'k1' }] } }

const accepts = async (kind: Kind, token: string) => agentTokens({ ...keysOf(kind), clock })(token)

test('The vectors hold the cases that are replayed here, and a good token passes', async () => {
  expect(jwtCases.length).toBeGreaterThanOrEqual(15)
  for (const kind of [hs256, ed25519, es256])
    await expect(accepts(kind, write(kind))).resolves.toHaveProperty('id', 'agent-low')
})

describe.each([hs256, ed25519, es256])('With $name keys', (kind) => {
  test.each(jwtCases)('$id: $expected.property', async ({ tokenRecipe, expected }) => {
    expect(expected.allowedStatus).toContain(401)
    for (const typ of ['JWT', undefined]) {
      const token = write(signedBy(kind, tokenRecipe), recipeFor(kind, tokenRecipe, typ))
      await expect(accepts(kind, token)).rejects.toBeInstanceOf(AuthenticationError)
    }
  })
})

test.each([ed25519, es256])('jwt-hs-rs-confusion: the PEM text of a $name key signs nothing', async (kind) => {
  for (const text of [kind.pem, kind.pem.trim()]) {
    const forger = hmac(text)
    const token = write(forger, recipeFor(forger, byId('jwt-hs-rs-confusion'), 'JWT'))
    await expect(accepts(kind, token)).rejects.toThrow(/"alg"/)
    await expect(agentTokens({ ...kind.keys, clock })(token)).rejects.toThrow(/"alg"/)
  }
})

test('jwt-dup-sub: decision and audit see one subject', async () => {
  const payloadRaw = `{"sub":"agent-low","sub":"agent-all","iss":"meshguard","iat":${NOW_S},"exp":${NOW_S + 60}}`
  await expect(accepts(hs256, write(hs256, { payloadRaw }))).resolves.toMatchObject({ id: 'agent-all' })
})

test('jwt-deleted-recreated: isRevoked can tell a token of before by its jti', async () => {
  const authenticate = agentTokens({ ...hs256.keys, clock, isRevoked: (_, { jti }) => jti !== 'second' })
  await expect(authenticate(write(hs256, { payload: { jti: 'first' } }))).rejects.toThrow(/revoked/)
  await expect(authenticate(write(hs256, { payload: { jti: 'second' } }))).resolves.toHaveProperty('id', 'agent-low')
})
