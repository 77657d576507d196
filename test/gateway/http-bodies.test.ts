import { connect } from 'node:net'
import fc from 'fast-check'
import { Hono } from 'hono'
import { pino } from 'pino'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { addressOf } from '../../packages/gateway/src/http/address.js'
import { errorHandler } from '../../packages/gateway/src/http/answer-error.js'
import { base } from '../../packages/gateway/src/http/base.js'
import { parseJson, readBody, readJson } from '../../packages/gateway/src/http/read-json.js'
import { FailedAuthentications } from '../../packages/gateway/src/identity/failed-authentications.js'
import { createHttpServer, type GatewayServer } from '../../packages/gateway/src/server.js'
import type { GatewayEnv } from '../../packages/gateway/src/services.js'
import { sendRaw } from '../adapters/sockets.js'

const log = pino({ level: 'silent' })
const LIMIT = 1024
let server: GatewayServer
let port: number
let url: string
beforeAll(async () => {
  const app = new Hono<GatewayEnv>()
  app.onError(errorHandler(log))
  app.use(base(addressOf([]), new FailedAuthentications(600)))
  app.post('/json', async (c) => c.json({ read: await readJson(c, { limit: LIMIT }) }))
  app.post('/either', async (c) => c.json(await readBody(c, { types: ['application/json', 'application/yaml'] })))
  app.post('/refused', (c) => c.text('no', 403))
  server = createHttpServer(app, log)
  ;({ port, url } = await server.listen(0, '127.0.0.1'))
})
afterAll(() => server.close(1000))

const post = (body: BodyInit, headers: Record<string, string> = {}, path = '/json') =>
  fetch(`${url}${path}`, { method: 'POST', body, headers: { 'content-type': 'application/json', ...headers } })
const nested = (depth: number) => `${'['.repeat(depth)}${']'.repeat(depth)}`
const streamOf = (...chunks: string[]) =>
  ({
    body: new Blob(chunks).stream(),
    duplex: 'half',
    method: 'POST',
    headers: { 'content-type': 'application/json' },
  }) as RequestInit

describe('A JSON body', () => {
  test.each([
    'application/json',
    'Application/JSON',
    'application/json; charset=utf-8',
    'application/json;charset="UTF-8"',
    'application/json; x=y',
  ])('is read as %s', async (type) => {
    const answer = await post('{"a":[1,"é"]}', { 'content-type': type })
    expect(await answer.json()).toEqual({ read: { a: [1, 'é'] } })
  })

  test.each([
    'text/plain',
    'application/json garbage',
    'application/jsonp',
    'application/json, text/plain',
    'application/json; charset=utf-16',
    'application/json; charset',
    'application/json; a=b c',
    'application/json;',
    '',
    'multipart/form-data; boundary=x',
  ])('is 415 as %j', async (type) => {
    const reply = await raw(['POST /json HTTP/1.1', `Content-Type: ${type}`, 'Content-Length: 2'], '{}')
    expect([reply.status, reply.json['error']]).toEqual([415, 'unsupported_media_type'])
  })

  test.each(['gzip', 'br', 'identity, gzip', 'x'])('is 415 in the content coding %s', async (coding) => {
    expect((await post('{}', { 'content-encoding': coding })).status).toBe(415)
  })

  test('is 413 when it says that it is too long, before it is sent', async () => {
    const reply = await raw(['POST /json HTTP/1.1', 'Content-Type: application/json', 'Content-Length: 2000000'], '')
    expect(reply.status).toBe(413)
  })

  test('of just the limit is read, and of one byte more is not, whether its length is told or not', async () => {
    const text = (length: number) => `"${'a'.repeat(length - 2)}"`
    expect((await post(text(LIMIT))).status).toBe(200)
    expect((await post(text(LIMIT + 1))).status).toBe(413)
    expect((await fetch(`${url}/json`, streamOf(text(LIMIT)))).status).toBe(200)
    expect((await fetch(`${url}/json`, streamOf(text(LIMIT + 1)))).status).toBe(413)
  })

  test('that never ends is 413 as soon as it is too long', async () => {
    const chunk = `400\r\n${'a'.repeat(1024)}\r\n`
    const lines = ['POST /json HTTP/1.1', 'Content-Type: application/json', 'Transfer-Encoding: chunked']
    expect((await raw(lines, chunk.repeat(20))).status).toBe(413)
  })

  test.each([
    ['no JSON', '{'],
    ['nothing', ''],
    ['JSON and more', '{} {}'],
    ['nested nine deep', nested(9)],
    ['nested a hundred deep', nested(500)],
    ['with __proto__', '{"a":{"__proto__":{"tier":"admin"}}}'],
    ['with constructor', '{"constructor":1}'],
    ['with prototype in a list', '[{"prototype":1}]'],
  ])('of %s is 400', async (_, body) => {
    const answer = await post(body)
    expect(answer.status).toBe(400)
    expect(await answer.json()).toMatchObject({ error: 'bad_request' })
  })

  test('says where it is not accepted', async () => {
    expect(await (await post('{"a":[{"__proto__":1}]}')).json()).toMatchObject({
      issues: [{ path: 'a.0.__proto__', message: 'is a key that is not accepted' }],
    })
  })

  test('nested eight deep is read', async () => {
    expect((await post(nested(8))).status).toBe(200)
  })

  test('that is not UTF-8 is 400', async () => {
    for (const bytes of [
      [0xff, 0xfe, 0x7b, 0, 0x7d, 0],
      [0x22, 0xc3, 0x22],
      [0x22, 0xed, 0xa0, 0x80, 0x22],
    ]) {
      expect((await post(new Uint8Array(bytes))).status).toBe(400)
    }
  })

  test('whose last of two equal keys counts is one value', async () => {
    expect(await (await post('{"a":1,"a":2}')).json()).toEqual({ read: { a: 2 } })
  })

  test('that ends early harms nobody', async () => {
    await new Promise<void>((resolve) => {
      const socket = connect(port, '127.0.0.1', () => {
        socket.write('POST /json HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{"a"')
        setTimeout(() => socket.destroy(), 20)
      })
      socket.on('close', () => resolve())
    })
    expect((await post('{}')).status).toBe(200)
  })
})

test('A body of one of several types says which', async () => {
  const answer = await post('a: 1', { 'content-type': 'application/yaml' }, '/either')
  expect(await answer.json()).toEqual({ type: 'application/yaml', text: 'a: 1' })
})

describe('A client that waits for 100 Continue', () => {
  test('is told to go on where its body is read', async () => {
    const lines = [
      'Host: x',
      'Content-Type: application/json',
      'Content-Length: 2',
      'Expect: 100-continue',
      'Connection: close',
    ]
    const text = await new Promise<string>((resolve) => {
      let received = ''
      const socket = connect(port, '127.0.0.1', () => socket.write(['POST /json HTTP/1.1', ...lines, '', ''].join('\r\n')))
      socket.on('data', (chunk) => {
        received += chunk.toString()
        if (received.endsWith('100 Continue\r\n\r\n')) socket.write('{}')
      })
      socket.on('close', () => resolve(received))
    })
    expect(text).toMatch(/^HTTP\/1\.1 100 Continue\r\n\r\nHTTP\/1\.1 200 OK/)
  })

  test('is not where it is refused', async () => {
    const lines = ['Content-Type: application/json', 'Content-Length: 9999', 'Expect: 100-continue']
    expect((await raw(['POST /json HTTP/1.1', ...lines], '')).status).toBe(413)
    expect((await raw(['POST /refused HTTP/1.1', ...lines], '')).status).toBe(403)
  })
})

function raw([head, ...lines]: string[], body: string) {
  return sendRaw(port, Buffer.from([head, 'Host: x', ...lines, 'Connection: close', '', body].join('\r\n'), 'latin1'))
}

test('Whatever JSON is read, it is what JSON.parse says, or 400', () => {
  const key = fc.oneof(fc.string(), fc.constantFrom('__proto__', 'constructor', 'prototype'))
  const { json } = fc.letrec((tie) => ({
    json: fc.oneof(
      { depthSize: 'medium' },
      fc.constantFrom(1, 'x', null),
      fc.array(tie('json'), { maxLength: 3 }),
      tie('object'),
    ),
    object: fc.array(fc.tuple(key, tie('json')), { maxLength: 3 }).map((entries) => entries as [string, unknown][]),
  })) as { json: fc.Arbitrary<unknown> }
  const write = (value: unknown): string => {
    if (!Array.isArray(value)) return JSON.stringify(value)
    const isObject =
      value.length > 0 && value.every((one) => Array.isArray(one) && one.length === 2 && typeof one[0] === 'string')
    if (!isObject) return `[${value.map(write).join(',')}]`
    return `{${value.map(([name, inner]) => `${JSON.stringify(name)}:${write(inner)}`).join(',')}}`
  }
  const depthOf = (value: unknown): number =>
    typeof value === 'object' && value !== null ? 1 + Math.max(0, ...Object.values(value).map(depthOf)) : 0
  const keysOf = (value: unknown): string[] =>
    typeof value === 'object' && value !== null
      ? [...(Array.isArray(value) ? [] : Object.keys(value)), ...Object.values(value).flatMap(keysOf)]
      : []
  fc.assert(
    fc.property(json.map(write), (text) => {
      const parsed: unknown = JSON.parse(text) // of a key that stands twice the last value is kept, and only that one is read
      const isFine = depthOf(parsed) <= 8 && !keysOf(parsed).some((key) => /^(__proto__|constructor|prototype)$/.test(key))
      if (isFine) expect(parseJson(text)).toEqual(parsed)
      else expect(() => parseJson(text)).toThrow(expect.objectContaining({ status: 400 }))
    }),
    {
      numRuns: Number(process.env['MESHGUARD_RUNS'] ?? 500),
      interruptAfterTimeLimit: 5000,
      examples: [['{"":{"__proto__":[]},"":[]}']],
    },
  )
})
