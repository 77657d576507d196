import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { readEvents } from '../../packages/client/src/event-stream.js'

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
