import { app, check, handler, route } from './items.js'
import type { AppSpec, Case, Facts } from './spec.js'

const denied = { allowed: false, code: 'denied', policy: 'crm', rule: 'no-deletes' } as const
const traceId = 'trace-0123456789'
const traced = { headers: { 'x-meshguard-trace-id': traceId } }

function answering(answer: object): AppSpec {
  return { guard: { source: { decide: () => answer } }, steps: [route('GET /contacts/:id')] }
}

/** Trace IDs, what is added to answers, and what handlers answer by themselves. */
export const answersBehind: readonly Case[] = [
  {
    title: 'a trace ID is taken from X-MeshGuard-Trace-ID, else X-Trace-ID, else traceparent',
    app: answering(denied),
    async run({ request, decided }, assert) {
      const parent = { traceparent: '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01' }
      const other = { 'x-trace-id': 'other-trace-id' }
      const own = { 'x-meshguard-trace-id': 'own-trace-id' }
      const ids: unknown[] = []
      for (const headers of [parent, { ...parent, ...other }, { ...parent, ...other, ...own }]) {
        const reply = await request('GET', '/contacts/1', { headers })
        assert.equal(reply.headers['x-meshguard-trace-id'], reply.json['traceId'])
        ids.push(reply.json['traceId'])
      }
      assert.equal(ids, ['4bf92f3577b34da6a3ce929d0e0e4736', 'other-trace-id', 'own-trace-id'])
      assert.equal(
        decided.map((event) => event.traceId),
        ids,
      )
    },
  },
  {
    title: 'a malformed trace ID is never echoed: a new UUID takes its place',
    app: answering(denied),
    async run({ request }, assert) {
      for (const bad of [
        'short',
        '*',
        'a'.repeat(129),
        'has space in it',
        '%0d%0aX-Evil: 1',
        'é'.repeat(8),
        '../../etc/passwd',
        '<script>alert(1)',
      ]) {
        const reply = await request('GET', '/contacts/1', { headers: { 'x-meshguard-trace-id': bad } })
        assert.match(
          reply.headers['x-meshguard-trace-id'],
          /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/,
          bad,
        )
        assert.equal(reply.json['traceId'], reply.headers['x-meshguard-trace-id'])
      }
    },
  },
  {
    title: 'an allowed answer carries the trace ID and nothing else of ours',
    app: answering({ allowed: true, code: 'allowed', policy: 'crm', rule: 'reads' }),
    async run({ request }, assert) {
      const { status, headers } = await request('GET', '/contacts/1', traced)
      assert.equal([status, headers['x-meshguard-trace-id'], headers['cache-control']], [200, traceId, undefined])
      assert.equal(
        Object.keys(headers).filter((name) => name.startsWith('x-meshguard-')),
        ['x-meshguard-trace-id'],
      )
    },
  },
  {
    title: 'exposeDecision adds decision and agent to answers, allowed or denied',
    app: { ...app(['read:contacts'], route('GET /contacts/:id'), route('GET /admin')), options: { exposeDecision: true } },
    async run({ request }, assert) {
      const [allowed, refused] = [await request('GET', '/contacts/1'), await request('GET', '/admin')]
      assert.equal([allowed.headers['x-meshguard-decision'], allowed.headers['x-meshguard-agent-id']], ['allow', 'agent-1'])
      assert.equal(
        [refused.status, refused.headers['x-meshguard-decision'], refused.headers['x-meshguard-agent-id']],
        [403, 'deny', 'agent-1'],
      )
      assert.equal((await request('GET', '/admin', { token: null })).headers['x-meshguard-agent-id'], undefined)
    },
  },
  {
    title: 'what a handler answers by itself is left as it is, from 400 on too',
    app: app(
      ['read:*'],
      route(
        'GET /status/:status',
        handler(({ params }: Facts) => ({
          status: Number(params['status']),
          headers: { 'x-own': 'yes' },
          body: { own: true },
        })),
      ),
    ),
    async run({ request }, assert) {
      for (const status of [200, 201, 202, 400, 401, 403, 404, 409, 418, 429, 500, 503]) {
        const reply = await request('GET', `/status/${status}`)
        assert.equal([reply.status, reply.json, reply.headers['x-own']], [status, { own: true }, 'yes'])
        assert.equal([reply.headers['www-authenticate'], reply.headers['retry-after']], [undefined, undefined])
      }
    },
  },
  {
    title: 'an error that a handler throws is the framework’s own 500',
    app: app(
      ['read:*'],
      route(
        'GET /broken',
        handler(() => {
          throw new Error('broken')
        }),
      ),
    ),
    async run({ request, decided }, assert) {
      assert.equal((await request('GET', '/broken')).status, 500)
      assert.equal(
        decided.map(({ allowed }) => allowed),
        [true],
      )
    },
  },
  {
    title: 'guard.enforce in a handler becomes the right status by itself',
    app: {
      guard: {
        timeoutMs: 100,
        source: {
          decide: ({ action }) => {
            if (action === 'x:limited') return { allowed: false, code: 'rate_limited', retryAfter: 9 }
            if (action === 'x:broken') throw new Error('broken')
            return action === 'x:denied' ? denied : { allowed: true, code: 'allowed' }
          },
        },
      },
      steps: [
        route(
          'GET /enforce',
          check('read:enforce'),
          handler(async ({ guard, agent, header }) => {
            const action = header('x-action') as string
            await guard.enforce(action, action === 'x:nobody' ? {} : { agent })
            return {}
          }),
        ),
      ],
    },
    async run({ request }, assert) {
      const statuses: Record<string, number> = {}
      for (const action of ['x:fine', 'x:denied', 'x:nobody', 'x:limited', 'x:broken', 'no action']) {
        const reply = await request('GET', '/enforce', { headers: { 'x-action': action } })
        statuses[action] = reply.status
        if (action === 'x:limited') assert.equal(reply.headers['retry-after'], '9')
        if (action === 'x:nobody') assert.match(reply.headers['www-authenticate'], /^Bearer/)
      }
      assert.equal(statuses, {
        'x:fine': 200,
        'x:denied': 403,
        'x:nobody': 401,
        'x:limited': 429,
        'x:broken': 503,
        'no action': 400,
      })
    },
  },
  {
    title: 'a trace ID that was sent twice is not taken',
    needs: ['socket'],
    app: answering(denied),
    async run({ send, token }, assert) {
      const twice = 'X-MeshGuard-Trace-ID: first-trace-id\r\nX-MeshGuard-Trace-ID: second-trace-id\r\n'
      const bearer = `Authorization: Bearer ${await token()}\r\n`
      const reply = await send(`GET /contacts/1 HTTP/1.1\r\nHost: a\r\n${bearer}${twice}Connection: close\r\n\r\n`)
      assert.equal(reply.status, 403)
      assert.match(reply.headers['x-meshguard-trace-id'], /^[0-9a-f-]{36}$/)
    },
  },
  {
    title: 'the address that option ip gives reaches the source',
    app: { ...answering({ allowed: true, code: 'allowed' }), options: { ip: ({ header }: Facts) => header('x-client') } },
    async run({ request, asked }, assert) {
      await request('GET', '/contacts/1', { headers: { 'x-client': '203.0.113.9' } })
      assert.equal(asked[0]?.request, { method: 'GET', route: '/contacts/:id', ip: '203.0.113.9' })
    },
  },
]
