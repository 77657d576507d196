import { app, check, handler, passesOn, route, withOptions } from './items.js'
import type { Case, Facts } from './spec.js'

/** What a route says of itself: its own checks, resource, context, an action known only at the request. */
export const ownChecks: readonly Case[] = [
  {
    title: 'a route’s own check as its first handler replaces the derived one',
    app: app(['purge:contacts'], route('DELETE /contacts/:id', check('purge:contacts'), handler())),
    async run({ request, asked }, assert) {
      assert.equal((await request('DELETE', '/contacts/42')).status, 200)
      assert.equal(
        asked.map(({ action, resource }) => [action, resource]),
        [['purge:contacts', 'contacts/42']],
      )
    },
  },
  {
    title: 'a route’s own check that is not its first handler is asked in addition to the derived one',
    app: app(
      ['read:contacts', 'audit:contacts'],
      route('GET /contacts/:id', passesOn('first'), check('audit:contacts'), handler()),
    ),
    async run({ request, asked, ran }, assert) {
      assert.equal((await request('GET', '/contacts/42')).status, 200)
      assert.equal(
        asked.map(({ action }) => action),
        ['read:contacts', 'audit:contacts'],
      )
      assert.equal(
        ran.map(({ name }) => name),
        ['first', 'GET /contacts/:id'],
      )
    },
  },
  {
    title: 'a denied derived check stops the first handler although the route’s own check behind it would allow',
    app: app(['audit:contacts'], route('GET /contacts/:id', passesOn('first'), check('audit:contacts'), handler())),
    async run({ request, ran, asked }, assert) {
      assert.equal((await request('GET', '/contacts/42')).status, 403)
      assert.equal([ran, asked.map(({ action }) => action)], [[], ['read:contacts']])
    },
  },
  {
    title: 'a denied own check that is not first stops the handlers behind it',
    app: app(['read:contacts'], route('GET /contacts/:id', passesOn('first'), check('audit:contacts'), handler())),
    async run({ request, ran }, assert) {
      assert.equal((await request('GET', '/contacts/42')).status, 403)
      assert.equal(
        ran.map(({ name }) => name),
        ['first'],
      )
    },
  },
  {
    title: 'two checks of one route must both allow',
    app: app(
      ['read:a', 'read:b'],
      route('GET /both', check('read:a'), check('read:b'), handler()),
      route('GET /half', check('read:a'), check('read:c'), handler()),
    ),
    async run({ request, ran, asked }, assert) {
      assert.equal((await request('GET', '/both')).status, 200)
      assert.equal((await request('GET', '/half')).status, 403)
      assert.equal(
        asked.map(({ action }) => action),
        ['read:a', 'read:b', 'read:a', 'read:c'],
      )
      assert.equal(
        ran.map(({ name }) => name),
        ['GET /both'],
      )
    },
  },
  {
    title: 'a route says its own resource, as text or as a function of the request',
    app: app(
      ['read:reports'],
      route('GET /reports', check('read:reports', { resource: 'reports/all' }), handler()),
      route('GET /reports/:id', check({ resource: ({ params }: Facts) => `report-no/${params['id']}` }), handler()),
    ),
    async run({ request, asked }, assert) {
      await request('GET', '/reports')
      await request('GET', '/reports/7')
      assert.equal(
        asked.map(({ action, resource }) => [action, resource]),
        [
          ['read:reports', 'reports/all'],
          ['read:reports', 'report-no/7'],
        ],
      )
    },
  },
  {
    title: 'context of the adapter, sync or async, reaches the source; a route’s own replaces it',
    app: withOptions(
      app(['read:*'], route('GET /a'), route('GET /b', check({ context: async () => ({ from: 'route' }) }), handler())),
      { context: async ({ header }: Facts) => ({ from: header('x-from') }) },
    ),
    async run({ request, asked }, assert) {
      assert.equal((await request('GET', '/a', { headers: { 'x-from': 'app' } })).status, 200)
      assert.equal((await request('GET', '/b')).status, 200)
      assert.equal(
        asked.map(({ context }) => context),
        [{ from: 'app' }, { from: 'route' }],
      )
    },
  },
  {
    title: 'protect() guards one route of an app that is not protected, and no other',
    app: { ...app(['read:other'], route('GET /contacts', check(), handler()), route('GET /free')), whole: false },
    async run({ request, asked, ran }, assert) {
      assert.equal((await request('GET', '/contacts')).status, 403)
      assert.equal((await request('GET', '/free', { token: null })).status, 200)
      assert.equal([asked.map(({ action }) => action), ran.map(({ name }) => name)], [['read:contacts'], ['GET /free']])
    },
  },
  {
    title: 'protect("verb:object") guards one route of an app that is not protected',
    app: { ...app(['purge:contacts'], route('GET /contacts/:id', check('purge:contacts'), handler())), whole: false },
    async run({ request, asked }, assert) {
      assert.equal((await request('GET', '/contacts/9')).status, 200)
      assert.equal((await request('GET', '/contacts/9', { token: null })).status, 401)
      assert.equal(
        asked.map(({ action, resource }) => [action, resource]),
        [['purge:contacts', 'contacts/9']],
      )
    },
  },
  {
    title: 'a dynamic action is read from each request',
    app: app(
      ['query:orders'],
      route(
        'POST /graphql',
        check({ action: async ({ header }: Facts) => `query:${header('x-op')}`, dynamic: true }),
        handler(),
      ),
    ),
    async run({ request, asked, ran }, assert) {
      assert.equal((await request('POST', '/graphql', { headers: { 'x-op': 'orders' } })).status, 200)
      assert.equal((await request('POST', '/graphql', { headers: { 'x-op': 'users' } })).status, 403)
      assert.equal(
        asked.map(({ action }) => action),
        ['query:orders', 'query:users'],
      )
      assert.equal(ran.length, 1)
    },
  },
  {
    title: 'a dynamic action that is none is 400, and one that throws is 503',
    app: app(
      ['*'],
      route('POST /graphql', check({ action: ({ header }: Facts) => header('x-op'), dynamic: true }), handler()),
      route(
        'POST /throws',
        check({
          action: () => {
            throw new Error('secret words')
          },
          dynamic: true,
        }),
        handler(),
      ),
    ),
    async run({ request, asked, ran }, assert) {
      for (const op of ['no-colon', 'read:*', 'read: x', ':x', 'x:']) {
        assert.equal((await request('POST', '/graphql', { headers: { 'x-op': op } })).status, 400, op)
      }
      assert.equal((await request('POST', '/graphql')).status, 400)
      const thrown = await request('POST', '/throws')
      assert.equal(thrown.status, 503)
      assert.ok(!thrown.text.includes('secret'), 'the words of the error are told')
      assert.equal([asked, ran], [[], []])
    },
  },
]
