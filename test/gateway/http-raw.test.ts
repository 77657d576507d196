import { connect } from 'node:net'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { sendRaw } from '../adapters/sockets.js'
import { startGateway, type World } from './gateway-world.js'

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/

let world: World
let token: string
beforeAll(async () => {
  world = await startGateway()
  token = (await world.createAgent()).token
})
afterAll(() => world.close())

/** A request, head and body, written as it is. */
const send = (head: string, ...lines: string[]) =>
  sendRaw(world.port, Buffer.from([head, 'Host: gateway', ...lines, 'Connection: close', '', ''].join('\r\n'), 'latin1'))

describe('A request is refused before any route for', () => {
  test('more than 100 headers', async () => {
    const lines = Array.from({ length: 99 }, (_, i) => `X-${i}: 1`)
    expect((await send('GET /health HTTP/1.1', ...lines)).status).toBe(431)
    expect((await send('GET /health HTTP/1.1', ...lines.slice(1))).status).toBe(200)
  })

  test('more than 1 000 headers, of which Node itself would drop some', async () => {
    const lines = Array.from({ length: 1100 }, (_, i) => `A${i}:`)
    expect((await send('GET /health HTTP/1.1', ...lines, `Authorization: Bearer ${token}`)).status).toBe(431)
  })

  test('a path of more than 2 048 characters, whatever is behind its "?"', async () => {
    expect((await send(`GET /${'a'.repeat(2048)} HTTP/1.1`)).status).toBe(414)
    expect((await send(`GET /${'a'.repeat(2047)}?${'b'.repeat(2048)} HTTP/1.1`)).status).toBe(404)
    expect((await send(`GET /proxy/${'a'.repeat(12_000)} HTTP/1.1`)).status).toBe(414)
  })

  test('headers of more than 16 KiB', async () => {
    const reply = await send('GET /health HTTP/1.1', `X-A: ${'a'.repeat(17_000)}`)
    expect(reply.status).toBe(431)
    expect(reply.json).toMatchObject({ error: 'too_many_headers', traceId: expect.stringMatching(UUID) })
  })

  test.each([
    ['two Host headers', 'Host: other'],
    ['two Host headers of one value', 'host: gateway'],
  ])('%s', async (_, line) => {
    expect((await send('GET /health HTTP/1.1', line)).status).toBe(400)
  })

  test.each([
    ['twice', 'X-MeshGuard-Action: read:a', 'X-MeshGuard-Action: read:a'],
    ['with underscores', 'X-MeshGuard-Action: read:a', 'X_MeshGuard_Action: read:b'],
    ['with dots', 'x.meshguard.action: read:a', 'X-MESHGUARD-ACTION: read:b'],
    ['mixed', 'X_MeshGuard.Resource: a', 'X-MeshGuard_Resource: a'],
    ['of an operator', 'X-Admin-Token: a', 'x_admin_token: b'],
  ])('a control header %s', async (_, ...lines) => {
    const reply = await send('GET /health HTTP/1.1', ...lines)
    expect(reply.status).toBe(400)
    expect(reply.json.error).toBe('bad_request')
  })

  test('two Authorization headers, with a challenge', async () => {
    for (const name of ['Authorization', 'authorization']) {
      const reply = await send('GET /health HTTP/1.1', `Authorization: Bearer ${token}`, `${name}: Bearer ${token}`)
      expect(reply.status).toBe(401)
      expect(reply.headers['www-authenticate']).toBe('Bearer realm="meshguard", error="invalid_token"')
    }
  })

  test.each([
    ['an absolute target', 'GET http://gateway/health HTTP/1.1', 400],
    ['an absolute target of elsewhere', 'GET http://evil.example/admin/agents HTTP/1.1', 400],
    ['an absolute target of another scheme', 'GET ftp://gateway/health HTTP/1.1', 400],
    ['an asterisk', 'OPTIONS * HTTP/1.1', 400],
    ['no slash', 'GET health HTTP/1.1', 400],
    ['a fragment', 'GET /health#x HTTP/1.1', 400],
    ['a backslash', 'GET /\\evil.example HTTP/1.1', 400],
    ['a method that is none', 'G@T /health HTTP/1.1', 400],
    ['a version that is none', 'GET /health HTTP/9.9', 400],
    ['no version', 'GET /health', 400],
  ])('%s', async (_, head, status) => {
    expect((await send(head)).status).toBe(status)
  })

  test.each([
    ['a line that is folded', 'X-MeshGuard-Action: read', ' :contacts'],
    ['two lengths', 'Content-Length: 4', 'Content-Length: 5'],
    ['a length and chunks', 'Content-Length: 4', 'Transfer-Encoding: chunked'],
    ['a NUL in a header', 'X-A: a\0b'],
  ])('%s', async (_, ...lines) => {
    const reply = await send('POST /health HTTP/1.1', ...lines)
    expect(reply.status).toBe(400)
    expect(reply.json).toMatchObject({ error: 'bad_request' })
  })

  test('a transfer coding besides chunked, which would be taken off and forgotten', async () => {
    const post = (coding: string) => {
      const lines = [`Transfer-Encoding: ${coding}`, 'Host: a', 'Connection: close', '', '0', '', '']
      return sendRaw(world.port, Buffer.from(['POST /health HTTP/1.1', ...lines].join('\r\n')))
    }
    expect((await post('gzip, chunked')).status).toBe(400)
    expect((await post('Chunked')).status).toBe(405)
  })

  test('no Host, or an expectation that nobody knows, with a trace ID as on every answer', async () => {
    const lines = 'X-MeshGuard-Trace-ID: trace-12345678\r\nConnection: close\r\n\r\n'
    const noHost = await sendRaw(world.port, Buffer.from(`GET /health HTTP/1.1\r\n${lines}`))
    const expecting = await sendRaw(world.port, Buffer.from(`GET /health HTTP/1.1\r\nHost: a\r\nExpect: tea\r\n${lines}`))
    expect([noHost.status, expecting.status]).toEqual([400, 417])
    for (const { headers, json } of [noHost, expecting]) {
      expect(headers['x-meshguard-trace-id']).toBe('trace-12345678')
      expect(json).toMatchObject({ traceId: 'trace-12345678' })
    }
    expect((await sendRaw(world.port, Buffer.from('GET /health HTTP/1.0\r\n\r\n'))).status).toBe(200)
  })

  test('a Host that no URL can be made of', async () => {
    for (const host of ['a b', 'a/b', '@', 'a@b', '[::1', '%zz']) {
      const reply = await sendRaw(world.port, Buffer.from(`GET /health HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`))
      expect(reply.status, host).toBe(400)
      expect(reply.headers['x-meshguard-trace-id'], host).toMatch(UUID)
    }
  })
})

describe('Upgrade and CONNECT are refused', () => {
  test('a WebSocket', async () => {
    const lines = [
      'Connection: Upgrade',
      'Upgrade: websocket',
      'Sec-WebSocket-Version: 13',
      'Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==',
    ]
    const head = 'GET /proxy/admin HTTP/1.1'
    const bytes = [head, 'Host: gateway', `Authorization: Bearer ${token}`, ...lines, '', ''].join('\r\n')
    const reply = await sendRaw(world.port, Buffer.from(bytes))
    expect(reply.status).toBe(400)
    expect(reply.headers['x-meshguard-trace-id']).toMatch(UUID)
  })

  test('an Upgrade that Connection does not name', async () => {
    expect((await send('GET /health HTTP/1.1', 'Upgrade: h2c')).status).toBe(400)
  })

  test('CONNECT, and the process lives on', async () => {
    for (const target of ['evil.example:443', '', '/x']) {
      const reply = await sendRaw(world.port, Buffer.from(`CONNECT ${target} HTTP/1.1\r\nHost: x\r\n\r\n`))
      expect([400, 405]).toContain(reply.status)
    }
    expect((await world.fetch('/health')).status).toBe(200)
  })

  test('a client that goes away while it is refused harms nobody', async () => {
    for (const bytes of ['CONNECT a:1 HTTP/1.1\r\nHost: x\r\n\r\n', 'garbage\r\n\r\n', 'GET /health HTTP/1.1\r\nHo']) {
      await new Promise<void>((resolve) => {
        const socket = connect(world.port, '127.0.0.1', () => {
          socket.write(bytes)
          socket.resetAndDestroy()
        })
        socket.on('close', () => resolve())
        socket.on('error', () => resolve())
      })
    }
    expect((await world.fetch('/health')).status).toBe(200)
  })
})

describe('A path is matched as it was sent', () => {
  test.each([
    '/%68ealth',
    '/health/',
    '//health',
    '/x/../health',
    '/./health',
    '/HEALTH',
    '/health;x',
    '/health%00',
    '//admin/agents',
    '/health/../admin/agents',
    '/%61dmin/agents',
    '/admin;x/agents',
  ])('%s is nothing', async (path) => {
    expect((await send(`GET ${path} HTTP/1.1`)).status).toBe(404)
  })

  test('and its query is no part of it', async () => {
    expect((await send('GET /health?x=/../admin HTTP/1.1')).status).toBe(200)
  })
})

describe('The trace ID', () => {
  test.each([
    ['X-MeshGuard-Trace-ID', 'abcd-1234', 'abcd-1234'],
    ['X-Trace-ID', 'abcd:1234', 'abcd:1234'],
    ['traceparent', '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01', '0af7651916cd43dd8448eb211c80319c'],
  ])('is taken from %s', async (name, value, expected) => {
    const reply = await send('GET /nothing HTTP/1.1', `${name}: ${value}`)
    expect(reply.headers['x-meshguard-trace-id']).toBe(expected)
    expect(reply.json.traceId).toBe(expected)
  })

  test('is that of X-MeshGuard-Trace-ID before the others', async () => {
    const lines = ['X-Trace-ID: other-one', 'traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01']
    const good = await send('GET /nothing HTTP/1.1', ...lines, 'X-MeshGuard-Trace-ID: first-one')
    expect(good.headers['x-meshguard-trace-id']).toBe('first-one')
    const bad = await send('GET /nothing HTTP/1.1', ...lines, 'X-MeshGuard-Trace-ID: no')
    expect(bad.headers['x-meshguard-trace-id']).toBe('other-one')
  })

  test.each([
    '',
    'short',
    'a'.repeat(129),
    '\x1b[31mred-red',
    '*'.repeat(8),
    'a\tbcdefgh',
    '%0d%0aX-Evil: 1',
    'éÿéÿéÿéÿ',
    '%s%s%n {jndi:ldap://x}',
  ])('%j is never echoed', async (value) => {
    const reply = await send('GET /nothing HTTP/1.1', `X-MeshGuard-Trace-ID: ${value}`)
    expect([400, 404]).toContain(reply.status)
    expect(reply.headers['x-meshguard-trace-id']).toMatch(UUID)
    expect(reply.json.traceId).toBe(reply.headers['x-meshguard-trace-id'])
    expect(reply.headers).not.toHaveProperty('x-evil')
  })
})

test('Pipelined requests share a connection and nothing else', async () => {
  const one = `GET /health HTTP/1.1\r\nHost: x\r\nX-MeshGuard-Trace-ID: first-one\r\nAuthorization: Bearer ${token}\r\n\r\n`
  const two = 'GET /proxy/check HTTP/1.1\r\nHost: x\r\nX-MeshGuard-Action: read:a\r\nConnection: close\r\n\r\n'
  const bytes = await new Promise<string>((resolve) => {
    let text = ''
    const socket = connect(world.port, '127.0.0.1', () => socket.write(one + two))
    socket.on('data', (chunk) => {
      text += chunk.toString('latin1')
    })
    socket.on('close', () => resolve(text))
  })
  expect([...bytes.matchAll(/HTTP\/1\.1 (\d+)/g)].map(([, status]) => status)).toEqual(['200', '401'])
})

test('A client that never finishes its headers is cut off, and others are served meanwhile', async () => {
  const socket = connect(world.port, '127.0.0.1', () => socket.write('GET /health HTTP/1.1\r\nHost: x\r\nX-A: b\r\n'))
  let text = ''
  socket.on('data', (chunk) => {
    text += chunk.toString('latin1')
  })
  const closed = new Promise<void>((resolve) => socket.on('close', () => resolve()))
  expect((await world.fetch('/health')).status).toBe(200)
  await closed
  expect(text).toContain('HTTP/1.1 408')
}, 20_000)
