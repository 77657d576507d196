import { deriveAction } from '@meshguard/core'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { type CanonicalTarget, readTarget } from '../../packages/gateway/src/proxy/canonical-path.js'
import { derivedActions } from '../../packages/gateway/src/proxy/proxy-action.js'
import { mappedActions } from '../../packages/gateway/src/proxy/route-map.js'
import { openUpstream } from '../../packages/gateway/src/proxy/upstream.js'

const RUNS = Number(process.env['MESHGUARD_RUNS'] ?? 2000)
const options = { numRuns: RUNS, interruptAfterTimeLimit: 5000 * Math.max(1, RUNS / 2000) }

const read = (target: string) => readTarget(target) as CanonicalTarget

describe('A canonical target', () => {
  test.each([
    ['/proxy/', '/', '', ['']],
    ['/proxy/contacts', '/contacts', '', ['contacts']],
    ['/proxy/contacts/', '/contacts/', '', ['contacts', '']],
    ['/proxy/contacts/42?a=b&c', '/contacts/42', '?a=b&c', ['contacts', '42']],
    ['/proxy/contacts?', '/contacts', '?', ['contacts']],
    ['/proxy/a%20b/caf%C3%A9', '/a%20b/caf%C3%A9', '', ['a b', 'café']],
    ["/proxy/-._~!$&'()*+,=:@", "/-._~!$&'()*+,=:@", '', ["-._~!$&'()*+,=:@"]],
    ['/proxy/x?/../y//%2e%zz', '/x', '?/../y//%2e%zz', ['x']],
    ['/proxy/a.b/...c', '/a.b/...c', '', ['a.b', '...c']],
    ['/proxy/%EF%BC%A1', '/%EF%BC%A1', '', ['Ａ']],
  ])('%s is read', (target, path, query, segments) => {
    expect(readTarget(target)).toEqual({ path, query, segments })
  })

  test.each([
    ['another prefix', '/proxy.evil/x'],
    ['a prefix in capitals', '/PROXY/x'],
    ['no slash behind the prefix', '/proxy'],
    ['an absolute form', 'http://evil/proxy/x'],
    ['an asterisk', '*'],
    ['nothing', ''],
    ['an empty segment', '/proxy//evil/x'],
    ['an empty inner segment', '/proxy/a//b'],
    ['two slashes at the end', '/proxy/a//'],
    ['a dot', '/proxy/./a'],
    ['two dots', '/proxy/a/../b'],
    ['two dots at the end', '/proxy/a/..'],
    ['three dots', '/proxy/.../a'],
    ['encoded dots', '/proxy/%2e%2e/admin'],
    ['half encoded dots', '/proxy/.%2E/admin'],
    ['fullwidth dots', '/proxy/%EF%BC%8E%EF%BC%8E/admin'],
    ['a two dot leader', '/proxy/%E2%80%A5/admin'],
    ['an encoded slash', '/proxy/a%2fb'],
    ['an encoded backslash', '/proxy/a%5Cb'],
    ['a backslash', '/proxy/a\\b'],
    ['a fullwidth slash', '/proxy/a%EF%BC%8Fb'],
    ['a sign that holds a slash', '/proxy/%E2%84%85'],
    ['a fullwidth per cent', '/proxy/%EF%BC%852e'],
    ['a fullwidth semicolon', '/proxy/a%EF%BC%9Bb'],
    ['a Greek question mark', '/proxy/a%CD%BEb'],
    ['a semicolon', '/proxy/a;b=c/d'],
    ['an encoded semicolon', '/proxy/a%3bb'],
    ['a doubly encoded dot', '/proxy/%252e'],
    ['an encoded per cent', '/proxy/100%25'],
    ['a NUL', '/proxy/a%00'],
    ['a line feed', '/proxy/a%0a'],
    ['a DEL', '/proxy/a%7f'],
    ['a C1 control', '/proxy/a%C2%85'],
    ['half an escape', '/proxy/a%4'],
    ['no escape', '/proxy/a%zz'],
    ['bytes that are not UTF-8', '/proxy/%ff'],
    ['an overlong form', '/proxy/%C0%AF'],
    ['half a surrogate pair', '/proxy/%ED%A0%80'],
    ['a fragment', '/proxy/a#b'],
    ['a fragment in the query', '/proxy/a?b#c'],
    ['a backslash in the query', '/proxy/a?\\'],
    ['a space', '/proxy/a b'],
    ['a tab', '/proxy/a\tb'],
    ['what is not ASCII', '/proxy/é'],
    ['brackets', '/proxy/[a]'],
    ['a pipe', '/proxy/a|b'],
    ['a caret', '/proxy/a^b'],
    ['a quotation mark', '/proxy/"'],
    ['more than 2 048 characters', `/proxy/${'a'.repeat(2042)}`],
  ])('with %s is refused', (_, target) => {
    expect(readTarget(target)).toEqual({ problem: expect.any(String) })
  })
})

/** Targets that are often almost right. */
const piece = fc.constantFrom(
  ...[
    'a',
    'contacts',
    '42',
    '.',
    '..',
    '%2e',
    '%2F',
    '%5c',
    '/',
    '//',
    ';',
    '%',
    '%25',
    '%00',
    '@',
    ':80',
    '\\',
    '?',
    '#',
    '*',
    '&',
  ],
  ...[
    '%C3%A9',
    '%EF%BC%8F',
    '%EF%BC%8E',
    '%e2%84%85',
    'http:',
    'evil.example',
    '~',
    '(',
    ' ',
    '\t',
    '\n',
    'é',
    '%u002e',
    '%0d%0a',
  ],
)
const target = fc.oneof(
  fc.array(piece, { maxLength: 12 }).map((parts) => `/proxy/${parts.join('')}`),
  fc.string({ unit: 'binary', maxLength: 60 }).map((text) => `/proxy/${text}`),
  fc.string({ unit: 'binary', maxLength: 60 }),
)

describe('Whatever a target is', () => {
  const upstream = openUpstream('http://upstream.example:8080/base/', 1000)

  test('reading it never throws, and what passes means the same path of the upstream to every parser', () => {
    fc.assert(
      fc.property(target, (raw) => {
        const found = readTarget(raw)
        if ('problem' in found) return
        expect(`/proxy${found.path}${found.query}`).toBe(raw)
        const url = new URL(`http://upstream.example:8080${upstream.pathOf(found.path)}${found.query}`)
        expect([url.origin, url.pathname]).toEqual(['http://upstream.example:8080', `/base${found.path}`])
        expect(new URL(`/base${found.path}`, 'http://upstream.example:8080/').pathname).toBe(`/base${found.path}`)
        const decoded = decodeURIComponent(found.path)
        expect(decoded.split('/')).toEqual(['', ...found.segments])
        expect(decodeURIComponent(decoded)).toBe(decoded)
        for (const form of [decoded, decoded.normalize('NFKC')]) {
          expect(form.split(/[/\\]/).some((part) => /^\.+$/.test(part))).toBe(false)
          expect(form.split('/').length).toBe(found.segments.length + 1)
        }
      }),
      options,
    )
  })

  test('the action and the resource are those of the decoded path, however it is spelled', () => {
    const actionOf = derivedActions()
    const segment = fc.oneof(
      fc.constantFrom(
        'contacts',
        'export',
        '42',
        'a b',
        'é',
        ':id',
        '*',
        '*all',
        '(x)',
        'a:b',
        'v1',
        'api',
        '1f0e1c50-7d3c-4b4e-9d3f-2a4b5c6d7e8f',
      ),
      fc.string({ unit: 'grapheme', minLength: 1, maxLength: 8 }),
    )
    const spell = (text: string, all: boolean) =>
      all
        ? [...Buffer.from(text)].map((byte) => `%${byte.toString(16).padStart(2, '0')}`).join('')
        : encodeURIComponent(text).replace(/%3A/g, ':')
    fc.assert(
      fc.property(fc.array(segment, { minLength: 1, maxLength: 4 }), (segments) => {
        const [plain, encoded] = [false, true].map((all) =>
          readTarget(`/proxy/${segments.map((one) => spell(one, all)).join('/')}`),
        ) as [ReturnType<typeof readTarget>, ReturnType<typeof readTarget>]
        expect('problem' in encoded).toBe('problem' in plain)
        if ('problem' in plain || 'problem' in encoded) return
        expect(actionOf('GET', encoded.segments)).toEqual(actionOf('GET', plain.segments))
        const action = actionOf('GET', plain.segments)?.action
        expect(action).toBe(expected(plain.segments))
      }),
      options,
    )
  })

  test('two paths never share a resource, but for a prefix that is dropped from both', () => {
    const actionOf = derivedActions()
    const segment = fc.constantFrom('a', 'b', 'a%20b', 'a b', ':a', '7', '77', 'x.y', '(', '%28')
    fc.assert(
      fc.property(
        fc.array(segment, { minLength: 1, maxLength: 4 }),
        fc.array(segment, { minLength: 1, maxLength: 4 }),
        (one, other) => {
          const [first, second] = [actionOf('GET', ['a', ...one]), actionOf('GET', ['a', ...other])]
          if (first?.resource === second?.resource) expect(one).toEqual(other)
        },
      ),
      options,
    )
  })

  /** The same derivation from the text alone: every segment that is no parameter, encoded. */
  function expected(segments: readonly string[]): string | undefined {
    const isParameter = (segment: string) => /^\d+$|^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/.test(segment)
    const text = (segment: string) =>
      encodeURIComponent(segment).replace(/\(/g, '%28').replace(/\)/g, '%29').replace(/\*/g, '%2A')
    const pattern = segments.map((segment, i) => `/${isParameter(segment) ? `:p${i}` : text(segment)}`).join('')
    return deriveAction({ method: 'GET', pattern })
  }

  test.each(['%2e', '/', 'a/', '%', '?', '.', '%EF%BC%8E'])(
    'ten million characters of %s are read to their end at once',
    (text) => {
      const long = text.repeat(10_000_000 / text.length)
      expect(readTarget(`/proxy/${long}`)).toMatchObject(text === '?' ? { path: '/' } : { problem: expect.any(String) })
      expect(readTarget(`/proxy/x?${long}`)).toMatchObject({ path: '/x' })
    },
  )
})

describe('A derived action', () => {
  const actionOf = derivedActions()

  test.each([
    ['PUT', '/api/records/123', 'write:records', 'records/123', '/api/records/:id'],
    [
      'GET',
      '/api/v1/orgs/7/contacts/1f0e1c50-7d3c-4b4e-9d3f-2a4b5c6d7e8f',
      'read:orgs/contacts',
      'orgs/7/contacts/1f0e1c50-7d3c-4b4e-9d3f-2a4b5c6d7e8f',
      '/api/v1/orgs/:id/contacts/:id2',
    ],
    ['HEAD', '/contacts', 'read:contacts', 'contacts', '/contacts'],
    ['DELETE', '/contacts/42/', 'delete:contacts', 'contacts/42', '/contacts/:id/'],
    ['GET', '/', 'read:/', '/', '/'],
    ['GET', '/contacts/%65xport', 'read:contacts/export', 'contacts/export', '/contacts/export'],
    ['GET', '/contacts/:id', 'read:contacts/%3Aid', 'contacts/%3Aid', '/contacts/%3Aid'],
    ['GET', '/contacts/(*)', 'read:contacts/%28%2A%29', 'contacts/%28%2A%29', '/contacts/%28%2A%29'],
    ['GET', '/contacts/a%3Ab', 'read:contacts/a%3Ab', 'contacts/a%3Ab', '/contacts/a%3Ab'],
  ])('%s %s is %s on %s', (method, path, action, resource, route) => {
    expect(actionOf(method, read(`/proxy${path}`).segments)).toEqual({ action, resource, route })
  })

  test.each([
    ['OPTIONS', '/contacts'],
    ['PROPFIND', '/contacts'],
    ['get', '/contacts'],
    ['GET', '/42'],
    ['GET', `/${'a'.repeat(260)}`],
  ])('%s %s is unmapped', (method, path) => {
    expect(actionOf(method, read(`/proxy${path}`).segments)).toBeUndefined()
  })

  test('has no resource where a parameter is too long', () => {
    expect(actionOf('GET', ['contacts', '1'.repeat(257)])).toMatchObject({ action: 'read:contacts', resource: undefined })
  })
})

describe('A mapped action', () => {
  const actionOf = mappedActions(
    new Map([
      ['GET /api/contacts/:id', 'read:contacts'],
      ['GET /api/contacts/export', 'export:contacts'],
      ['ALL /files/*path', 'use:files'],
      ['GET /files/public/*path', 'read:public'],
      ['POST /api/emails', 'write:email'],
      ['GET /', 'read:root'],
      ['GET /:tenant/a:b/:id', 'read:odd'],
    ]),
  )
  const of = (method: string, path: string) => actionOf(method, read(`/proxy${path}`).segments)

  test.each([
    ['GET', '/api/contacts/a%2Bb', 'read:contacts', 'contacts/a%2Bb'],
    ['HEAD', '/api/contacts/42', 'read:contacts', 'contacts/42'],
    ['GET', '/api/contacts/export', 'export:contacts', 'contacts/export'],
    ['GET', '/api/contacts/%65xport', 'export:contacts', 'contacts/export'],
    ['POST', '/api/emails', 'write:email', 'emails'],
    ['PATCH', '/files/a/b', 'use:files', 'files/a/b'],
    ['GET', '/files/a', 'use:files', 'files/a'],
    ['GET', '/files/public/x', 'read:public', 'files/public/x'],
    ['GET', '/', 'read:root', '/'],
    ['GET', '/api/a:b/1', 'read:odd', 'api/a%3Ab/1'],
  ])('%s %s is %s on %s', (method, path, action, resource) => {
    expect(of(method, path)).toMatchObject({ action, resource })
  })

  test.each([
    ['POST', '/api/contacts/42'],
    ['GET', '/api/contacts'],
    ['GET', '/api/contacts/'],
    ['GET', '/api/contacts/42/'],
    ['GET', '/files'],
    ['TRACE', '/files/a'],
    ['PROPFIND', '/files/a'],
    ['GET', '/other'],
  ])('%s %s is unmapped', (method, path) => {
    expect(of(method, path)).toBeUndefined()
  })

  test('has no resource where a wildcard ends in a slash', () => {
    expect(of('GET', '/files/a/')).toMatchObject({ action: 'use:files', resource: undefined })
  })
})

describe('An upstream', () => {
  test.each(['ftp://a/', 'http://user@a/', 'http://a/?x', 'http://a/#x'])('at %s is refused', (target) => {
    expect(() => openUpstream(target, 1000)).toThrow(TypeError)
  })

  test('is given no path that it would read as another one', () => {
    const { pathOf } = openUpstream('http://a/base', 1000)
    expect(pathOf('/x/')).toBe('/base/x/')
    for (const path of ['/../x', '/%2e%2e/x', '/x?y', '/x#y', '/x y', '/"']) expect(() => pathOf(path)).toThrow('would leave')
  })
})
