import { app, check, handler, open, route, withOptions } from './items.js'
import type { Case } from './spec.js'

const contacts = [route('GET /contacts/:id'), route('DELETE /contacts/:id')]

/** Audit and bypass, of a guard and of a single route. */
export const modes: readonly Case[] = [
  {
    title: 'audit mode lets a denied request go on, and records what the policies said',
    app: withOptions(app(['read:contacts'], ...contacts), undefined, { mode: 'audit' }),
    async run({ request, ran, decided }, assert) {
      assert.equal((await request('DELETE', '/contacts/1')).status, 200)
      assert.equal((await request('GET', '/contacts/1')).status, 200)
      const seen = decided.map(({ allowed, decision, code, enforced }) => [allowed, decision, code, enforced])
      assert.equal(seen, [
        [true, 'deny', 'no_match', false],
        [true, 'allow', 'allowed', false],
      ])
      assert.equal(ran[0]?.decision?.decision, 'deny')
    },
  },
  {
    title: 'audit mode lets an unmapped route and an exhausted rate limit go on',
    app: {
      guard: { mode: 'audit', source: { decide: () => ({ allowed: false, code: 'rate_limited', retryAfter: 5 }) } },
      steps: [route('GET /:id'), route('GET /limited/x')],
    },
    async run({ request, decided }, assert) {
      assert.equal((await request('GET', '/anything')).status, 200)
      assert.equal((await request('GET', '/limited/x')).status, 200)
      assert.equal(
        decided.map(({ code, allowed }) => [code, allowed]),
        [
          ['unmapped', true],
          ['rate_limited', true],
        ],
      )
    },
  },
  {
    title: 'audit mode refuses a bad credential, a malformed request and an unavailable source as ever',
    app: {
      guard: {
        mode: 'audit',
        source: {
          decide: () => {
            throw new Error('broken')
          },
        },
      },
      steps: [...contacts, route('POST /dynamic', check({ action: () => 'no action', dynamic: true }), handler())],
    },
    async run({ request, ran }, assert) {
      const statuses = [
        (await request('GET', '/contacts/1', { token: null })).status,
        (await request('GET', '/contacts/1', { token: 'nonsense' })).status,
        (await request('GET', '/contacts/a%00b')).status,
        (await request('POST', '/dynamic')).status,
        (await request('GET', '/contacts/1')).status,
      ]
      assert.equal([statuses, ran], [[401, 401, 400, 400, 503], []])
    },
  },
  {
    title: 'a single route can be in audit mode, and no other',
    app: app(
      [],
      route('GET /new', check('read:new', { mode: 'audit' }), handler()),
      route('GET /derived', check({ mode: 'audit' }), handler()),
      route('GET /old'),
    ),
    async run({ request, ran, decided }, assert) {
      const statuses = [
        (await request('GET', '/new')).status,
        (await request('GET', '/derived')).status,
        (await request('GET', '/old')).status,
      ]
      assert.equal([statuses, ran.length], [[200, 200, 403], 2])
      assert.equal(
        decided.map(({ enforced }) => enforced),
        [false, false, true],
      )
      assert.equal((await request('GET', '/new', { token: null })).status, 401)
    },
  },
  {
    title: 'a single route can be enforced under a guard in audit mode',
    app: withOptions(app([], route('GET /strict', check({ mode: 'enforce' }), handler()), route('GET /lax')), undefined, {
      mode: 'audit',
    }),
    async run({ request }, assert) {
      assert.equal([(await request('GET', '/strict')).status, (await request('GET', '/lax')).status], [403, 200])
    },
  },
  {
    title: 'bypass mode asks nobody, lets everybody pass, records it, and verifies a token that is there',
    app: withOptions(app([], ...contacts), undefined, { mode: 'bypass' }),
    async run({ request, asked, decided, ran }, assert) {
      assert.equal((await request('DELETE', '/contacts/1', { token: null })).status, 200)
      assert.equal((await request('DELETE', '/contacts/1')).status, 200)
      assert.equal((await request('DELETE', '/contacts/1', { token: 'nonsense' })).status, 401)
      assert.equal([asked, ran.length], [[], 2])
      assert.equal(
        decided.map(({ code, agentId }) => [code, agentId]),
        [
          ['bypassed', undefined],
          ['bypassed', 'agent-1'],
          ['unauthenticated', undefined],
        ],
      )
    },
  },
  {
    title: 'bypass mode of a route is its own affair',
    app: app(
      [],
      route('GET /dev', check('read:dev', { mode: 'bypass' }), handler()),
      route('GET /real'),
      route('GET /health', open(), handler()),
    ),
    async run({ request, asked }, assert) {
      assert.equal((await request('GET', '/dev', { token: null })).status, 200)
      assert.equal((await request('GET', '/real')).status, 403)
      assert.equal(
        asked.map(({ action }) => action),
        ['read:real'],
      )
    },
  },
]
