import { app, open, passesOn, route } from './items.js'
import type { Case } from './spec.js'

const users = [route('GET /users/:id'), route('POST /purge')]

/** What was registered before and after, and handlers that run one behind the other. */
export const order: readonly Case[] = [
  {
    title: 'what was there before protect(app) is protected, or protect(app) throws and says "call protect first"',
    app: {
      ...app(
        ['read:contacts'],
        route('GET /early/:id'),
        { mount: '/admin', router: 'admin' },
        { protect: 'app' },
        route('GET /contacts/:id'),
      ),
      routers: { admin: users },
    },
    mayFail: true,
    async run({ failure, request, ran }, assert) {
      if (failure !== undefined) return assert.match(failure?.message, /call protect first/i)
      assert.equal((await request('GET', '/early/1')).status, 403)
      assert.equal((await request('GET', '/admin/users/7')).status, 403)
      assert.equal((await request('GET', '/early/1', { token: null })).status, 401)
      assert.equal((await request('GET', '/contacts/7')).status, 200)
      assert.equal(ran.length, 1)
    },
  },
  {
    title: 'a plain route that was there before protect(app) is protected, or protect(app) throws',
    app: app(['read:contacts'], route('GET /early/:id'), route('GET /contacts/:id'), { protect: 'app' }),
    mayFail: true,
    async run({ failure, request, ran }, assert) {
      if (failure !== undefined) return assert.match(failure?.message, /call protect first/i)
      assert.equal((await request('GET', '/early/1')).status, 403)
      assert.equal((await request('GET', '/contacts/1')).status, 200)
      assert.equal(ran.length, 1)
    },
  },
  {
    title: 'a route that is added to a router after it was mounted is protected',
    needs: ['live-routers'],
    app: {
      ...app(['read:admin/users'], { mount: '/admin', router: 'admin' }, { late: 'admin', steps: [route('GET /late/:id')] }),
      routers: { admin: users },
    },
    async run({ request, asked, ran }, assert) {
      assert.equal((await request('GET', '/admin/late/7')).status, 403)
      assert.equal((await request('GET', '/admin/users/7')).status, 200)
      assert.equal(
        asked.map(({ action }) => action),
        ['read:admin/late', 'read:admin/users'],
      )
      assert.equal(ran.length, 1)
    },
  },
  {
    title: 'a router that is mounted into a router after that was mounted is protected',
    needs: ['live-routers'],
    app: {
      ...app(
        ['read:admin/users'],
        { mount: '/admin', router: 'admin' },
        { late: 'admin', steps: [{ mount: '/deep', router: 'deep' }] },
      ),
      routers: { admin: users, deep: [route('GET /secret')] },
    },
    async run({ request, ran, asked }, assert) {
      assert.equal((await request('GET', '/admin/deep/secret')).status, 403)
      assert.equal([ran, asked.map(({ action }) => action)], [[], ['read:admin/deep/secret']])
    },
  },
  {
    title: 'protecting an app twice asks once',
    app: app(['read:contacts'], { protect: 'app' }, { protect: 'app' }, route('GET /contacts/:id'), { protect: 'app' }),
    async run({ request, decided }, assert) {
      assert.equal((await request('GET', '/contacts/42')).status, 200)
      assert.equal(decided.length, 1)
    },
  },
  {
    title: 'protecting a router and the app it is mounted in asks once, by the full pattern',
    needs: ['routers'],
    app: {
      ...app(['read:admin/users'], { protect: 'app' }, { protect: { router: 'admin' } }, { mount: '/admin', router: 'admin' }),
      routers: { admin: users },
    },
    mayFail: true,
    async run({ failure, request, asked }, assert) {
      if (failure !== undefined) return assert.match(failure?.message, /protect/i)
      assert.equal((await request('GET', '/admin/users/7')).status, 200)
      assert.equal(
        asked.map(({ action }) => action),
        ['read:admin/users'],
      )
    },
  },
  {
    title: 'two handlers in a row are each checked before they run',
    needs: ['next'],
    app: app(['read:ft', 'read:ft/special'], route('GET /ft/special', passesOn()), route('GET /ft/:x')),
    async run({ request, asked, ran }, assert) {
      assert.equal((await request('GET', '/ft/special')).json, { ran: 'GET /ft/:x' })
      assert.equal(
        asked.map(({ action }) => action),
        ['read:ft/special', 'read:ft'],
      )
      assert.equal(
        ran.map(({ name, decision }) => [name, decision?.action]),
        [
          ['GET /ft/special', 'read:ft/special'],
          ['GET /ft/:x', 'read:ft'],
        ],
      )
    },
  },
  {
    title: 'a handler that is reached through next() is denied by its own action',
    needs: ['next'],
    app: app(['read:ft/special'], route('GET /ft/special', passesOn()), route('GET /ft/:x')),
    async run({ request, ran }, assert) {
      assert.equal((await request('GET', '/ft/special')).status, 403)
      assert.equal(
        ran.map(({ name }) => name),
        ['GET /ft/special'],
      )
    },
  },
  {
    title: 'an open route that hands on does not open the next',
    needs: ['next'],
    app: app(['read:other'], route('GET /ft/special', open(), passesOn()), route('GET /ft/:x')),
    async run({ request, ran }, assert) {
      assert.equal((await request('GET', '/ft/special', { token: null })).status, 401)
      assert.equal((await request('GET', '/ft/special')).status, 403)
      assert.equal(
        ran.map(({ name }) => name),
        ['GET /ft/special', 'GET /ft/special'],
      )
    },
  },
]
