import { once } from 'node:events'
import { request as httpRequest, type IncomingMessage, type ServerResponse } from 'node:http'
import { setTimeout as wait } from 'node:timers/promises'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { startGateway, type World, type WorldAgent } from './gateway-world.js'
import { open, startRawUpstream, startUpstream, type Upstream } from './upstream.js'

const MIB = 1024 * 1024
const POLICIES = [{ name: 'all', rules: [{ effect: 'allow', actions: ['*'] }] }]

let upstream: Upstream
let world: World
let agent: WorldAgent
/** A gateway that gives up after half a second, and its agent. */
let impatient: World
let other: WorldAgent

beforeAll(async () => {
  upstream = await startUpstream()
  world = await startGateway({ policies: POLICIES, proxy: { target: upstream.origin, maxBody: 128 * MIB } })
  impatient = await startGateway({ policies: POLICIES, proxy: { target: upstream.origin, timeoutMs: 500 } })
  agent = await world.createAgent()
  other = await impatient.createAgent()
})
afterAll(async () => {
  await Promise.all([world.close(), impatient.close()])
  await upstream.close()
})
beforeEach(() => {
  upstream.answer(undefined)
})

const bearer = () => ({ authorization: `Bearer ${agent.token}` })
const head = (line: string, headers: readonly string[] = [], { token } = agent) =>
  [`${line} HTTP/1.1`, 'Host: a', `Authorization: Bearer ${token}`, ...headers, '', ''].join('\r\n')

/** Sends a request and resolves with its answer, whose body is still to be read. */
function send(method: string, path: string, headers: Record<string, string | number> = {}) {
  const outgoing = httpRequest({ host: '127.0.0.1', port: world.port, method, path, headers: { ...bearer(), ...headers } })
  const answer = new Promise<IncomingMessage>((resolve, reject) => {
    outgoing.on('response', resolve)
    outgoing.on('error', reject)
  })
  answer.catch(() => undefined)
  return { outgoing, answer }
}

/** Runs twice, and answers by how much the memory of the process grew the second time, at most. */
async function growthOf(run: () => Promise<void>): Promise<number> {
  const used = () => process.memoryUsage.rss()
  await run()
  const before = used()
  let most = 0
  const timer = setInterval(() => {
    most = Math.max(most, used() - before)
  }, 10)
  try {
    await run()
  } finally {
    clearInterval(timer)
  }
  return most
}

async function writeAll(stream: ServerResponse | ReturnType<typeof httpRequest>, bytes: number): Promise<void> {
  const chunk = Buffer.alloc(64 * 1024, 'x')
  for (let left = bytes; left > 0; left -= chunk.length) {
    if (!stream.write(left < chunk.length ? chunk.subarray(0, left) : chunk)) await once(stream, 'drain')
  }
  stream.end()
}

async function countOf(stream: AsyncIterable<Buffer>): Promise<number> {
  let bytes = 0
  for await (const chunk of stream) bytes += chunk.length
  return bytes
}

describe('A body of 100 MB', () => {
  const BYTES = 100 * MIB
  /** Of the whole process, in which client and upstream are as well. */
  const MOST = 64 * MIB

  test.each([
    ['with its length', { 'content-length': BYTES }],
    ['in chunks', { 'transfer-encoding': 'chunked' }],
  ])('is streamed to the client in constant memory, %s', async (_, headers) => {
    upstream.answer((_incoming, outgoing) => {
      outgoing.writeHead(200, headers)
      void writeAll(outgoing, BYTES)
    })
    const grown = await growthOf(async () => {
      const { outgoing, answer } = send('GET', '/proxy/large')
      outgoing.end()
      expect(await countOf(await answer)).toBe(BYTES)
    })
    expect(grown).toBeLessThan(MOST)
  })

  test.each([
    ['with its length', { 'content-length': BYTES }],
    ['in chunks', { 'transfer-encoding': 'chunked' }],
  ])('is streamed to the upstream in constant memory, %s', async (_, headers) => {
    upstream.answer(async (incoming, outgoing) => {
      outgoing.end(String(await countOf(incoming)))
    })
    const grown = await growthOf(async () => {
      const { outgoing, answer } = send('PUT', '/proxy/large', headers)
      await writeAll(outgoing, BYTES)
      let text = ''
      for await (const chunk of await answer) text += chunk
      expect(text).toBe(String(BYTES))
    })
    expect(grown).toBeLessThan(MOST)
  })
})

describe('Back-pressure', () => {
  test('a slow client holds the upstream back', async () => {
    let written = 0
    upstream.answer(async (_incoming, outgoing) => {
      const chunk = Buffer.alloc(MIB)
      for (let i = 0; i < 96; i++) {
        if (!outgoing.write(chunk)) await once(outgoing, 'drain')
        written = i + 1
      }
      outgoing.end()
    })
    const { outgoing, answer } = send('GET', '/proxy/large')
    outgoing.end()
    const incoming = await answer
    await wait(300)
    const heldAt = written
    expect(heldAt).toBeLessThan(64)
    expect(await countOf(incoming)).toBe(96 * MIB)
    expect(written).toBe(96)
  })

  test('a slow upstream holds the client back', async () => {
    let release = () => {}
    upstream.answer(async (incoming, outgoing) => {
      incoming.pause()
      await new Promise<void>((resolve) => {
        release = resolve
      })
      outgoing.end(String(await countOf(incoming)))
    })
    const { outgoing, answer } = send('PUT', '/proxy/large', { 'content-length': 96 * MIB })
    let sent = 0
    const writing = (async () => {
      const chunk = Buffer.alloc(MIB)
      for (let i = 0; i < 96; i++) {
        if (!outgoing.write(chunk)) await once(outgoing, 'drain')
        sent = i + 1
      }
      outgoing.end()
    })()
    await wait(300)
    expect(sent).toBeLessThan(64)
    release()
    await writing
    let text = ''
    for await (const chunk of await answer) text += chunk
    expect(text).toBe(String(96 * MIB))
  })

  test('a client that never reads is cut off after the time-out', async () => {
    const ended = new Promise<void>((resolve) => {
      upstream.answer((_incoming, outgoing) => {
        outgoing.on('close', resolve)
        outgoing.writeHead(200)
        void writeAll(outgoing, 64 * MIB).catch(() => undefined)
      })
    })
    const connection = open(impatient.port)
    connection.socket.pause()
    connection.write(head('GET /proxy/large', [], other))
    await ended
    connection.socket.destroy()
  })
})

describe('A side that goes away', () => {
  test('the client, before the answer: the upstream is told', async () => {
    const connection = open(world.port)
    const gone = new Promise<void>((resolve) => {
      upstream.answer((incoming) => {
        incoming.on('close', resolve)
        connection.socket.destroy()
      })
    })
    connection.write(head('GET /proxy/slow'))
    await gone
  })

  test('the client, by ending its side alone: nobody can tell that from going away, so the upstream is told', async () => {
    const connection = open(world.port)
    const gone = new Promise<void>((resolve) => {
      upstream.answer((incoming) => {
        incoming.on('close', resolve)
        connection.socket.end()
      })
    })
    connection.write(head('GET /proxy/slow'))
    await gone
    expect(await connection.end()).toBe('')
  })

  test('the client, within the answer: the upstream is told', async () => {
    const connection = open(world.port)
    const gone = new Promise<void>((resolve) => {
      upstream.answer((_incoming, outgoing) => {
        outgoing.on('close', resolve)
        outgoing.write('first')
      })
    })
    connection.write(head('GET /proxy/slow'))
    await connection.until('first')
    connection.socket.destroy()
    await gone
  })

  test('the client, within its own body: the upstream is told', async () => {
    const broken = new Promise<void>((resolve) => {
      upstream.answer((incoming) => {
        incoming.on('data', () => connection.socket.destroy())
        incoming.on('error', () => resolve())
      })
    })
    const connection = open(world.port)
    connection.write(`${head('PUT /proxy/slow', ['Content-Length: 100'])}part`)
    await broken
  })

  test('the upstream, within its answer: the client does not take the part for the whole', async () => {
    for (const lead of ['Content-Length: 10\r\n\r\nhalf', 'Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n']) {
      const raw = await startRawUpstream((socket) => {
        socket.write(`HTTP/1.1 200 OK\r\n${lead}`)
        setTimeout(() => socket.destroy(), 50)
      })
      const own = await startGateway({ policies: POLICIES, proxy: { target: raw.origin } })
      const { token } = await own.createAgent()
      const answer = await own.fetch('/proxy/x', { headers: { authorization: `Bearer ${token}` } })
      expect([answer.status, answer.headers.get('x-meshguard-origin')]).toEqual([200, 'upstream'])
      await expect(answer.text()).rejects.toThrow()
      await own.close()
      await raw.close()
    }
  })

  test('the upstream, that says more than its length: the client gets what the length says', async () => {
    const raw = await startRawUpstream((socket) =>
      socket.end('HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nhalfHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged'),
    )
    const own = await startGateway({ policies: POLICIES, proxy: { target: raw.origin } })
    const { token } = await own.createAgent()
    for (let i = 0; i < 2; i++) {
      const answer = await own.fetch('/proxy/x', { headers: { authorization: `Bearer ${token}` } })
      expect(await answer.text()).toBe('half')
    }
    await own.close()
    await raw.close()
  })

  test('the upstream, that answers before it has read the body: the client gets the answer, and the next request is served', async () => {
    upstream.answer((incoming, outgoing) => {
      incoming.pause()
      outgoing.writeHead(400).end('no')
    })
    const { outgoing, answer } = send('PUT', '/proxy/early', { 'content-length': 4 * MIB })
    outgoing.on('error', () => undefined)
    outgoing.write(Buffer.alloc(MIB))
    const early = await answer
    expect([early.statusCode, await countOf(early)]).toEqual([400, 2])
    outgoing.destroy()
    upstream.answer(undefined)
    expect((await world.fetch('/proxy/next', { headers: bearer() })).status).toBe(200)
  })

  test('the upstream, that stalls within its answer: the client is cut off after the time-out', async () => {
    upstream.answer((_incoming, outgoing) => {
      outgoing.write('half')
    })
    const connection = open(impatient.port)
    connection.write(head('GET /proxy/stalled', [], other))
    expect(await connection.end()).toMatch(/half\r\n$/)
  })
})

describe('The longest body', () => {
  let small: World
  let token: string
  beforeAll(async () => {
    small = await startGateway({ policies: POLICIES, proxy: { target: upstream.origin, maxBody: 100_000 } })
    token = (await small.createAgent()).token
  })
  afterAll(() => small.close())

  const put = (body: ReadableStream | string) =>
    small.fetch('/proxy/x', {
      method: 'PUT',
      headers: { authorization: `Bearer ${token}` },
      body,
      duplex: 'half',
    } as RequestInit)
  const chunks = (count: number) =>
    new ReadableStream({
      async pull(controller) {
        if (count-- > 0) controller.enqueue(new Uint8Array(10_000))
        else controller.close()
        await wait(1)
      },
    })

  test('passes in chunks', async () => {
    expect((await (await put(chunks(10))).json()).body).toHaveLength(100_000)
  })

  test('is 413 in chunks as soon as it is over, and the upstream is told', async () => {
    const before = upstream.received.length
    const answer = await put(chunks(11))
    expect([answer.status, answer.headers.get('x-meshguard-origin')]).toEqual([413, 'gateway'])
    expect(await answer.json()).toMatchObject({ error: 'too_large' })
    expect(await upstream.received[before]?.body).toMatch(/broken off\)$/)
  })

  test('is 413 by its length, and nothing is forwarded', async () => {
    const before = upstream.received.length
    expect((await put('x'.repeat(100_001))).status).toBe(413)
    expect(upstream.received).toHaveLength(before)
  })
})

describe('An event stream', () => {
  test('passes event by event, and is not timed', async () => {
    let emit: (text: string) => void = () => {}
    const closed = new Promise<void>((resolve) => {
      upstream.answer((_incoming, outgoing) => {
        outgoing.writeHead(200, { 'content-type': 'text/event-stream; charset=utf-8' }).flushHeaders()
        outgoing.on('close', resolve)
        emit = (text) => outgoing.write(text)
      })
    })
    const connection = open(impatient.port)
    connection.write(head('GET /proxy/events', [], other))
    expect(await connection.until('\r\n\r\n')).toMatch(/content-type: text\/event-stream/)
    for (const event of ['data: one\n\n', 'data: two\n\n']) {
      emit(event)
      expect(await connection.until(event)).toContain(event)
    }
    await wait(1200)
    emit('data: three\n\n')
    expect(await connection.until('data: three\n\n')).toContain('data: three')
    connection.socket.destroy()
    await closed
  })
})

describe('Many at once', () => {
  test('are each answered with their own', async () => {
    const answers = await Promise.all(
      Array.from({ length: 200 }, async (_, i) => {
        const answer = await world.fetch(`/proxy/many/${i}?n=${i}`, { method: 'POST', headers: bearer(), body: `body ${i}` })
        return answer.json()
      }),
    )
    expect(answers).toEqual(answers.map((_, i) => ({ method: 'POST', url: `/many/${i}?n=${i}`, body: `body ${i}` })))
  })

  test('over one connection leave nothing behind on it', async () => {
    const warnings: Error[] = []
    const onWarning = (warning: Error) => warnings.push(warning)
    process.on('warning', onWarning)
    upstream.answer(async (incoming, outgoing) => {
      await countOf(incoming)
      outgoing.end(Buffer.alloc(MIB))
    })
    for (let i = 0; i < 20; i++) {
      const { outgoing, answer } = send('PUT', '/proxy/x')
      outgoing.end(Buffer.alloc(MIB))
      expect(await countOf(await answer)).toBe(MIB)
    }
    process.off('warning', onWarning)
    expect(warnings).toEqual([])
  })
})
