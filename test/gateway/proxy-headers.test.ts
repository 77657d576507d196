import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { passingNames, requestFilter } from '../../packages/gateway/src/proxy/header-filter.js'
import { isTraceparent, traceparentOf } from '../../packages/gateway/src/proxy/traceparent.js'

const RUNS = Number(process.env['MESHGUARD_RUNS'] ?? 2000)
const options = { numRuns: RUNS, interruptAfterTimeLimit: 5000 * Math.max(1, RUNS / 2000) }

const filter = requestFilter({ forwardAuthorization: false, headers: {} })
const pairsOf = (flat: readonly string[]) =>
  flat.flatMap((name, i) => (i % 2 === 0 ? [[name, flat[i + 1] as string] as const] : []))

describe('A request that is forwarded', () => {
  test('keeps what is for the upstream, in order, twice where it was sent twice', () => {
    const raw = [
      'Accept',
      'a/b',
      'X-Custom',
      '1',
      'Content-Type',
      'text/plain',
      'X-Custom',
      '2',
      'If-None-Match',
      '"x"',
      'Via',
      '1.0 a',
    ]
    expect(filter(raw)).toEqual(raw.map((text, i) => (i % 2 === 0 ? text.toLowerCase() : text)))
  })

  test.each([
    'Authorization',
    'Cookie',
    'X-Admin-Token',
    'X_Admin_Token',
    'Host',
    'Connection',
    'Keep-Alive',
    'TE',
    'Trailer',
    'Upgrade',
    'Transfer-Encoding',
    'Proxy-Authorization',
    'Proxy-Connection',
    'Expect',
    'Content-Length',
    'HTTP2-Settings',
    'X-MeshGuard-Action',
    'x-meshguard-agent-id',
    'X_MeshGuard_Action',
    'X.MeshGuard.Action',
    'X-MeshGuard_Decision',
    'X-MESHGUARD-ANYTHING',
    'X-MeshGuard',
    'X-Forwarded-For',
    'X-Forwarded-Host',
    'Forwarded',
    'X-Real-IP',
    'X-Cluster-Client-IP',
    'CF-Connecting-IP',
    'Fastly-Client-IP',
    'Proxy',
    'X_Forwarded_For',
    'traceparent',
    'tracestate',
    'X-HTTP-Method-Override',
    'X-Original-URL',
    'X-Rewrite-URL',
    'X-Original-Host',
    'X-Forwarded',
    'X-Envoy-Original-Path',
    'X-Middleware-Subrequest',
    'X-Matched-Path',
    'Client-IP',
    'X-Remote-Addr',
    'Remote-User',
    'X-WEBAUTH-USER',
    'X-Auth-Request-Email',
    'X-Authenticated-Userid',
    'X-Consumer-Username',
    'X-Goog-Authenticated-User-Email',
    'X-Goog-IAP-JWT-Assertion',
    'X-Amzn-Oidc-Data',
    'X-MS-Client-Principal',
    'X-MS-Client-Principal-Name',
    'Cf-Access-Jwt-Assertion',
    'Tailscale-User-Login',
    'Client-Cert',
    'X-SSL-Client-Verify',
    'Ssl-Client-S-Dn',
    'Transfer_Encoding',
    '__proto__',
    "a'b",
  ])('is without %s', (name) => {
    expect(filter(['accept', 'x', name, 'y'])).toEqual(['accept', 'x'])
  })

  test('is without everything that Connection names', () => {
    expect(
      filter(['X-A', '1', 'Connection', 'close, x-a', 'X-B', '2', 'CONNECTION', 'X-B,X-C , ', 'x-c', '3', 'x-d', '4']),
    ).toEqual(['x-d', '4'])
  })

  test("carries the agent's token only where that is asked for", () => {
    const passing = requestFilter({ forwardAuthorization: true, headers: {} })
    expect(passing(['Authorization', 'Bearer x'])).toEqual(['authorization', 'Bearer x'])
  })

  test('carries the headers of the proxy in the place of those of the client', () => {
    const own = requestFilter({ forwardAuthorization: true, headers: { Authorization: 'Bearer upstream', 'x-key': 'k' } })
    expect(own(['authorization', 'Bearer agent', 'X-Key', 'mine', 'a', 'b'])).toEqual([
      'a',
      'b',
      'Authorization',
      'Bearer upstream',
      'x-key',
      'k',
    ])
  })

  test.each([
    'Idempotency-Key',
    'Stripe-Version',
    'Anthropic-Version',
    'X-GitHub-Api-Version',
    'X-Ms-Version',
    'X-Request-Id',
    'Prefer',
    'If-Match',
    'Origin',
  ])('keeps %s, which APIs ask for', (name) => {
    expect(filter([name, 'x'])).toEqual([name.toLowerCase(), 'x'])
  })

  test('is of the names that are listed, and the common ones of HTTP, where there is a list', () => {
    const listed = requestFilter({
      forwardAuthorization: false,
      headers: { 'x-key': 'k' },
      forward: ['X-Tenant', 'Remote-Name'],
    })
    const sent = [
      'X-Tenant',
      'Accept',
      'X-Other',
      'Remote-Name',
      'Content-Type',
      'Origin',
      'Cookie',
      'Authorization',
      'X_Tenant',
    ]
    const passed = pairsOf(listed(sent.flatMap((name) => [name, 'x']))).map(([name]) => name)
    expect(passed).toEqual(['x-tenant', 'accept', 'remote-name', 'content-type', 'x-key'])
    const connected = listed(['Connection', 'X-Tenant', 'X-Tenant', '1'])
    expect(connected).toEqual(['x-key', 'k'])
    const passing = requestFilter({ forwardAuthorization: true, headers: {}, forward: [] })
    expect(passing(['Authorization', 'Bearer x', 'X-Other', '1'])).toEqual(['authorization', 'Bearer x'])
  })

  const name = fc.oneof(
    fc.constantFrom(
      'accept',
      'x-a',
      'x-b',
      'cookie',
      'connection',
      'Connection',
      'te',
      'host',
      'authorization',
      '__proto__',
      'constructor',
    ),
    fc
      .tuple(
        fc.constantFrom('X', 'x'),
        fc.constantFrom('-', '_', '.'),
        fc.constantFrom('MeshGuard', 'meshguard', 'MESHGUARD'),
        fc.constantFrom('-', '_', '.', ''),
        fc.string({ maxLength: 5 }),
      )
      .map((parts) => parts.join('')),
    fc.string({ maxLength: 12 }),
  )
  const value = fc.oneof(
    fc.constantFrom('keep-alive', 'close', 'x-a', 'x-a, x-b', ',', 'X-MeshGuard-Agent-Id', 'close,\tX-A'),
    fc.string({ maxLength: 20 }),
  )

  test('whatever came in, holds plain names alone, nothing of ours, nothing of the connection, and only what was sent', () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(name, value), { maxLength: 12 }), (headers) => {
        const sent = new Set(headers.map(([key, text]) => JSON.stringify([key.toLowerCase(), text])))
        const named = headers
          .filter(([key]) => key.toLowerCase() === 'connection')
          .flatMap(([, text]) =>
            text
              .toLowerCase()
              .split(',')
              .map((one) => one.trim()),
          )
        for (const [key, text] of pairsOf(filter(headers.flat()))) {
          expect(key).toMatch(/^[a-z0-9-]+$/)
          expect(key.startsWith('x-meshguard')).toBe(false)
          expect(['connection', 'te', 'host', 'cookie', 'authorization', ...named]).not.toContain(key)
          expect(sent.has(JSON.stringify([key, text]))).toBe(true)
        }
      }),
      options,
    )
  })

  test('whatever an upstream answers, nothing of ours passes and nothing of the connection', () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(name, value), { maxLength: 12 }), (pairs) => {
        const headers = Object.fromEntries(pairs.map(([key, text]) => [key.toLowerCase(), text]))
        for (const key of passingNames(headers)) {
          expect(Object.keys(headers)).toContain(key)
          expect(key.replace(/[._]/g, '-').startsWith('x-meshguard')).toBe(false)
          expect(['connection', 'te']).not.toContain(key)
        }
      }),
      options,
    )
  })
})

describe('An answer that is passed on', () => {
  test('keeps what the upstream says, but for the connection and what is ours', () => {
    const headers = {
      'content-type': 'a/b',
      'set-cookie': ['a=1', 'b=2'],
      connection: 'close, X-Hop',
      'x-hop': '1',
      'keep-alive': 'timeout=5',
      'transfer-encoding': 'chunked',
      trailer: 'x-sum',
      'x-meshguard-decision': 'allow',
      x_meshguard_origin: 'gateway',
      'x.meshguard.audit': '1',
      x_custom: 'kept',
      'www-authenticate': 'Basic',
    }
    expect(passingNames(headers)).toEqual(['content-type', 'set-cookie', 'x_custom', 'www-authenticate'])
  })
})

describe('The traceparent', () => {
  const TRACE = '4bf92f3577b34da6a3ce929d0e0e4736'
  const parent = `00-${TRACE}-00f067aa0ba902b7-00`

  test("goes on with the client's trace, in a span of its own", () => {
    expect(traceparentOf(parent, 'my-own-trace-id')).toMatch(new RegExp(`^00-${TRACE}-(?!00f067aa0ba902b7)[0-9a-f]{16}-00$`))
  })

  test.each([
    undefined,
    '',
    `00-${'0'.repeat(32)}-00f067aa0ba902b7-01`,
    `01-${TRACE}-00f067aa0ba902b7-01`,
    `${parent}x`,
    `00-${TRACE}-${'0'.repeat(16)}-01`,
  ])('is named after the trace ID where the client sent %s', (given) => {
    expect(isTraceparent(given)).toBe(false)
    expect(traceparentOf(given, '6039bb9c-f60a-459e-8fd6-b4d2084dfd95')).toMatch(
      /^00-6039bb9cf60a459e8fd6b4d2084dfd95-[0-9a-f]{16}-01$/,
    )
    expect(traceparentOf(given, TRACE)).toMatch(new RegExp(`^00-${TRACE}-`))
    const [, trace] = traceparentOf(given, 'order-1234').split('-')
    expect(trace).toMatch(/^[0-9a-f]{32}$/)
    expect(traceparentOf(given, 'order-1234').split('-')[1]).toBe(trace)
  })
})
