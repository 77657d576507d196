import { createHash } from 'node:crypto'
import canonicalizeModule from 'canonicalize'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { AuditEntry } from '../../packages/gateway/src/audit/audit-log.js'
import { hashOf, prepare } from '../../packages/gateway/src/audit/chain.js'
import { cleanEntry, cleanText, isPlainEntry } from '../../packages/gateway/src/audit/clean-entry.js'
import { entryOf } from '../../packages/gateway/src/decide/audit-entry.js'

const canonicalize = canonicalizeModule as unknown as typeof canonicalizeModule.default
const numRuns = Number(process.env['MESHGUARD_RUNS'] ?? 2000)

const plain = {
  traceId: 'trace-0001',
  agentId: 'agent_1',
  action: 'read:contacts',
  decision: 'allow',
  code: 'allowed',
  mode: 'enforce',
  source: 'policies',
} as const

const recorded = (members: Partial<AuditEntry>): AuditEntry => JSON.parse(prepare({ ...plain, ...members }, 0).text)

/** Credentials as they are written; no part of them may be left. */
const CREDENTIALS = [
  ['a JSON Web Token', 'eyJhbGciOiJFZERTQSJ9.eyJzdWIiOiJhZ2VudF8xIn0.c2lnbmF0dXJl', 'eyJzdWIi'],
  ['a service token', 'msvc_4fzyo82mvyr_h2k3j4h5k6', 'h2k3j4h5k6'],
  ['an operator token', 'msat_4fzyo82mvyrh2k3j4h5k6', 'h2k3j4h5k6'],
  ['a bearer credential', 'Authorization: Bearer 0123456789abcdef', '0123456789abcdef'],
  ['basic authentication', 'basic dXNlcjpwYXNzd29yZA==', 'dXNlcjpwYXNzd29yZA'],
  ['an API key by its shape', 'key sk-proj-0123456789abcdefghij used', '0123456789abcdefghij'],
  ['a GitHub token', 'ghp_0123456789abcdefghij0123456789abcdef', '0123456789abcdefghij'],
  ['a cloud key', 'AKIAIOSFODNN7EXAMPLE', 'IOSFODNN7EXAMPLE'],
  ['a password in a query', '/login?user=a&password=hunter2hunter2&x=1', 'hunter2hunter2'],
  ['an API key in a query', '/v1?api_key=hunter2hunter2', 'hunter2hunter2'],
  ['a secret in JSON', '{"client_secret":"hunter2hunter2","a":1}', 'hunter2hunter2'],
  ['a password in a sentence', 'the password: hunter2hunter2', 'hunter2hunter2'],
] as const

describe('an entry of the audit log', () => {
  it('is written in the form of RFC 8785, with an id and a time', () => {
    const { entry, text } = prepare(
      { ...plain, resource: 'contacts/€', metadata: { b: [1, { d: 1e21, c: null }], a: 0.1 } },
      1000,
    )
    expect(entry.id).toMatch(/^00000000-03e8-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/)
    expect(entry.timestamp).toBe('1970-01-01T00:00:01.000Z')
    expect(text).toBe(
      `{"action":"read:contacts","agentId":"agent_1","code":"allowed","decision":"allow","id":"${entry.id}",` +
        `"metadata":{"a":0.1,"b":[1,{"c":null,"d":1e+21}]},"mode":"enforce","resource":"contacts/€","source":"policies",` +
        `"timestamp":"1970-01-01T00:00:01.000Z","traceId":"trace-0001"}`,
    )
  })

  it('is chained by SHA-256 over the hash before it, in hex, and its text', () => {
    const previous = '0'.repeat(64)
    const text = '{"a":1}'
    expect(hashOf(previous, text)).toBe(createHash('sha256').update(`${previous}${text}`).digest('hex'))
  })

  it.each(CREDENTIALS)('leaves out %s, wherever it stands', (_what, written, secret) => {
    const entry = recorded({ resource: written, reason: `because ${written}`, metadata: { deep: [{ note: written }] } })
    expect(JSON.stringify(entry)).not.toContain(secret)
    expect(JSON.stringify(recorded({ [written]: 1 }))).not.toContain(secret)
  })

  it.each([
    'password',
    'PASSWORD',
    'client_secret',
    'accessToken',
    'apiKey',
    'x-api-key',
    'authorization',
    'cookie',
    'credentials',
  ])('leaves out what is named %s, whatever it is', (name) => {
    for (const secret of ['hunter2', 1234567, { a: 'hunter2' }, ['hunter2']]) {
      const text = JSON.stringify(recorded({ metadata: { [name]: secret }, [name]: secret }))
      expect(text).not.toContain('hunter2')
      expect(text).not.toContain('1234567')
    }
  })

  it.each(['read:contacts', 'secret:read', 'token:rotate', 'read:secrets', 'write:api-key', 'contacts/42', 'a=b', 'agent_1'])(
    'keeps %s as it is',
    (text) => {
      expect(cleanText(text)).toBe(text)
    },
  )

  it('escapes what acts on a terminal or ends a line', () => {
    expect(recorded({ resource: 'a\nb\u001b[2Jc\u2028d\u2029e\u202ef\u0000\u007f' })['resource']).toBe(
      'a\\u000ab\\u001b[2Jc\\u2028d\\u2029e\\u202ef\\u0000\\u007f',
    )
    expect(recorded({ metadata: { 'a\nb': '\ud800' } }).metadata).toEqual({ 'a\\u000ab': '\\ud800' })
  })

  it('cuts a field after 1 KiB, with the length and the hash of the rest', () => {
    const resource = recorded({ resource: 'é'.repeat(2000) })['resource'] as string
    const [, kept, bytes, hash] = /^(é+)…\[\+(\d+) sha256:([0-9a-f]{64})\]$/.exec(resource) ?? []
    expect(Buffer.byteLength(resource)).toBeLessThanOrEqual(1024)
    const rest = 'é'.repeat(2000 - (kept?.length ?? 0))
    expect(Number(bytes)).toBe(Buffer.byteLength(rest))
    expect(hash).toBe(createHash('sha256').update(rest).digest('hex'))
    const exact = 'x'.repeat(1024)
    expect(recorded({ resource: exact })['resource']).toBe(exact)
  })

  it('cuts a member that is large altogether, and what is nested too deeply', () => {
    const many = Object.fromEntries(Array.from({ length: 5000 }, (_, i) => [`k${i}`, i]))
    expect(recorded({ metadata: many }).metadata).toMatch(/^\{"k0":0.*…\[\+\d+ sha256:[0-9a-f]{64}\]$/)
    let deep: Record<string, unknown> = {}
    for (let i = 0; i < 10_000; i++) deep = { deep }
    expect(JSON.stringify(recorded({ metadata: deep }))).toContain('[object]')
  })

  it('takes values that are no JSON by their kind, and nothing for a member of the prototype', () => {
    const entry = recorded({ metadata: { f: () => 1, n: Number.NaN, big: 1n, u: undefined } })
    expect(entry.metadata).toEqual({ f: '[function]', n: 'NaN', big: '[bigint]' })
    const hostile = recorded({ metadata: JSON.parse('{"__proto__":{"admin":true}}') })
    expect(Object.keys(hostile.metadata ?? {})).toEqual(['__proto__'])
    expect(({} as Record<string, unknown>)['admin']).toBeUndefined()
  })

  it('is bounded, printable and canonical whatever it is made of, and stays as it is when it is cleaned again', () => {
    const value = fc.jsonValue({ maxDepth: 4 })
    const text = fc.oneof(fc.string({ unit: 'binary', maxLength: 2000 }), fc.string({ unit: 'grapheme' }))
    fc.assert(
      fc.property(text, fc.dictionary(text, value), (resource, metadata) => {
        const once = prepare({ ...plain, resource, metadata }, 0)
        expect(Buffer.byteLength(once.entry.resource ?? '')).toBeLessThanOrEqual(1024)
        expect(once.text).not.toMatch(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/u)
        const read = JSON.parse(once.text)
        expect(canonicalize(read)).toBe(once.text)
        expect(prepare(read, 0).text).toBe(once.text)
      }),
      { numRuns },
    )
  })

  it('is written in the same form where nothing has to be cleaned and sorted as where something has', () => {
    const texts = fc.oneof(
      { weight: 60, arbitrary: fc.stringMatching(/^[a-z0-9/:._-]{0,40}$/) },
      fc.stringMatching(/^[ -~]{0,40}$/),
      fc.constantFrom(...CREDENTIALS.map(([, written]) => written), 'agent_1', 'a: b', '"a" : b', '', 'x'.repeat(342), 'é'),
      fc.string({ unit: 'binary', maxLength: 400 }),
    )
    const value = fc.oneof({ weight: 10, arbitrary: texts }, fc.double(), fc.boolean(), fc.constantFrom(undefined, null))
    const members = fc.record(
      {
        action: texts,
        claimed: value,
        declared: fc.option(fc.record({ action: texts }), { nil: undefined }),
        durationMs: fc.double(),
        reason: fc.option(texts, { nil: undefined }),
        request: fc.oneof(fc.record({ ip: value, method: texts, path: value }), fc.record({ ip: texts, path: texts }), value),
        service: fc.record({ id: texts, name: texts, token: texts }, { requiredKeys: ['id'] }),
        trustTier: texts,
      },
      { requiredKeys: ['action'] },
    )
    let plainOnes = 0
    const own = { agentId: 'agent_1', code: 'allowed', decision: 'allow', mode: 'enforce', source: 'policies' } as const
    fc.assert(
      fc.property(members, fc.boolean(), (given, isSorted) => {
        const all = { ...own, ...given, id: 'b7c0', timestamp: '1970-01-01T00:00:01.000Z', traceId: 'trace-0001' }
        const names = isSorted ? Object.keys(all).sort() : Object.keys(all)
        const entry = Object.fromEntries(names.map((name) => [name, Reflect.get(all, name)])) as unknown as AuditEntry
        if (isPlainEntry(entry)) plainOnes++
        expect(prepare(entry, 0).text).toBe(canonicalize(cleanEntry(entry)))
      }),
      { numRuns },
    )
    expect(plainOnes).toBeGreaterThanOrEqual(Math.floor(numRuns / 50))
  })

  it('has nothing to be sorted or cleaned in it where it is of an ordinary check', () => {
    const agent = { id: 'agent_1', name: 'Reader', trustTier: 'verified', tags: [] } as const
    const entry = { claimed: true, method: 'GET', route: '/proxy/check', ip: '::1' } as const
    const said = { policy: 'readers', policyVersion: '0123456789abcdef', rule: 'allow read:*', reason: 'No rule allows it' }
    const decision = { ...plain, ...said, allowed: true, enforced: true, timestamp: 1000 }
    const asked = {
      who: { agent },
      request: { action: 'read:contacts', resource: 'contacts/42', traceId: 'trace-0001' },
      entry,
    }
    expect(isPlainEntry(entryOf(asked, decision, 'enforce', 0.0123))).toBe(true)
  })

  it('takes time in proportion to the text, whatever the text is', () => {
    for (const part of ['eyJ', 'sk-', 'token', 'bearer ', 'password= ', 'a:"', 'msvc_', 'eyJ.', '=', '\u2028']) {
      expect(Buffer.byteLength(cleanText(part.repeat(300_000 / part.length)))).toBeLessThanOrEqual(1024)
    }
  })
})
