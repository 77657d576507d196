import { answers, app, handler, open, passesOn, route, withOptions } from './items.js'
import type { Case } from './spec.js'

const leaky = { status: 200, headers: { 'x-secret': 'told', 'set-cookie': 'session=1' }, body: { secret: 'told' } }

/** What is not a route: middleware, not-found handlers, unknown paths, what is open. */
export const notARoute: readonly Case[] = [
  {
    title: 'middleware that only passes on is left alone',
    app: app(['read:contacts'], { use: [passesOn('middleware')] }, route('GET /contacts')),
    async run({ request, ran, asked }, assert) {
      assert.equal((await request('GET', '/contacts')).status, 200)
      assert.equal([ran.map(({ name }) => name), asked.length], [['middleware', 'GET /contacts'], 1])
    },
  },
  {
    title: 'middleware that answers below 400 without a decision is replaced by 403 unmapped',
    app: app(['*'], { use: [answers(leaky)] }),
    async run({ request, decided }, assert) {
      const reply = await request('GET', '/contacts')
      assert.equal(reply.status, 403)
      assert.equal([reply.headers['x-secret'], reply.headers['set-cookie']], [undefined, undefined])
      assert.ok(!reply.text.includes('told'), 'the body of the middleware is sent')
      assert.equal(reply.headers['x-meshguard-trace-id'], reply.json['traceId'])
      assert.equal(
        decided.map(({ code }) => code),
        ['unmapped'],
      )
    },
  },
  {
    title: 'the last net holds whether or not a token was sent',
    app: app(['*'], { use: [answers(leaky)] }),
    async run({ request }, assert) {
      const reply = await request('GET', '/anything', { token: null })
      assert.ok([401, 403].includes(reply.status), `answered ${reply.status}`)
      assert.ok(!reply.text.includes('told'), 'the body of the middleware is sent')
    },
  },
  {
    title: 'the last net reports once a path',
    app: app(['*'], { use: [answers(leaky)] }),
    async run({ request, stderr }, assert) {
      await request('GET', '/first')
      await request('GET', '/first')
      assert.equal(stderr.filter((line) => line.includes('"/first"')).length, 1)
      await request('GET', '/second')
      assert.equal(stderr.filter((line) => line.includes('"/second"')).length, 1)
    },
  },
  {
    title: 'a redirect by middleware is held back like any answer below 400',
    app: app(['*'], { use: [answers({ status: 302, headers: { location: 'https://example.com/?secret=1' } })] }),
    async run({ request }, assert) {
      const reply = await request('GET', '/anywhere')
      assert.equal([reply.status, reply.headers['location']], [403, undefined])
    },
  },
  {
    title: 'middleware may refuse by itself: answers from 400 on are left alone',
    app: app(['*'], { use: [handler(({ header }) => ({ status: Number(header('x-status')), body: { own: true } }))] }),
    async run({ request, decided }, assert) {
      for (const status of [400, 401, 404, 418, 500, 503]) {
        const reply = await request('GET', '/anything', { headers: { 'x-status': String(status) } })
        assert.equal([reply.status, reply.json], [status, { own: true }])
      }
      assert.equal(decided, [])
    },
  },
  {
    title: 'an unknown path gets the framework’s own 404, token or not, and nothing is decided',
    app: app(['*'], route('GET /contacts')),
    async run({ request, decided }, assert) {
      const [without, bad, good] = [
        await request('GET', '/nowhere', { token: null }),
        await request('GET', '/nowhere', { token: 'nonsense' }),
        await request('GET', '/nowhere'),
      ]
      assert.equal([without.status, bad.status, good.status], [404, 404, 404])
      assert.equal(without.text, good.text)
      assert.equal([decided, good.headers['x-meshguard-trace-id']], [[], undefined])
    },
  },
  {
    title: 'a not-found handler that answers 404 is left alone',
    app: app(['*'], route('GET /contacts'), { notFound: () => ({ status: 404, body: { own: 'page' } }) }),
    async run({ request }, assert) {
      const reply = await request('GET', '/nowhere', { token: null })
      assert.equal([reply.status, reply.json], [404, { own: 'page' }])
    },
  },
  {
    title: 'a not-found handler that answers below 400 is replaced by 403 unmapped',
    app: app(['*'], route('GET /contacts'), { notFound: () => leaky }),
    async run({ request }, assert) {
      const reply = await request('GET', '/nowhere')
      assert.equal([reply.status, reply.headers['x-secret']], [403, undefined])
      assert.ok(!reply.text.includes('told'), 'the body of the not-found handler is sent')
    },
  },
  {
    title: 'an open route needs no token, asks nobody and carries no decision',
    app: app([], route('GET /health', open('liveness probe'), handler())),
    async run({ request, ran, decided, asked }, assert) {
      assert.equal((await request('GET', '/health', { token: null })).status, 200)
      assert.equal((await request('GET', '/health', { token: 'nonsense' })).status, 200)
      assert.equal([ran.length, decided, asked], [2, [], []])
      assert.equal(ran[0]?.decision, undefined)
    },
  },
  {
    title: 'HEAD of an open route is open as well',
    app: app([], route('GET /health', open('liveness probe'), handler())),
    async run({ request }, assert) {
      assert.equal((await request('HEAD', '/health', { token: null })).status, 200)
    },
  },
  {
    title: 'open in the middle of a registration opens nothing',
    app: app([], route('GET /health', passesOn('first'), open('not first'), handler())),
    mayFail: true,
    async run({ failure, request, ran }, assert) {
      if (failure !== undefined) return assert.match(failure.message, /open/)
      assert.equal((await request('GET', '/health', { token: null })).status, 401)
      assert.equal((await request('GET', '/health')).status, 403)
      assert.equal(ran, [])
    },
  },
  {
    title: 'in audit mode the last net lets go, and reports',
    app: withOptions(app(['*'], { use: [answers({ body: { ok: true } })] }), undefined, { mode: 'audit' }),
    async run({ request, decided, stderr }, assert) {
      assert.equal((await request('GET', '/x')).json, { ok: true })
      assert.equal([decided[0]?.code, decided[0]?.enforced], ['unmapped', false])
      assert.equal(stderr.filter((line) => line.includes('"/x"')).length, 1)
    },
  },
  {
    title: 'Koa and Hono: protect.open(reason, middleware) covers what that one answers, and nothing else',
    needs: ['opaque-middleware'],
    app: app(
      [],
      { use: [{ opaque: 'assets', handle: ({ header }) => (header('x-asset') === 'yes' ? { body: { asset: 1 } } : 'next') }] },
      { use: [answers(leaky)] },
    ),
    async run({ request }, assert) {
      assert.equal((await request('GET', '/style.css', { token: null, headers: { 'x-asset': 'yes' } })).json, { asset: 1 })
      const other = await request('GET', '/other', { token: null })
      assert.ok([401, 403].includes(other.status), `answered ${other.status}`)
      assert.ok(!other.text.includes('told'), 'the body of the other middleware is sent')
    },
  },
  {
    title: 'Koa and Hono: opaque middleware that passes on does not open the route behind it',
    needs: ['opaque-middleware'],
    app: app([], { use: [{ opaque: 'assets', handle: () => 'next' }] }, route('GET /contacts')),
    async run({ request, ran }, assert) {
      assert.equal((await request('GET', '/contacts')).status, 403)
      assert.equal((await request('GET', '/contacts', { token: null })).status, 401)
      assert.equal(
        ran.filter(({ name }) => name.startsWith('GET')),
        [],
      )
    },
  },
]
