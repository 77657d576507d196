/** What must hold whatever goes wrong between a source and its gateway, for every transport. */
import { ConnectionError, createGuard, type FromGatewayOptions, fromGateway, UnavailableError } from '@meshguard/core'
import { afterEach, describe, expect, it } from 'vitest'
import {
  allowed,
  allowing,
  deadUrl,
  decisions,
  denied,
  itemsOf,
  type Reply,
  type Script,
  type ScriptedGateway,
  scriptBytes,
  scriptGateway,
} from './scripted-gateway.js'

const SECRET = 'msvc_do-not-tell'
const TOKEN = 'agent-token-do-not-tell'
const request = { action: 'read:contacts', token: TOKEN, traceId: 'trace-0001', context: { password: 'do-not-tell' } }
const ways: readonly (readonly [string, { readonly token?: string }])[] = [
  ['on its own', {}],
  ['with a service token', { token: SECRET }],
]

const open: { close(): Promise<void> }[] = []
afterEach(async () => {
  for (const one of open.splice(0)) await one.close()
})

async function script(answer: Script): Promise<ScriptedGateway> {
  const gateway = await scriptGateway(answer)
  open.push(gateway)
  return gateway
}

async function bytes(...given: Parameters<typeof scriptBytes>): Promise<ScriptedGateway> {
  const gateway = await scriptBytes(...given)
  open.push(gateway)
  return gateway
}

const ask = (options: FromGatewayOptions, more: object = {}) =>
  Promise.resolve(fromGateway(options).decide({ ...request, ...more })).catch((error: unknown) => error)

/** Whatever is thrown or answered says nothing of what was sent. */
function tellsNothing(outcome: unknown): void {
  const { message, stack, cause } = outcome as Error
  const text = [JSON.stringify(outcome), message, stack, String(cause), JSON.stringify(cause)].join()
  expect(text).not.toContain('do-not-tell')
}

function isUnreached(outcome: unknown): void {
  expect(outcome).toBeInstanceOf(ConnectionError)
  tellsNothing(outcome)
}

function isUnavailable(outcome: unknown): void {
  expect(outcome).not.toBeInstanceOf(ConnectionError)
  if (!(outcome instanceof UnavailableError)) expect(outcome).toMatchObject({ allowed: false, code: 'unavailable' })
  tellsNothing(outcome)
}

const html = '<!doctype html><p>allowed: true do-not-tell</p>'
const allow = allowed('read:contacts', 'trace-0001')

/** Answers to a check that are no decision, whatever their status says. */
const NONSENSE: readonly (readonly [string, Reply])[] = [
  ['an empty 200', { status: 200, body: '' }],
  ['HTML with 200', { status: 200, body: html, headers: { 'content-type': 'text/html' } }],
  ['HTML with 403', { status: 403, body: html, headers: { 'content-type': 'text/html' } }],
  ['a list', { status: 200, body: [] }],
  ['null', { status: 200, body: 'null' }],
  ['JSON that is cut off', { status: 200, body: '{"allowed":true,"decision":"allow"' }],
  ['an allow without its action', { status: 200, body: { allowed: true, decision: 'allow' } }],
  ['an allow of another action', { status: 200, body: { ...allow, action: 'delete:contacts' } }],
  ['an allow of another check', { status: 200, body: { ...allow, traceId: 'trace-0002' } }],
  ['an allow that is no boolean', { status: 200, body: { ...allow, allowed: 'true' } }],
  ['an allow that says deny', { status: 200, body: { ...allow, decision: 'deny' } }],
  ['a deny with 200', { status: 200, body: denied('read:contacts', 'trace-0001') }],
  ['an allow with 403', { status: 403, body: allow }],
  ['an allow with 201', { status: 201, body: allow }],
  ['an allow with 204', { status: 204, body: '' }],
  ['an allow with 203', { status: 203, body: allow }],
  ['a deny that also says allowed', { status: 403, body: denied('read:contacts', 'trace-0001', { allowed: true }) }],
  ['a deny of another action', { status: 403, body: denied('read:other', 'trace-0001') }],
  ['a deny with a code of an allow', { status: 403, body: denied('read:contacts', 'trace-0001', { code: 'allowed' }) }],
  ['an allow with the header of a deny', { status: 200, body: allow, headers: { 'x-meshguard-decision': 'deny' } }],
  [
    'a deny with the header of an allow',
    { status: 403, body: denied('read:contacts', 't'), headers: { 'x-meshguard-decision': 'allow' } },
  ],
  ['a malformed check', { status: 400, body: { error: 'bad_request', message: 'do-not-tell' } }],
  ['a login page', { status: 401, body: html }],
  ['nothing there', { status: 404, body: { error: 'not_found' } }],
  ['too large', { status: 413, body: { error: 'too_large' } }],
  ['the gateway’s own limit', { status: 429, body: { error: 'rate_limited', code: 'too_many_requests', retry_after: 60 } }],
  ['somebody’s 429', { status: 429, body: html }],
  ['an error', { status: 500, body: { error: 'internal' } }],
  ['a teapot', { status: 418, body: 'short' }],
]

export function describeFaults(transport: string): void {
  describe.each(ways)(`fromGateway over ${transport}, asking %s`, (_way, options) => {
    it.each(NONSENSE)('takes %s for unavailable, and opens nothing', async (_title, reply) => {
      const gateway = await script(() => reply)
      isUnavailable(await ask({ ...options, url: gateway.url }))
      const guard = createGuard({
        source: fromGateway({ ...options, url: gateway.url }),
        authenticate: () => ({ id: 'agent_1', trustTier: 'verified' }),
        onUnavailable: { allow: ['read:*'] },
      })
      expect(await guard.check('read:contacts', { token: TOKEN })).toMatchObject({ allowed: false, code: 'unavailable' })
    })

    it.each([301, 302, 303, 307, 308])('follows no redirect (%i)', async (status) => {
      const target = await script(allowing)
      const gateway = await script(({ path }) => ({ status, headers: { location: target.url + path }, body: '' }))
      isUnavailable(await ask({ ...options, url: gateway.url }))
      expect(target.asked).toEqual([])
    })

    it.each([502, 503, 504])('takes %i for a gateway that was not reached, and asks once', async (status) => {
      const gateway = await script(() => ({ status, body: html }))
      isUnreached(await ask({ ...options, url: gateway.url }))
      expect(gateway.asked).toHaveLength(1)
    })

    it('takes a port where nothing listens for a gateway that was not reached', async () => {
      isUnreached(await ask({ ...options, url: await deadUrl() }))
    })

    it('takes a name that means nothing for a gateway that was not reached', async () => {
      isUnreached(await ask({ ...options, url: 'http://gateway.invalid' }))
    })

    it('gives up after its time-out, and lets go of the connection', async () => {
      let gone = false
      const gateway = await script((_asked, response) => {
        response.once('close', () => {
          gone = true
        })
        return undefined
      })
      const outcome = await ask({ ...options, url: gateway.url, timeoutMs: 500 })
      isUnreached(outcome)
      expect((outcome as Error).message).toContain('within 500 ms')
      expect(gateway.asked).toHaveLength(1)
      await expect.poll(() => gone).toBe(true)
    })

    it('gives up on an answer that begins and does not end', async () => {
      const gateway = await script((_asked, response) => {
        response.writeHead(200, { 'content-type': 'application/json' }).write('{"allowed":true')
        return undefined
      })
      isUnreached(await ask({ ...options, url: gateway.url, timeoutMs: 500 }))
    })

    it('lets go when the caller does', async () => {
      const caller = new AbortController()
      let gone = false
      const gateway = await script((_asked, response) => {
        response.once('close', () => {
          gone = true
        })
        caller.abort()
        return undefined
      })
      isUnavailable(await ask({ ...options, url: gateway.url }, { signal: caller.signal }))
      await expect.poll(() => gone).toBe(true)
    })

    it('asks nothing for a caller that is gone already', async () => {
      const gateway = await script(allowing)
      const source = fromGateway({ ...options, url: gateway.url })
      const outcome = Promise.resolve(source.decide({ ...request, signal: AbortSignal.abort() }))
      await expect(outcome).rejects.toThrow(/went away/)
    })

    it('reads at most 1 MiB', async () => {
      let sent = 0
      const gateway = await script((_asked, response) => {
        response.writeHead(200, { 'content-type': 'application/json' })
        const chunk = ' '.repeat(65_536)
        const more = () => {
          while (!response.destroyed && sent < 64 * 1024 * 1024) {
            sent += chunk.length
            if (!response.write(chunk)) return void response.once('drain', more)
          }
        }
        more()
        return undefined
      })
      isUnavailable(await ask({ ...options, url: gateway.url, timeoutMs: 5000 }))
      expect(sent).toBeLessThan(32 * 1024 * 1024)
    })

    it.each([
      ['no HTTP at all', 'SSH-2.0-OpenSSH_9.2\r\n\r\n'],
      ['an odd status line', 'HTTP/1.1 2OO OK\r\n\r\n'],
      ['two lengths', 'HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n{}'],
      [
        'bytes that are not UTF-8',
        Buffer.concat([Buffer.from('HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n'), Buffer.from([0xc3, 0x28])]),
      ],
    ])('takes %s for unavailable', async (_title, answer) => {
      const gateway = await bytes((socket) => void socket.end(answer))
      isUnavailable(await ask({ ...options, url: gateway.url }))
      expect(gateway.connections()).toBe(1)
    })

    it('takes an answer that is cut off for unavailable', async () => {
      const head = 'HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 500\r\n\r\n{"allowed":true'
      const gateway = await bytes((socket) => void socket.write(head, () => socket.destroy()))
      isUnavailable(await ask({ ...options, url: gateway.url }))
    })

    it('tries once more where the connection ends before an answer begins', async () => {
      const body = JSON.stringify(options.token === undefined ? allow : { decisions: [allow] })
      const gateway = await bytes((socket, connection) => {
        if (connection === 1) socket.destroy()
        else socket.end(`HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: ${body.length}\r\n\r\n${body}`)
      })
      expect(await ask({ ...options, url: gateway.url })).toMatchObject({ allowed: true })
      expect(gateway.connections()).toBe(2)
    })

    it('tries once more and not again', async () => {
      const gateway = await bytes((socket) => void socket.destroy())
      isUnreached(await ask({ ...options, url: gateway.url }))
      expect(gateway.connections()).toBe(2)
    })

    it('after five failures in a row answers at once, and finds out with one exchange when the gateway is back', async () => {
      let works = false
      const gateway = await script((asked) => (works ? allowing(asked) : { status: 503, body: '' }))
      const source = fromGateway({ ...options, url: gateway.url })
      const decide = () => Promise.resolve(source.decide(request)).catch((error: unknown) => error)
      for (let i = 0; i < 5; i++) isUnreached(await decide())
      expect(gateway.asked).toHaveLength(5)
      for (let i = 0; i < 20; i++) isUnreached(await decide())
      expect(gateway.asked).toHaveLength(5)
      works = true
      await expect.poll(decide, { timeout: 5000, interval: 100 }).toMatchObject({ allowed: true })
      expect(gateway.asked).toHaveLength(6)
      expect(await decide()).toMatchObject({ allowed: true })
    })

    it('does not close the gateway to the others because of what one agent is answered', async () => {
      const gateway = await script((asked) => {
        const { authorization } = asked.headers
        const bad = options.token === undefined ? authorization?.includes('bad') : itemsOf(asked)[0]?.token === 'bad'
        if (bad !== true) return allowing(asked)
        const statuses = [400, 401, 403, 429, 500]
        return { status: statuses[gateway.asked.length % 5] as number, body: html }
      })
      const source = fromGateway({ ...options, url: gateway.url })
      for (let i = 0; i < 50; i++) {
        const outcome = Promise.resolve(source.decide({ ...request, token: 'bad' })).catch((error: unknown) => error)
        isUnavailable(await outcome)
      }
      expect(await source.decide(request)).toMatchObject({ allowed: true })
    })

    it('keeps its connections open', async () => {
      const gateway = await script(allowing)
      const source = fromGateway({ ...options, url: gateway.url })
      for (let i = 0; i < 10; i++) expect(await source.decide(request)).toMatchObject({ allowed: true })
      expect(gateway.connections()).toBeLessThanOrEqual(2)
    })
  })

  describe(`checks together over ${transport}`, () => {
    const allowItem = (traceId: string) => allowed('read:contacts', traceId)

    it.each([
      ['too few decisions', []],
      ['too many decisions', [allow, allow]],
      ['no decisions', undefined],
      ['a decision on another check', [allowItem('trace-0002')]],
      ['a decision without its status', [{ ...allow, status: undefined }]],
      ['a status in words', [{ ...allow, status: '200' }]],
      ['a list for a decision', [[allow]]],
      ['nothing for a decision', [null]],
      ['a 503 for one check', [{ status: 503, error: 'unavailable' }]],
      ['a 400 for one check', [{ status: 400, error: 'bad_request' }]],
      ['the gateway’s own limit for one check', [{ status: 429, code: 'too_many_requests' }]],
    ])('take %s for unavailable', async (_title, items) => {
      const gateway = await script(() => decisions(items as unknown[]))
      isUnavailable(await ask({ url: gateway.url, token: SECRET }))
    })

    it.each([401, 403])('say that the service token is what is wrong (%i), and blame no agent', async (status) => {
      const gateway = await script(() => ({ status, body: { error: 'unauthorized' } }))
      const outcome = await ask({ url: gateway.url, token: SECRET })
      isUnavailable(outcome)
      expect((outcome as Error).message).toContain('service token')
    })

    it('are answered one by one: what is wrong with one leaves the others alone', async () => {
      const gateway = await script((asked) =>
        decisions(
          itemsOf(asked).map(({ token, action, traceId }) =>
            token === 'bad' ? { status: 401, error: 'unauthorized', traceId } : token === 'odd' ? 7 : allowed(action, traceId),
          ),
        ),
      )
      const source = fromGateway({ url: gateway.url, token: SECRET })
      const answers = await Promise.all(['good', 'bad', 'odd', 'fine'].map((token) => source.decide({ ...request, token })))
      expect(answers.map(({ code }) => code)).toEqual(['allowed', 'unauthenticated', 'unavailable', 'allowed'])
      expect(gateway.asked).toHaveLength(1)
    })

    it.each([400, 413])('are asked again in halves when the gateway takes none of them (%i)', async (status) => {
      const gateway = await script((asked) => {
        const items = itemsOf(asked)
        if (items.some(({ token }) => token === 'poison')) return { status, body: { error: 'bad_request' } }
        return decisions(items.map(({ action, traceId }) => allowed(action, traceId)))
      })
      const source = fromGateway({ url: gateway.url, token: SECRET })
      const tokens = Array.from({ length: 64 }, (_, i) => (i === 41 ? 'poison' : `token-${i}`))
      const outcomes = await Promise.all(
        tokens.map((token) => Promise.resolve(source.decide({ ...request, token })).catch((error: unknown) => error)),
      )
      isUnavailable(outcomes[41])
      expect(outcomes.filter((_, i) => i !== 41)).toEqual(Array(63).fill(expect.objectContaining({ allowed: true })))
      expect(gateway.asked.length).toBeLessThanOrEqual(13)
    })

    it('go on for those who wait when one of them leaves', async () => {
      let answer: (() => void) | undefined
      const gateway = await script((asked, response) => {
        answer = () => response.end(JSON.stringify(allowing(asked).body))
        return undefined
      })
      const source = fromGateway({ url: gateway.url, token: SECRET })
      const leaving = new AbortController()
      const gone = Promise.resolve(source.decide({ ...request, signal: leaving.signal })).catch((error: unknown) => error)
      const stays = source.decide(request)
      await expect.poll(() => answer).toBeDefined()
      leaving.abort()
      isUnavailable(await gone)
      answer?.()
      expect(await stays).toMatchObject({ allowed: true })
    })
  })
}
