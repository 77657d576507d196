import { after, app, handler, route, withOptions } from './items.js'
import type { AppSpec, Case, Facts } from './spec.js'

/** Later than it was asked, by an amount that differs from request to request. */
const shuffled: AppSpec = {
  guard: {
    source: {
      decide: async ({ resource, agent }, count) => {
        await after((count * 7) % 11)
        return agent?.id === `owner-${resource?.split('/')[1]}`
          ? { allowed: true, code: 'allowed', reason: resource }
          : { allowed: false, code: 'denied' }
      },
    },
  },
  options: { context: async ({ header }: Facts) => after(Number(header('x-delay')), {}) },
  steps: [
    route(
      'GET /contacts/:id',
      handler(async ({ decision, agent, params }) => {
        await after(2)
        return { body: { id: params['id'], reason: decision?.reason, traceId: decision?.traceId, agent: agent?.id } }
      }),
    ),
  ],
}

/** Requests under way at the same time. */
export const concurrency: readonly Case[] = [
  {
    title: 'requests at the same time never see each other’s decision',
    app: shuffled,
    async run({ request, token, ran }, assert) {
      const tokens = await Promise.all(Array.from({ length: 6 }, (_, i) => token({ id: `owner-${i}` })))
      const all = Array.from({ length: 60 }, async (_, i) => {
        const [mine, id, traceId] = [i % 6, Math.floor(i / 6) % 6, `trace-number-${i}`]
        const headers = { 'x-meshguard-trace-id': traceId, 'x-delay': String((i * 5) % 7) }
        const reply = await request('GET', `/contacts/${id}`, { token: tokens[mine] as string, headers })
        assert.equal([reply.status, reply.headers['x-meshguard-trace-id']], [mine === id ? 200 : 403, traceId])
        if (mine === id) assert.equal(reply.json, { id: String(id), reason: `contacts/${id}`, traceId, agent: `owner-${mine}` })
        else assert.equal(reply.json['traceId'], traceId)
      })
      await Promise.all(all)
      assert.ok(
        ran.every(({ agent, decision }) => agent?.id === decision?.agentId),
        'a handler saw another agent',
      )
    },
  },
  {
    title: 'requests on one connection, sent at once, are each answered for themselves',
    needs: ['socket'],
    app: app(['read:contacts'], route('GET /contacts/:id'), route('GET /admin')),
    async run({ send, token, ran }, assert) {
      const head = (path: string, connection: string) =>
        `GET ${path} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer ${bearer}\r\nConnection: ${connection}\r\n\r\n`
      const bearer = await token()
      const { text } = await send(
        head('/contacts/1', 'keep-alive') + head('/admin', 'keep-alive') + head('/contacts/2', 'close'),
      )
      assert.equal([...text.matchAll(/HTTP\/1\.1 (\d+)/g)].map(([, status]) => status).concat(), ['403', '200'])
      assert.equal(ran.map(({ decision }) => decision?.resource).sort(), ['contacts/1', 'contacts/2'])
    },
  },
  {
    title: 'a denial on a request with a body leaves the connection in order',
    app: withOptions(app(['write:contacts'], route('POST /contacts'), route('POST /admin')), {}),
    async run({ request, ran }, assert) {
      const init = { headers: { 'content-type': 'application/json' }, body: JSON.stringify({ fill: 'x'.repeat(50_000) }) }
      for (let i = 0; i < 3; i++) {
        assert.equal((await request('POST', '/admin', init)).status, 403)
        assert.equal((await request('POST', '/contacts', init)).status, 200)
      }
      assert.equal(ran.length, 3)
    },
  },
]
