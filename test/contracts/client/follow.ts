import { type AuditEntry, ConnectionError } from '@meshguard/client'
import { type Case, type Context, isA, type Reply, rejection } from './spec.js'

/** Events with these ids; the stream then ends, breaks, or stays open. */
const events = (ids: readonly string[], ending?: Reply['ending']): Reply => ({
  headers: { 'content-type': 'text/event-stream' },
  pieces: [': hello\n\n', ...ids.map((id) => `id: ${id}\nevent: entry\ndata: {"id":"${id}"}\n\n`)],
  ...(ending === undefined ? {} : { ending }),
})

async function take(stream: AsyncIterable<AuditEntry>, count: number): Promise<string[]> {
  const ids: string[] = []
  for await (const { id } of stream) if (ids.push(id) === count) break
  return ids
}

const asked = async ({ received }: Context) => (await received()).map(({ headers }) => headers['last-event-id'] ?? '')

export const followCases: readonly Case[] = [
  {
    title: 'resumes after the last entry when the stream ends or breaks',
    async run(context, assert) {
      await context.answer(events(['a', 'b']), events(['c'], 'break'), { ending: 'break' }, events(['d'], 'stay'))
      assert.equal(await take(context.connect().streamAudit(), 4), ['a', 'b', 'c', 'd'])
      assert.equal(await asked(context), ['', 'b', 'c', 'c'])
    },
  },
  {
    title: 'resumes after an id that came without an entry',
    async run(context, assert) {
      const head: Reply = { headers: { 'content-type': 'text/event-stream' }, text: 'id: head\n\n' }
      await context.answer(head, events(['x'], 'stay'))
      assert.equal(await take(context.connect().streamAudit({ lastEventId: 'given' }), 1), ['x'])
      assert.equal(await asked(context), ['given', 'head'])
    },
  },
  {
    title: 'ends when the signal is aborted, and when the client is closed',
    async run({ answer, connect }, assert) {
      const abort = new AbortController()
      await answer(events(['a'], 'stay'))
      const client = connect()
      const seen: string[] = []
      for await (const { id } of client.streamAudit({}, { signal: abort.signal })) {
        seen.push(id)
        abort.abort()
      }
      for await (const { id } of client.streamAudit()) {
        seen.push(id)
        void client.close()
      }
      assert.equal(seen, ['a', 'a'])
    },
  },
  {
    title: 'rejects at once when it cannot begin, and after timeoutMs when it cannot go on',
    async run({ answer, connect }, assert) {
      const client = connect({ timeoutMs: 3000 })
      await answer({ ending: 'break' })
      isA(ConnectionError, await rejection(client.streamAudit().next()), assert)
      await answer(events(['a'], 'break'), { ending: 'break' })
      const stream = client.streamAudit({}, { timeoutMs: 500 })
      assert.equal((await stream.next()).value, { id: 'a' })
      isA(ConnectionError, await rejection(stream.next()), assert)
      await answer({ status: 401, json: { error: 'unauthorized', message: 'Invalid or expired token' } })
      assert.equal((await rejection(client.streamAudit().next())).name, 'AuthenticationError')
    },
  },
  {
    title: 'rejects for an entry that is no JSON',
    async run({ answer, connect }, assert) {
      await answer({ text: 'data: {\n\n' })
      assert.equal((await rejection(connect().streamAudit().next())).name, 'UnavailableError')
    },
  },
]
