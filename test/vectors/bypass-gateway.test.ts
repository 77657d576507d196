import type { JsonWebKey } from 'node:crypto'
import { createPublicKey } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { open } from '../gateway/upstream.js'
import { gatewayViolations } from './bypass-gateway-property.js'
import { type GatewayTarget, policiesOf, rawRequestOf, type Seen, startTarget } from './bypass-gateway-world.js'
import { mintTokens, writeToken } from './bypass-tokens.js'
import { type Vector, vectors } from './bypass-vectors.js'

const cases = vectors.cases.filter(({ frameworks }) => frameworks.includes('gateway'))
const caseOf = (id: string) => cases.find((one) => one.id === id) as Vector

/** The status of the first answer; where a case's own words leave more than one open, the one that this gateway gives. */
const STATUS: Readonly<Record<string, number>> = {
  'action-grammar-253261': 400,
  'action-grammar-2a2a': 400,
  'action-grammar-2a3a656d61696c': 400,
  'action-grammar-3a': 400,
  'action-grammar-636f6e7374727563746f72': 400,
  'action-grammar-726561643a': 400,
  'action-grammar-726561643a2a': 400,
  'action-grammar-726561643a5f5f70726f746f': 403,
  'action-grammar-726561ad64726561643a636f': 400,
  'admin-cors': 401,
  'admin-dot': 404,
  'admin-dup-slash': 404,
  'admin-empty': 401,
  'admin-head': 401,
  'admin-none': 401,
  'admin-pct': 404,
  'admin-semi': 404,
  'admin-short': 401,
  'admin-suffix': 401,
  'admin-undefined': 401,
  'audit-inject': 400,
  'dos-expect': 403,
  'dos-long-path': 414,
  'hdr-dup-host': 400,
  'hdr-fold': 400,
  'http-cache': 200,
  'json-action-array': 400,
  'json-action-object': 400,
  'json-big': 413,
  'json-bom-utf16': 400,
  'json-ctype': 415,
  'json-dup-keys': 200,
  'json-gzip-bomb': 415,
  'json-proto-context': 400,
  'json-wildcard': 403,
  'jwt-b64-false': 401,
  'jwt-crit': 401,
  'jwt-dup-sub': 401,
  'jwt-embedded-jwk': 401,
  'jwt-exp-century': 401,
  'jwt-exp-float-inf': 401,
  'jwt-exp-string': 401,
  'jwt-expired-tolerance': 401,
  'jwt-iss-other': 401,
  'jwt-kid-proto': 401,
  'jwt-nbf-future': 401,
  'jwt-no-exp': 401,
  'jwt-none': 401,
  'jwt-none-case': 401,
  'jwt-typ-refresh': 401,
  'proxy-abs': 400,
  'proxy-at': 403,
  'proxy-connect': 405,
  'proxy-crlf': 400,
  'proxy-dbl': 400,
  'proxy-dotend': 400,
  'proxy-dotsuffix': 404,
  'proxy-dupcl': 400,
  'proxy-frag': 400,
  'proxy-http': 400,
  'proxy-http1': 403,
  'proxy-method-LINK': 403,
  'proxy-method-PROPFIND': 403,
  'proxy-method-TRACE': 403,
  'proxy-nl': 400,
  'proxy-pct-prefix': 404,
  'proxy-pctdbl': 400,
  'proxy-pipeline': 200,
  'proxy-port-at': 404,
  'proxy-rootsl': 403,
  'proxy-semi': 400,
  'proxy-spoof-up': 400,
  'proxy-tab': 400,
  'proxy-up-bs': 400,
  'proxy-up-dbl': 400,
  'proxy-up-in': 400,
  'proxy-up-mix': 400,
  'proxy-up-pct': 400,
  'proxy-up-pctslash': 400,
  'proxy-up-semi': 400,
  'proxy-upgrade-ws': 400,
  'trace-ansi': 401,
  'trace-empty': 401,
  'trace-format': 401,
  'trace-latin1': 401,
  'trace-lf': 400,
  'trace-nul': 400,
  'trace-percent': 401,
  'trace-star': 401,
  'trace-tab': 401,
}

/** These have tests of their own. */
const APART = ['cache-delim-1', 'dos-slowloris', 'http09', 'jwt-deleted-recreated', 'jwt-hs-rs-confusion', 'proxy-check-alias']

/** What must hold of a case besides what holds for all. */
const ALSO: Readonly<Record<string, (seen: Seen) => void>> = {
  'dos-expect': ({ text }) => expect(text).not.toContain('100 Continue'),
  'http-cache': ({ forwarded }) => expect(forwarded.map(({ url }) => url)).toEqual(['/base/contacts/42']),
  'json-dup-keys': ({ answers, recorded }) => {
    expect(JSON.parse(answers[0]?.body ?? '')).toMatchObject({ decision: false })
    expect(recorded.map(({ action, decision }) => [action, decision])).toEqual([['delete:contacts', 'deny']])
  },
  'proxy-pipeline': ({ answers, forwarded }) => {
    expect(answers.map(({ status }) => status)).toEqual([200, 401])
    expect(forwarded).toHaveLength(1)
  },
}

const targets = new Map<string, Promise<GatewayTarget>>()
let tokens: ReadonlyMap<string, string>

function targetOf(policy: string): Promise<GatewayTarget> {
  const target = targets.get(policy) ?? startTarget(policiesOf(policy))
  targets.set(policy, target)
  return target
}

/** Opened first and looked at last: time is what these cases are about, and the others are answered meanwhile. */
const slow: { end: Promise<string>; stop: () => void }[] = []
let http09: Promise<string>

beforeAll(async () => {
  tokens = await mintTokens()
  const { world } = await targetOf('p0')
  const old = open(world.port)
  old.write(caseOf('http09').rawRequest)
  http09 = old.end()
  for (let i = 0; i < 50; i++) {
    const connection = open(world.port)
    connection.write(caseOf('dos-slowloris').rawRequest.replaceAll('{{GATEWAY}}', 'a'))
    const timer = setInterval(() => connection.socket.writable && connection.write('a'), 1000)
    slow.push({ end: connection.end(), stop: () => clearInterval(timer) })
  }
})

afterAll(async () => {
  for (const { stop } of slow) stop()
  for (const target of targets.values()) await (await target).close()
})

const CUT_OFF = /^(?:HTTP\/1\.1 40[08] [\s\S]*)?$/

describe('The gateway', () => {
  it('is asked every case that names it', () => {
    expect([...Object.keys(STATUS), ...APART].sort()).toEqual(cases.map(({ id }) => id).sort())
  })

  for (const vector of cases.filter(({ id }) => !APART.includes(id))) {
    it(`${vector.id}: ${vector.expected.property.slice(0, 100)}`, async () => {
      const target = await targetOf(vector.policy)
      const seen = await target.send(target.bytesOf(rawRequestOf(vector), tokens))
      expect(gatewayViolations(vector, seen).join('\n')).toBe('')
      expect(seen.answers[0]?.status).toBe(STATUS[vector.id])
      ALSO[vector.id]?.(seen)
    })
  }

  it.each(cases.filter(({ id }) => id.startsWith('trace-')))('$id, through the proxy', async (vector) => {
    const target = await targetOf('p0')
    const raw = vector.rawRequest.replace(/^GET \/(?:admin|contacts\/42)/, 'GET /proxy/admin')
    const seen = await target.send(target.bytesOf(raw, tokens))
    expect(gatewayViolations(vector, seen).join('\n')).toBe('')
    expect(seen.answers[0]?.status).toBe(STATUS[vector.id] === 400 ? 400 : 403)
    expect(seen.recorded.map(({ traceId }) => traceId)).toEqual(
      STATUS[vector.id] === 400 ? [] : [seen.answers[0]?.headers['x-meshguard-trace-id']],
    )
  })

  it.each([
    'GET /proxy/check/',
    'GET /proxy//check',
    'GET /proxy/%63heck',
    'GET /proxy/check?x',
    'GET /proxy/check?',
    'GET /proxy/Check',
    'GET /proxy/CHECK/',
    'GET /proxy/%EF%BD%83heck',
    'POST /proxy/check',
    'DELETE /proxy/check',
    'OPTIONS /proxy/check',
    'GET /PROXY/CHECK',
    'GET /proxy/./check',
    'GET /proxy/x/../check',
  ])('proxy-check-alias: %s is refused, neither a check nor forwarded', async (line) => {
    const target = await targetOf('p1')
    const seen = await target.send(
      `${line} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer ${tokens.get('agent-all')}\r\nX-MeshGuard-Action: read:x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n`,
    )
    expect(gatewayViolations(caseOf('proxy-check-alias'), seen).join('\n')).toBe('')
    expect(seen.answers[0]?.status).toBe(line === 'GET /PROXY/CHECK' ? 404 : 400)
    expect(seen.forwarded).toEqual([])
    expect(seen.recorded.filter(({ decision }) => decision === 'allow')).toEqual([])
  })

  it.each([
    'X-MeshGuard-Agent-Id: agent-all',
    'X_MeshGuard_Agent_Id: root',
    'X.MeshGuard.Decision: allow',
    'x-meshguard-new: 1',
  ])('proxy-spoof-up: %s is not forwarded', async (header) => {
    const target = await targetOf('p0')
    const raw = caseOf('http-cache').rawRequest.replace('GET ', 'GET /proxy').replace('Connection:', `${header}\r\nConnection:`)
    const seen = await target.send(target.bytesOf(raw, tokens))
    expect(gatewayViolations(caseOf('http-cache'), seen).join('\n')).toBe('')
    expect(seen.answers[0]?.status).toBe(200)
    expect(seen.forwarded[0]?.headers['x-meshguard-agent-id']).toBe('agent-low')
  })

  it('cache-delim-1: agents and actions that would read alike in one string are kept apart', async () => {
    const target = await targetOf('p0')
    const statusOf = async (agent: string, line: string, action: string) => {
      const header = action === '' ? '' : `X-MeshGuard-Action: ${action}\r\nX-MeshGuard-Resource: contacts/1\r\n`
      const seen = await target.send(
        `GET ${line} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer ${tokens.get(agent)}\r\n${header}Connection: close\r\n\r\n`,
      )
      expect(gatewayViolations(caseOf('cache-delim-1'), seen).join('\n')).toBe('')
      return seen.answers[0]?.status
    }
    expect(await statusOf('agent-low', '/proxy/check', 'read:contacts')).toBe(200)
    expect(await statusOf('agent-low:read', '/proxy/check', 'contacts')).toBe(400)
    expect(await statusOf('agent-low:read', '/proxy/check', 'read:contacts')).toBe(403)
    expect(await statusOf('agent-low', '/proxy/contacts/42', '')).toBe(200)
    expect(await statusOf('agent-low', '/proxy/contacts/a%3Ab', '')).toBe(403)
    expect(await statusOf('agent-low:read', '/proxy/contacts/42', '')).toBe(403)
  })

  it('jwt-deleted-recreated: a token of an agent that was revoked is not one of its namesake', async () => {
    const target = await targetOf('p1')
    const create = async () => (await target.world.admin('POST', '/admin/agents', { name: 'twin' })).json()
    const first = await create()
    const get = { headers: { authorization: `Bearer ${first.token}`, 'x-meshguard-action': 'read:x' } }
    expect((await target.world.fetch('/proxy/check', get)).status).toBe(403)
    expect((await target.world.admin('DELETE', `/admin/agents/${first.id}`)).status).toBe(200)
    const second = await create()
    const raw = caseOf('jwt-deleted-recreated').rawRequest.replace('GET ', 'GET /proxy')
    const seen = await target.send(target.bytesOf(raw, new Map([['deleted-recreated', first.token]])))
    expect(gatewayViolations(caseOf('jwt-deleted-recreated'), seen).join('\n')).toBe('')
    const now = { headers: { authorization: `Bearer ${second.token}`, 'x-meshguard-action': 'read:x' } }
    expect((await target.world.fetch('/proxy/check', now)).status).toBe(403)
  })

  it('jwt-hs-rs-confusion: the public key is not a secret', async () => {
    const target = await startTarget(policiesOf('p1'), null)
    try {
      const vector = caseOf('jwt-hs-rs-confusion')
      const [key] = target.world.services.keys.jwks().keys
      const pem = String(createPublicKey({ key: key as JsonWebKey, format: 'jwk' }).export({ format: 'pem', type: 'spki' }))
      const recipe = { ...vector.tokenRecipe, header: { ...vector.tokenRecipe?.header, kid: key?.kid } }
      for (const token of [writeToken(recipe, pem), writeToken({ ...vector.tokenRecipe }, pem)]) {
        const seen = await target.send(target.bytesOf(rawRequestOf(vector), new Map([['hs-rs-confusion', token]])))
        expect(gatewayViolations(vector, seen).join('\n')).toBe('')
      }
    } finally {
      await target.close()
    }
  })

  it('still answers after all of it', async () => {
    const vector = caseOf('http-cache')
    const target = await targetOf('p0')
    const seen = await target.send(target.bytesOf(rawRequestOf(vector), tokens))
    expect([seen.answers[0]?.status, seen.forwarded.length, seen.strayed]).toEqual([200, 1, 0])
  })

  it('dos-slowloris: clients that never finish are cut off', async () => {
    const answers = await Promise.all(slow.map(({ end }) => end))
    for (const answer of answers) expect(answer).toMatch(CUT_OFF)
  })

  it('http09: a request without a version is not answered but cut off', async () => {
    expect(await http09).toMatch(CUT_OFF)
  })
})
