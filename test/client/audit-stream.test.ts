import { type AuditEntry, ConnectionError, MeshGuardClient } from '@meshguard/client'
import fc from 'fast-check'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { readEvents } from '../../packages/client/src/event-stream.js'
import { type Reply, rejection, type Scripted, startScripted } from './scripted.js'

let scripted: Scripted
let client: MeshGuardClient

beforeEach(async () => {
  scripted = await startScripted()
  client = new MeshGuardClient({ gatewayUrl: scripted.url, adminToken: 'admin-secret', timeoutMs: 3000 })
})
afterEach(async () => {
  await client.close()
  await scripted.close()
})

/** Events with these ids; the stream then ends, breaks, or goes on. */
const events =
  (ids: readonly string[], then: 'end' | 'break' | 'stay' = 'end'): Reply =>
  (res) => {
    res.writeHead(200, { 'content-type': 'text/event-stream' })
    res.write(`: hello\n\n${ids.map((id) => `id: ${id}\nevent: entry\ndata: {"id":"${id}"}\n\n`).join('')}`, () => {
      if (then === 'end') res.end()
      if (then === 'break') res.destroy()
    })
  }

async function take(stream: AsyncIterable<AuditEntry>, count: number): Promise<string[]> {
  const ids: string[] = []
  for await (const { id } of stream) if (ids.push(id) === count) break
  return ids
}

const asked = () => scripted.received.map(({ headers }) => headers['last-event-id'])

describe('following the audit log', () => {
  it('resumes after the last entry when the stream ends or breaks', async () => {
    scripted.answer(events(['a', 'b']), events(['c'], 'break'), (res) => res.destroy(), events(['d'], 'stay'))
    expect(await take(client.streamAudit(), 4)).toEqual(['a', 'b', 'c', 'd'])
    expect(asked()).toEqual([undefined, 'b', 'c', 'c'])
  })

  it('resumes after an id that came without an entry', async () => {
    scripted.answer(
      (res) => res.writeHead(200, { 'content-type': 'text/event-stream' }).end('id: head\n\n'),
      events(['x'], 'stay'),
    )
    expect(await take(client.streamAudit({ lastEventId: 'given' }), 1)).toEqual(['x'])
    expect(asked()).toEqual(['given', 'head'])
  })

  it('ends when the signal is aborted, and when the client is closed', async () => {
    const abort = new AbortController()
    scripted.answer(events(['a'], 'stay'))
    const seen: string[] = []
    for await (const { id } of client.streamAudit({}, { signal: abort.signal })) {
      seen.push(id)
      abort.abort()
    }
    for await (const { id } of client.streamAudit()) {
      seen.push(id)
      void client.close()
    }
    expect(seen).toEqual(['a', 'a'])
  })

  it('leaves nothing open after break', async () => {
    let open = 0
    scripted.answer((res, request) => {
      open++
      res.on('close', () => open--)
      ;(events(['a'], 'stay') as (...given: unknown[]) => void)(res, request)
    })
    await take(client.streamAudit(), 1)
    await expect.poll(() => open).toBe(0)
  })

  it('rejects at once when it cannot begin, and after timeoutMs when it cannot go on', async () => {
    scripted.answer((res) => res.destroy())
    expect(await rejection(client.streamAudit().next())).toBeInstanceOf(ConnectionError)
    scripted.answer(events(['a'], 'break'), (res) => res.destroy())
    const stream = client.streamAudit({}, { timeoutMs: 1000 })
    expect((await stream.next()).value).toEqual({ id: 'a' })
    expect(await rejection(stream.next())).toBeInstanceOf(ConnectionError)
    scripted.answer({ status: 401, json: { error: 'unauthorized', message: 'Invalid or expired token' } })
    expect(await rejection(client.streamAudit().next())).toMatchObject({ name: 'AuthenticationError' })
  })

  it('rejects for an entry that is no JSON', async () => {
    scripted.answer((res) => res.writeHead(200).end('data: {\n\n'))
    expect(await rejection(client.streamAudit().next())).toMatchObject({ name: 'UnavailableError' })
  })
})

describe('server-sent events', () => {
  const read = async (chunks: readonly Uint8Array[]) => {
    const found: { id: string | undefined; data: string }[] = []
    const stream = new ReadableStream<Uint8Array>({
      start(controller) {
        for (const chunk of chunks) controller.enqueue(chunk)
        controller.close()
      },
    })
    for await (const event of readEvents(stream, () => {})) found.push(event)
    return found
  }
  const bytes = (text: string) => new TextEncoder().encode(text)

  it.each([
    ['data: a\n\ndata: b\n\n', ['a', 'b']],
    ['data:a\n\n', ['a']],
    ['data:  a\n\n', [' a']],
    ['data: a\ndata: b\ndata\n\n', ['a\nb\n']],
    [': comment\n\ndata: a\n\n', ['a']],
    ['event: x\nretry: 5\n\ndata: a: b\n\n', ['a: b']],
    ['data: a', []],
    ['data: a\n', []],
    ['\ufeffdata: a\n\n', ['a']],
  ])('reads %j', async (text, data) => {
    expect((await read([bytes(text)])).map((event) => event.data)).toEqual(data)
  })

  it('reads what was written, wherever the bytes are cut and whatever ends a line', async () => {
    const event = fc.record({
      id: fc.stringMatching(/^[a-z0-9]{1,8}$/),
      data: fc.array(
        fc.string({ unit: 'grapheme', maxLength: 12 }).map((text) => text.replace(/[\r\n]/g, '')),
        { minLength: 1, maxLength: 3 },
      ),
    })
    await fc.assert(
      fc.asyncProperty(
        fc.array(event, { maxLength: 5 }),
        fc.constantFrom('\n', '\r\n', '\r'),
        fc.infiniteStream(fc.integer({ min: 1, max: 9 })),
        async (written, end, sizes) => {
          const lines = written.flatMap(({ id, data }) => [`id: ${id}`, ...data.map((line) => `data: ${line}`), ''])
          const whole = bytes(lines.map((line) => line + end).join('') + (end === '\r' ? ':' : ''))
          const chunks: Uint8Array[] = []
          for (let at = 0, size = 0; at < whole.length; at += size) {
            size = sizes.next().value as number
            chunks.push(whole.subarray(at, at + size))
          }
          expect(await read(chunks)).toEqual(written.map(({ id, data }) => ({ id, data: data.join('\n') })))
        },
      ),
      { numRuns: Number(process.env['MESHGUARD_RUNS'] ?? 200), interruptAfterTimeLimit: 5000 },
    )
  })
})
