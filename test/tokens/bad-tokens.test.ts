import { createPublicKey, generateKeyPairSync, sign } from 'node:crypto'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { AuthenticationError } from '../../packages/core/src/errors.js'
import { type AgentTokensOptions, agentTokens } from '../../packages/core/src/tokens/agent-tokens.js'
import { clock, ed25519, es256, goodClaims, hmac, hs256, type Kind, kinds, NOW_S, type Recipe, write } from './tokens.js'

const attempt = async (options: AgentTokensOptions, token: string) => agentTokens({ clock, ...options })(token)
const verify = (kind: Kind, token: string, options: Partial<AgentTokensOptions> = {}) =>
  attempt({ ...kind.keys, ...options } as AgentTokensOptions, token)

const without = (claim: string) => {
  const claims: Record<string, unknown> = goodClaims()
  delete claims[claim]
  return { payloadRaw: JSON.stringify(claims) }
}
const nested = (depth: number): unknown => (depth === 0 ? 1 : { a: nested(depth - 1) })

const refused: Array<[what: string, recipe: Recipe, message: RegExp, options?: Partial<AgentTokensOptions>]> = [
  ['has no exp', without('exp'), /"exp"/],
  ['has no iat', without('iat'), /"iat"/],
  ['has no sub', without('sub'), /"sub"/],
  ['has no iss', without('iss'), /"iss"/],
  ['has expired more than 5 s ago', { payload: { iat: NOW_S - 60, exp: NOW_S - 6 } }, /"exp"/],
  ['has an exp that is a string', { payload: { exp: String(NOW_S + 60) } }, /"exp"/],
  [
    'has an exp that is infinite',
    { payloadRaw: JSON.stringify(goodClaims()).replace(/"exp":\d+/, '"exp":1e999') },
    /maxTokenAgeMs/,
  ],
  [
    'has an iat that is minus infinity',
    { payloadRaw: JSON.stringify(goodClaims()).replace(/"iat":\d+/, '"iat":-1e999') },
    /"iat"/,
  ],
  ['has an iat that is a string', { payload: { iat: String(NOW_S) } }, /"iat"/],
  ['has an iat that is null', { payload: { iat: null } }, /"iat"/],
  ['was issued more than 5 s in the future', { payload: { iat: NOW_S + 6 } }, /"iat"/],
  ['is older than the longest life', { payload: { iat: NOW_S - 86_406 } }, /"iat"/],
  ['is made for more than the longest life', { payload: { exp: NOW_S + 86_406 } }, /maxTokenAgeMs/],
  ['is made for more than a shorter longest life', {}, /maxTokenAgeMs/, { maxTokenAgeMs: 60_000 }],
  ['begins more than 5 s in the future', { payload: { nbf: NOW_S + 6 } }, /"nbf"/],
  ['has an nbf that is a string', { payload: { nbf: '0' } }, /"nbf"/],
  [
    'has an nbf that is infinite',
    { payloadRaw: JSON.stringify({ ...goodClaims(), nbf: 0 }).replace('"nbf":0', '"nbf":1e999') },
    /"nbf"/,
  ],
  ['is from another issuer', { payload: { iss: 'evil' } }, /"iss"/],
  ['has an issuer in a list', { payload: { iss: ['meshguard'] } }, /"iss"/],
  ['is for another audience', { payload: { aud: 'other' } }, /"aud"/, { audience: 'api' }],
  ['is for no audience where one is needed', {}, /"aud"/, { audience: ['api', 'web'] }],
  ['has a sub that is no agent id', { payload: { sub: '../agent' } }, /"sub"/],
  ['has a sub with a line feed behind it', { payload: { sub: 'agent-low\n' } }, /"sub"/],
  ['has a sub that is a number', { payload: { sub: 7 } }, /"sub"/],
  ['has a sub in a list', { payload: { sub: ['agent-low'] } }, /"sub"/],
  ['has a sub of 129 characters', { payload: { sub: 'a'.repeat(129) } }, /"sub"/],
  ['has 65 tags', { payload: { tags: Array(65).fill('a') } }, /"tags"/],
  ['has a tag of 65 characters', { payload: { tags: ['a'.repeat(65)] } }, /"tags"/],
  ['has a tag that is a number', { payload: { tags: ['a', 1] } }, /"tags"/],
  ['has tags that are a string', { payload: { tags: 'admin' } }, /"tags"/],
  ['has tags that are null', { payload: { tags: null } }, /"tags"/],
  ['has metadata nested 9 deep', { payload: { metadata: nested(9) } }, /nested/],
  [
    'has metadata with __proto__',
    { payloadRaw: JSON.stringify(goodClaims()).replace('{', '{"metadata":{"__proto__":{"a":1}},') },
    /__proto__/,
  ],
  ['acts for somebody', { payload: { act: { sub: 'agent-all' } } }, /delegation.*act.*not evaluated/],
  ['has an act that is null', { payload: { act: null } }, /delegation/],
  ['may act for somebody', { payload: { may_act: { sub: 'agent-all' } } }, /delegation.*may_act/],
  ['carries a delegation', { payload: { delegation: [] } }, /delegation/],
  ['has no typ', { header: { typ: undefined } }, /"typ"/],
  ['is a refresh token', { header: { typ: 'refresh+jwt' } }, /"typ"/],
  ['is a bundle', { header: { typ: 'meshguard-bundle+jws' } }, /"typ"/],
  ['has a typ that is no string', { header: { typ: ['JWT'] } }, /"typ"/],
  ['has crit', { header: { crit: ['x'], x: 1 } }, /crit/],
  ['has crit with b64 true', { header: { crit: ['b64'], b64: true } }, /crit/],
  ['has crit with b64 false', { header: { crit: ['b64'], b64: false } }, /crit|b64/],
  ['has an empty crit', { header: { crit: [] } }, /crit/],
  ['has a kid that is a number', { header: { kid: 1 } }, /"kid"/],
  ['has a kid that is an object', { header: { kid: { toString: 'a' } } }, /"kid"/],
  ['has alg none and no signature', { header: { alg: 'none' }, signature: '' }, /JWT/],
  ['has alg none and a signature', { header: { alg: 'none' } }, /"alg"/],
  ['has alg nOnE', { header: { alg: 'nOnE' } }, /"alg"/],
  ['has alg NONE and a made-up signature', { header: { alg: 'NONE' }, signature: 'AA' }, /"alg"/],
  ['has no alg', { header: { alg: undefined } }, /"alg"/],
  ['has an alg in a list', { header: { alg: ['EdDSA', 'ES256', 'HS256'] } }, /"alg"/],
  ['has an alg that no key has', { header: { alg: 'RS256' } }, /"alg"/],
  ['has HS512 for its alg', { header: { alg: 'HS512' } }, /"alg"/],
  ['has __proto__ for its alg', { header: { alg: '__proto__' } }, /"alg"/],
  ['has an empty signature', { signature: '' }, /JWT/],
  ['has a signature of one byte', { signature: 'AA' }, /signature/],
  ['has a signature of zeros', { signature: Buffer.alloc(64).toString('base64url') }, /signature/],
  ['has claims that are a list', { payloadRaw: '[1]' }, /object/],
  ['has claims that are null', { payloadRaw: 'null' }, /object/],
  ['has claims that are no JSON', { payloadRaw: '{"sub":' }, /object/],
]

describe.each(kinds)('A token signed with $name', (kind) => {
  test('is good as the rules describe it', async () => {
    await expect(verify(kind, write(kind))).resolves.toMatchObject({ id: 'agent-low', trustTier: 'unverified' })
  })

  test.each(refused)('is refused when it %s', async (_, recipe, message, options) => {
    const token = write(kind, recipe)
    const error = await verify(kind, token, options).catch((thrown: unknown) => thrown)
    expect(error).toBeInstanceOf(AuthenticationError)
    expect((error as Error).message).toMatch(message)
    expect((error as Error).message).not.toContain(token)
    expect((error as Error).cause).toBeUndefined()
  })

  test.each([
    ['expired 4 s ago', { payload: { iat: NOW_S - 60, exp: NOW_S - 4 } }],
    ['was issued 5 s in the future', { payload: { iat: NOW_S + 5 } }],
    ['begins 5 s in the future', { payload: { nbf: NOW_S + 5 } }],
    ['lives for a day', { payload: { exp: NOW_S + 86_400 } }],
    ['has 64 tags of 64 characters', { payload: { tags: Array(64).fill('x'.repeat(64)) } }],
    ['has a sub of 128 characters', { payload: { sub: 'a'.repeat(128) } }],
    ['has metadata nested 8 deep', { payload: { metadata: nested(8) } }],
    ['has typ at+jwt', { header: { typ: 'at+jwt' } }],
    ['has typ jwt', { header: { typ: 'jwt' } }],
    ['has typ application/AT+JWT', { header: { typ: 'application/AT+JWT' } }],
    ['has an audience and none is needed', { payload: { aud: 'whoever' } }],
  ])('is good when it %s', async (_, recipe) => {
    await expect(verify(kind, write(kind, recipe))).resolves.toHaveProperty('id')
  })

  test('is good for one of several audiences', async () => {
    const token = write(kind, { payload: { aud: ['web', 'api'] } })
    await expect(verify(kind, token, { audience: 'api' })).resolves.toHaveProperty('id')
    await expect(verify(kind, token, { audience: ['x', 'web'] })).resolves.toHaveProperty('id')
  })

  test('is refused when any one character of it is changed', async () => {
    const token = write(kind)
    const parts = token.split('.')
    for (const at of [3, (parts[0] as string).length + 9, token.length - 20]) {
      const changed = `${token.slice(0, at)}${token[at] === 'A' ? 'B' : 'A'}${token.slice(at + 1)}`
      await expect(verify(kind, changed)).rejects.toBeInstanceOf(AuthenticationError)
    }
  })

  test('is refused by every other kind of key', async () => {
    for (const other of kinds) {
      if (other === kind) continue
      await expect(verify(other, write(kind))).rejects.toBeInstanceOf(AuthenticationError)
      await expect(verify(other, write(kind, { header: { alg: other.alg } }))).rejects.toBeInstanceOf(AuthenticationError)
    }
  })

  test('is refused when it is signed by another key of the same kind', async () => {
    const foreign = { Ed25519: generateKeyPairSync('ed25519'), ES256: generateKeyPairSync('ec', { namedCurve: 'P-256' }) }[
      kind.name
    ]
    const signature = foreign
      ? (input: string) =>
          sign(kind.alg === 'ES256' ? 'sha256' : null, Buffer.from(input), {
            key: foreign.privateKey,
            dsaEncoding: 'ieee-p1363',
          }).toString('base64url')
      : hmac('another secret of more than thirty-two bytes').signature
    await expect(verify(kind, write({ ...kind, signature }))).rejects.toThrow(/signature/)
  })

  test.each([
    ['the empty string', ''],
    ['no dots', 'abc'],
    ['two parts', 'a.b'],
    ['four parts', 'a.b.c.d'],
    ['five parts, as an encrypted token has', 'a.b.c.d.e'],
    ['an empty first part', '.b.c'],
    ['an empty middle part', 'a..c'],
    ['padding', 'a=.b.c'],
    ['plus signs', 'a+.b.c'],
    ['white space', 'a.b.c '],
    ['a line feed at the end', 'a.b.c\n'],
    ['letters beyond ASCII', 'ä.b.c'],
    ['garbage in all three parts', 'abc.def.ghi'],
    ['a part of one character', 'a.b.c'],
  ])('is never a string with %s', async (_, token) => {
    await expect(verify(kind, token)).rejects.toBeInstanceOf(AuthenticationError)
  })

  test('is refused at once, before it is looked at, when it is longer than 8 KiB', () => {
    const authenticate = agentTokens({ ...kind.keys, clock })
    const token = write(kind, { payload: { metadata: { text: 'x'.repeat(8000) } } })
    expect(token.length).toBeGreaterThan(8192)
    expect(() => authenticate(token)).toThrow(/8 KiB/)
  })

  test('is good up to 8 KiB', async () => {
    const token = write(kind, { payload: { metadata: { text: 'x'.repeat(5800) } } })
    expect(token.length).toBeGreaterThan(7900)
    await expect(verify(kind, token)).resolves.toHaveProperty('id')
  })

  test.each([undefined, null, 7, {}, ['a.b.c']])('is never %j', async (token) => {
    await expect(verify(kind, token as unknown as string)).rejects.toBeInstanceOf(AuthenticationError)
  })
})

describe('A key that a token brings along', () => {
  const attacker = generateKeyPairSync('ed25519')
  const signature = (input: string) => sign(null, Buffer.from(input), attacker.privateKey).toString('base64url')
  const jwk = attacker.publicKey.export({ format: 'jwk' })
  test.each([{ jwk }, { jku: 'http://127.0.0.1:1/' }, { x5u: 'http://127.0.0.1:1/' }, { x5c: ['AA=='] }, { kid: 'k', jwk }])(
    'is not used: %j',
    async (header) => {
      await expect(verify(ed25519, write({ ...ed25519, signature }, { header }))).rejects.toThrow(/signature/)
    },
  )
})

describe('The text of a public key', () => {
  test.each([ed25519, es256])('is no secret to forge tokens for $name with', async (kind) => {
    for (const text of [kind.pem, kind.pem.trim(), kind.pem.replaceAll('\n', '')]) {
      await expect(verify(kind, write(hmac(text)))).rejects.toThrow(/"alg"/)
      await expect(verify(kind, write({ ...hmac(text), alg: kind.alg }))).rejects.toThrow(/signature/)
    }
  })
})

describe('A kid', () => {
  const jwk = (kid?: string) => ({ ...es256Jwk, ...(kid !== undefined && { kid }) })
  const es256Jwk = jwkOf(es256.pem)
  const withKid = (kid?: string) => write(es256, { header: { kid } })

  test.each(['__proto__', 'constructor', 'toString', '', 'x', '../../dev/null', "' OR 1=1 --"])(
    'that no key has is refused: %j',
    async (kid) => {
      for (const keys of [{ jwks: { keys: [jwk('k1')] } }, { publicKey: jwk('k1') }, { jwks: { keys: [jwk()] } }]) {
        await expect(attempt(keys, withKid(kid))).rejects.toThrow(/key/)
      }
      await expect(attempt(hs256.keys, write(hs256, { header: { kid } }))).rejects.toThrow(/key/)
    },
  )

  test('finds its key, whatever it is called', async () => {
    const keys = ['__proto__', 'a'].map(jwk)
    await expect(attempt({ jwks: { keys } }, withKid('__proto__'))).resolves.toHaveProperty('id')
  })

  test('that is missing is fine where only one key fits', async () => {
    const keys = [jwk('e'), { ...jwkOf(ed25519.pem), kid: 'd' }]
    await expect(attempt({ jwks: { keys } }, withKid())).resolves.toHaveProperty('id')
    await expect(attempt({ jwks: { keys } }, write(ed25519))).resolves.toHaveProperty('id')
    await expect(attempt({ jwks: { keys: [...keys, jwk('f')] } }, withKid())).rejects.toThrow(/key/)
  })

  test('does not matter for a key without one', async () => {
    await expect(attempt({ publicKey: jwk() }, withKid('anything'))).resolves.toHaveProperty('id')
    await expect(attempt(es256.keys, withKid('anything'))).resolves.toHaveProperty('id')
  })

  test('of a key for another algorithm is refused', async () => {
    const keys = [jwk('e'), { ...jwkOf(ed25519.pem), kid: 'd' }]
    await expect(attempt({ jwks: { keys } }, withKid('d'))).rejects.toThrow(/"alg"/)
  })
})

test('Whatever a token says in its header and claims, it is an agent or a bad token, and nothing else is thrown', async () => {
  const names = [
    'alg',
    'typ',
    'kid',
    'crit',
    'b64',
    'jwk',
    'zip',
    'sub',
    'iss',
    'aud',
    'iat',
    'exp',
    'nbf',
    'tags',
    'tier',
    'metadata',
  ]
  const values = fc.oneof(fc.jsonValue({ maxDepth: 3 }), fc.constantFrom(-1, 1e308, '', 'JWT', 'HS256', 'b64', ['b64']))
  const fields = fc.dictionary(fc.oneof(fc.constantFrom(...names), fc.string()), values, { maxKeys: 4, noNullPrototype: true })
  const authenticate = agentTokens({ ...hs256.keys, clock })
  let good = 0
  const property = fc.asyncProperty(fields, fields, async (header, payload) => {
    const outcome = await (async () => authenticate(write(hs256, { header, payload })))().catch((error: unknown) => error)
    if (outcome instanceof Error) expect(outcome).toBeInstanceOf(AuthenticationError)
    else good += 1
  })
  await fc.assert(property, { numRuns: 3000, interruptAfterTimeLimit: 5000 })
  expect(good).toBeGreaterThan(0)
})

test('EdDSA and Ed25519 are two names of one algorithm', async () => {
  await expect(verify(ed25519, write(ed25519, { header: { alg: 'Ed25519' } }))).resolves.toHaveProperty('id')
})

function jwkOf(pem: string) {
  return createPublicKey(pem).export({ format: 'jwk' })
}
