import { generateKeys, UnavailableError, ValidationError } from '@meshguard/core'
import { type BundleDocument, bundleSchema, signBundle, verifyBundle } from '@meshguard/core/bundle'
import fc from 'fast-check'
import { CompactSign, exportPKCS8, exportSPKI, generateKeyPair, importJWK } from 'jose'
import { describe, expect, it } from 'vitest'
import * as z from 'zod/mini'

const NOW = Date.UTC(2026, 0, 5)
const HOUR_MS = 3_600_000
const RUNS = Number(process.env['MESHGUARD_RUNS'] ?? 300)
const at = (ms: number) => new Date(ms).toISOString()

const keys = await generateKeys()
const tokens = await generateKeys()
const other = await generateKeys()
const known = { publicKeys: [keys.publicKey] }

const document: BundleDocument = {
  version: 7,
  issuedAt: at(NOW),
  expiresAt: at(NOW + 24 * HOUR_MS),
  policies: [{ name: 'readers', rules: [{ name: 'read', effect: 'allow', actions: ['read:*'] }] }],
  agents: {
    agent_gone: { revoked: true },
    agent_seen: { tier: 'trusted', tags: ['sales'], gen: 2, name: 'seen', metadata: { team: 'a' } },
    agent_to: { tier: 'verified', tags: [], gen: 0 },
  },
  delegations: [{ id: 'd1', from: 'agent_seen', to: 'agent_to', actions: ['read:*'], depth: 1, expiresAt: at(NOW + HOUR_MS) }],
  jwks: tokens.jwks,
}
const sign = (changes: object = {}, key = keys.privateKey) => signBundle({ ...document, ...changes } as BundleDocument, { key })
const jws = await sign()

/** Signs whatever it is given, as no `signBundle` would. */
async function signAnything(payload: string | Uint8Array, header: object = {}, key = keys.privateKey): Promise<string> {
  const bytes = typeof payload === 'string' ? new TextEncoder().encode(payload) : payload
  const { kid } = keys.publicKey
  return new CompactSign(bytes)
    .setProtectedHeader({ alg: 'EdDSA', typ: 'meshguard-bundle+jws', kid, ...header } as { alg: string })
    .sign(await importJWK({ ...key, alg: undefined } as never, 'EdDSA'))
}
const signJson = (value: unknown) => signAnything(JSON.stringify(value))

const refusal = async (given: unknown, options: object = {}, by: Parameters<typeof verifyBundle>[1] = known) => {
  const error = await verifyBundle(given as string, by, { now: NOW, ...options }).then(
    () => undefined,
    (thrown: unknown) => thrown,
  )
  expect(error).toBeInstanceOf(ValidationError)
  return (error as ValidationError).message
}

describe('A bundle', () => {
  it('says what was signed, and names the key', async () => {
    const verified = await verifyBundle(jws, known, { now: NOW })
    expect(verified.document).toEqual(document)
    expect(verified.kid).toBe(keys.publicKey.kid)
    expect(verified.policies.policies.map(({ name }) => name)).toEqual(['readers'])
  })

  it('is described by its schema', () => {
    expect(z.safeParse(bundleSchema, document).success).toBe(true)
    expect(z.toJSONSchema(bundleSchema, { unrepresentable: 'any', io: 'input' })).toMatchObject({ type: 'object' })
  })

  it('is verified by keys as JWK, CryptoKey, PEM, or a set in which others are marked for something else', async () => {
    const pair = await generateKeyPair('EdDSA', { extractable: true })
    const signed = await signBundle(document, { key: await exportPKCS8(pair.privateKey), kid: 'by-hand' })
    for (const key of [pair.publicKey, await exportSPKI(pair.publicKey)]) {
      expect((await verifyBundle(signed, { publicKeys: [other.publicKey, key] }, { now: NOW })).kid).toBe('by-hand')
    }
    const marked = (key: object, typ: string) => ({ ...key, typ }) as never
    const set = { keys: [marked(tokens.publicKey, 'JWT'), marked(keys.publicKey, 'meshguard-bundle+jws')] }
    expect((await verifyBundle(jws, { jwks: set }, { now: NOW })).document.version).toBe(7)
    const swapped = { keys: [marked(keys.publicKey, 'JWT'), marked(tokens.publicKey, 'meshguard-bundle+jws')] }
    expect(await refusal(jws, {}, { jwks: swapped })).toMatch(/not signed by a key that is known/)
  })

  it('that names no key is verified by whichever of the keys has signed it', async () => {
    const { kid: _, ...nameless } = keys.privateKey as { kid?: string }
    const signed = await signBundle(document, { key: nameless as never })
    expect((await verifyBundle(signed, { publicKeys: [other.publicKey, keys.publicKey] }, { now: NOW })).kid).toBeUndefined()
    expect(await refusal(signed, {}, { publicKeys: [other.publicKey] })).toMatch(/not signed by a key that is known/)
  })

  it('is verified by no key but Ed25519', async () => {
    const { publicKey, jwks } = await generateKeys({ alg: 'ES256' })
    await expect(verifyBundle(jws, { publicKeys: [publicKey] })).rejects.toThrow(
      'option "publicKeys[0]" must be an Ed25519 key',
    )
    await expect(verifyBundle(jws, { jwks })).rejects.toThrow('option "jwks" has no Ed25519 key for bundles')
    await verifyBundle(jws, { jwks: { keys: [...jwks.keys, keys.publicKey] } }, { now: NOW })
  })

  it('may be off by five minutes of clock, either way, and no more', async () => {
    const skew = 300_000
    for (const now of [NOW - skew, NOW + 24 * HOUR_MS + skew]) await verifyBundle(jws, known, { now })
    expect(await refusal(jws, { now: NOW - skew - 1 })).toMatch(/in the future/)
    expect(await refusal(jws, { now: NOW + 24 * HOUR_MS + skew + 1 })).toMatch(/has expired/)
    await verifyBundle(jws, known, { now: NOW + HOUR_MS + skew, maxStalenessMs: HOUR_MS })
    expect(await refusal(jws, { now: NOW + HOUR_MS + skew + 1, maxStalenessMs: HOUR_MS })).toMatch(/maxStalenessMs/)
  })

  it('is refused when it is older than minVersion', async () => {
    await verifyBundle(jws, known, { now: NOW, minVersion: 7 })
    expect(await refusal(jws, { minVersion: 8 })).toMatch(/version is 7, not 8/)
  })
})

describe('The signature comes first:', () => {
  const [head = '', body = '', signature = ''] = jws.split('.')
  const encode = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url')
  const withHeader = (header: object) => `${encode(header)}.${body}.${signature}`
  const good = { alg: 'EdDSA', typ: 'meshguard-bundle+jws', kid: keys.publicKey.kid }

  it.each<[string, unknown, RegExp]>([
    ['no text', undefined, /not a JWS/],
    ['an empty text', '', /not a JWS/],
    ['an object', {}, /not a JWS/],
    ['a list that reads like one', [jws], /not a JWS/],
    ['two parts', `${head}.${body}`, /not a JWS/],
    ['a part too many', `${jws}.x`, /not a JWS/],
    ['a detached payload', `${head}..${signature}`, /not a JWS/],
    ['a line end', `${jws}\n`, /not a JWS/],
    ['a header that is no JSON', `e30x.${body}.${signature}`, /header is not/],
    ['a header that is a list', `${encode([])}.${body}.${signature}`, /not an object/],
    ['a token’s typ', withHeader({ ...good, typ: 'JWT' }), /"typ"/],
    ['a checkpoint’s typ', withHeader({ ...good, typ: 'meshguard-checkpoint+jws' }), /"typ"/],
    ['no typ', withHeader({ alg: 'EdDSA' }), /"typ"/],
    ['alg none', withHeader({ ...good, alg: 'none' }), /"alg"/],
    ['alg HS256', withHeader({ ...good, alg: 'HS256' }), /"alg"/],
    ['alg ES256', withHeader({ ...good, alg: 'ES256' }), /"alg"/],
    ['a key of its own', withHeader({ ...good, jwk: other.publicKey }), /more than/],
    ['the address of a key', withHeader({ ...good, jku: 'https://evil.example' }), /more than/],
    ['an extension', withHeader({ ...good, crit: ['b64'], b64: false }), /more than/],
    ['a kid that is no text', withHeader({ ...good, kid: 7 }), /"kid"/],
    ['a header of great length', withHeader({ ...good, kid: 'k'.repeat(8000) }), /header is too long/],
    ['another kid', withHeader({ ...good, kid: 'other' }), /not signed by a key/],
    ['a signature that is cut off', jws.slice(0, -8), /not signed by a key/],
    ['an empty signature', `${head}.${body}.AA`, /not signed by a key/],
    ['a payload that is cut off', `${head}.${body.slice(0, -4)}.${signature}`, /not signed by a key/],
  ])('%s', async (_, given, why) => {
    expect(await refusal(given)).toMatch(why)
  })

  it('a foreign key, whatever kid it names', async () => {
    expect(await refusal(await sign({}, other.privateKey))).toMatch(/not signed by a key/)
    const posing = await signBundle(document, { key: other.privateKey, kid: keys.publicKey.kid })
    expect(await refusal(posing)).toMatch(/not signed by a key/)
  })

  it('nothing of what is not signed is parsed: a bomb of brackets is refused for its signature', async () => {
    const bomb = Buffer.from('['.repeat(1_000_000)).toString('base64url')
    expect(await refusal(`${head}.${bomb}.${signature}`)).toMatch(/not signed by a key/)
  })

  it('a bundle of more than 32 MiB is not looked at', async () => {
    expect(await refusal(`${jws}${'A'.repeat(32 * 1024 * 1024)}`)).toMatch(/larger than 32 MiB/)
  })

  it('keys that cannot be fetched say nothing about the bundle', async () => {
    await expect(verifyBundle(jws, { jwks: 'http://127.0.0.1:1/jwks' }, { now: NOW })).rejects.toBeInstanceOf(UnavailableError)
  })
})

describe('What is signed and wrong is refused, and its place is named:', () => {
  const policy = document.policies[0]
  const without = (key: string) => Object.fromEntries(Object.entries(document).filter(([name]) => name !== key))

  /** Objects in objects. */
  const nested = (depth: number): object => (depth === 1 ? {} : { in: nested(depth - 1) })

  it('metadata as deep as they may be are not', async () => {
    const agents = { a: { tier: 'trusted', tags: [], gen: 0, metadata: nested(8) } } as const
    expect((await verifyBundle(await sign({ agents }), known, { now: NOW })).document.agents).toEqual(agents)
  })

  it.each<[string, unknown, RegExp]>([
    ['null', null, /not a JSON object/],
    ['a list', [document], /not a JSON object/],
    ['nothing of a bundle', {}, /policies: expected a list/],
    ...Object.keys(document).map((key): [string, unknown, RegExp] => [`no ${key}`, without(key), new RegExp(key)]),
    ['an unknown member', { ...document, deny: true }, /Unknown key "deny"/],
    ['a version of 0', { ...document, version: 0 }, /version/],
    ['a version in text', { ...document, version: '7' }, /version: expected a number, not "7"/],
    ['a version that is not exact', { ...document, version: 2 ** 60 }, /version/],
    ['a time that is a number', { ...document, issuedAt: NOW }, /issuedAt/],
    ['a time of another form', { ...document, issuedAt: 'Mon, 05 Jan 2026' }, /issuedAt: expected a time/],
    ['a day that is none', { ...document, issuedAt: '2026-13-01T00:00:00Z' }, /issuedAt/],
    ['an end before the beginning', { ...document, expiresAt: document.issuedAt }, /expiresAt/],
    [
      'a bad policy',
      { ...document, policies: [policy, { name: 'x', rules: [{ effect: 'maybe' }] }] },
      /policies\[1\]: rules\[0\]/,
    ],
    ['a policy twice', { ...document, policies: [policy, policy] }, /policies: \[?.*Two policies are named "readers"/],
    ['a policy that is null', { ...document, policies: [null] }, /policies\[0\]/],
    ['an agent id that is none', { ...document, agents: { 'no id': { revoked: true } } }, /agents\."no id"/],
    ['an agent that is null', { ...document, agents: { a: null } }, /agents\."a": expected an object/],
    ['an agent without a tier', { ...document, agents: { a: { tags: [], gen: 0 } } }, /tier/],
    ['an agent of no tier', { ...document, agents: { a: { tier: 'root', tags: [], gen: 0 } } }, /tier/],
    ['tags that are text', { ...document, agents: { a: { tier: 'trusted', tags: 'x', gen: 0 } } }, /tags/],
    ['a generation below 0', { ...document, agents: { a: { tier: 'trusted', tags: [], gen: -1 } } }, /gen/],
    ['revoked: "no"', { ...document, agents: { a: { revoked: 'no', tier: 'trusted', tags: [], gen: 0 } } }, /revoked/],
    ['an unknown member of an agent', { ...document, agents: { a: { revoked: true, until: 1 } } }, /Unknown key "until"/],
    ['a name of a revoked agent', { ...document, agents: { a: { revoked: true, name: 'a' } } }, /Unknown key "name"/],
    ['a name that is a number', { ...document, agents: { a: { tier: 'trusted', tags: [], gen: 0, name: 7 } } }, /name/],
    [
      'metadata that are a list',
      { ...document, agents: { a: { tier: 'trusted', tags: [], gen: 0, metadata: [] } } },
      /metadata/,
    ],
    [
      'metadata that are nested too deeply',
      { ...document, agents: { a: { tier: 'trusted', tags: [], gen: 0, metadata: nested(9) } } },
      /nested too deeply/,
    ],
    [
      'a delegation without an end',
      { ...document, delegations: [{ ...document.delegations[0], expiresAt: undefined }] },
      /expiresAt/,
    ],
    ['a delegation of no action', { ...document, delegations: [{ ...document.delegations[0], actions: [] }] }, /actions/],
    ['a private key', { ...document, jwks: { keys: [tokens.privateKey] } }, /not public/],
    ['a secret', { ...document, jwks: { keys: [{ kty: 'oct', k: 'c2VjcmV0' }] } }, /not public/],
  ])('%s', async (_, value, why) => {
    expect(await refusal(await signJson(value))).toMatch(why)
  })

  it('bytes that are not UTF-8', async () => {
    const bytes = new TextEncoder().encode(JSON.stringify(document))
    bytes[20] = 0xff
    expect(await refusal(await signAnything(bytes))).toMatch(/UTF-8/)
  })

  it('keys that would reach a prototype', async () => {
    const text = JSON.stringify(document)
    const agents = '"agents":{"__proto__":{"revoked":true},'
    expect(await refusal(await signAnything(text.replace('"agents":{', agents)))).toMatch(/agents\."__proto__"/)
    expect(await refusal(await signAnything(text.replace('{', '{"__proto__":{"x":1},')))).toMatch(/Unknown key/)
    const metadata = '"metadata":{"__proto__":{"a":1},'
    expect(await refusal(await signAnything(text.replace('"metadata":{', metadata)))).toMatch(/__proto__/)
  })

  it('signBundle does not sign what every verifier would refuse', async () => {
    for (const changes of [{ version: 0 }, { issuedAt: NOW }, { extra: 1 }, { jwks: { keys: [tokens.privateKey] } }]) {
      await expect(sign(changes)).rejects.toBeInstanceOf(ValidationError)
    }
    await expect(signBundle(document, { key: keys.privateKey, kid: 7 as never })).rejects.toThrow(/^signBundle: option "kid"/)
    const es256 = await generateKeys({ alg: 'ES256' })
    for (const key of [keys.publicKey, es256.privateKey, 'secret'.repeat(8)]) {
      await expect(signBundle(document, { key })).rejects.toThrow(/^signBundle: option "key"/)
    }
  })
})

describe('Properties of reading', () => {
  it(`bytes that were changed are never accepted, and nothing but a ValidationError is thrown (${RUNS} changes)`, async () => {
    const place = fc.nat(jws.length - 1)
    const unit = fc.constantFrom(...'ABCDEFabcdef0189-_.=+/ \n\u0000é')
    const change = fc.oneof(
      fc.tuple(place, unit).map(([i, one]) => jws.slice(0, i) + one + jws.slice(i + 1)),
      fc.tuple(place, unit).map(([i, one]) => jws.slice(0, i) + one + jws.slice(i)),
      fc.tuple(place, fc.nat(20)).map(([i, n]) => jws.slice(0, i) + jws.slice(i + 1 + n)),
      fc.tuple(place, place).map(([i, j]) => jws.slice(i) + jws.slice(0, j)),
      fc.string({ maxLength: 200 }),
    )
    await fc.assert(
      fc.asyncProperty(change, async (changed) => {
        if (changed === jws) return
        // The last character of a part in base64url can have bits that mean nothing: what is decoded must be what was signed.
        const verified = await verifyBundle(changed, known, { now: NOW }).catch((error: unknown) => error)
        if (!(verified instanceof ValidationError)) expect(verified).toMatchObject({ document })
      }),
      { numRuns: RUNS, interruptAfterTimeLimit: 8000 },
    )
  })

  it(`a document that is cut or changed before it is signed is read whole or refused (${RUNS} changes)`, async () => {
    const text = JSON.stringify(document)
    const place = fc.nat(text.length - 1)
    const changes = fc.oneof(
      fc.tuple(place, fc.nat(30)).map(([i, n]) => text.slice(0, i) + text.slice(i + 1 + n)),
      fc.tuple(place, fc.constantFrom(...'{}[],:"\\ 1nt')).map(([i, one]) => text.slice(0, i) + one + text.slice(i)),
      fc.json(),
    )
    await fc.assert(
      fc.asyncProperty(changes, async (changed) => {
        const verified = await verifyBundle(await signAnything(changed), known, { now: NOW }).catch((error: unknown) => error)
        if (verified instanceof ValidationError) return
        expect((verified as { document: BundleDocument }).document).toEqual(JSON.parse(changed))
      }),
      { numRuns: RUNS, interruptAfterTimeLimit: 8000 },
    )
  })
})
