import { app, check, handler, open, passesOn, route } from './items.js'
import type { Case } from './spec.js'

const users = [route('GET /users/:id'), route('POST /purge')]

/** Routers, scopes and apps inside an app. */
export const mounts: readonly Case[] = [
  {
    title: 'a route in a mounted router is checked by its full pattern',
    app: { ...app(['read:admin/users'], { mount: '/admin', router: 'admin' }), routers: { admin: users } },
    async run({ request, asked, ran }, assert) {
      assert.equal((await request('GET', '/admin/users/7')).status, 200)
      assert.equal((await request('POST', '/admin/purge')).status, 403)
      assert.equal(
        asked.map(({ action }) => action),
        ['read:admin/users', 'write:admin/purge'],
      )
      assert.equal([asked[0]?.resource, asked[0]?.request?.route], ['admin/users/7', '/admin/users/:id'])
      assert.equal(ran.length, 1)
    },
  },
  {
    title: 'a mount with a parameter: the resource holds the value of every level',
    app: {
      ...app(['read:tenants/contacts'], { mount: '/tenants/:tenant', router: 'tenant' }),
      routers: { tenant: [route('GET /contacts/:id')] },
    },
    async run({ request, asked }, assert) {
      assert.equal((await request('GET', '/tenants/acme%2F..%2Fx/contacts/42')).status, 200)
      assert.equal([asked[0]?.action, asked[0]?.resource], ['read:tenants/contacts', 'tenants/acme%2F..%2Fx/contacts/42'])
    },
  },
  {
    title: 'routers in routers, with parameters at every level',
    app: {
      ...app(['read:o/teams/contacts'], { mount: '/o/:org', router: 'a' }),
      routers: {
        a: [{ mount: '/teams', router: 'b' }],
        b: [{ mount: '/:team/contacts', router: 'c' }],
        c: [route('GET /:id')],
      },
    },
    async run({ request, asked, decided }, assert) {
      assert.equal((await request('GET', '/o/acme/teams/9/contacts/42')).status, 200)
      assert.equal([asked[0]?.action, asked[0]?.resource], ['read:o/teams/contacts', 'o/acme/teams/9/contacts/42'])
      assert.equal(decided[0]?.request?.route, '/o/:org/teams/:team/contacts/:id')
    },
  },
  {
    title: 'one router mounted twice has two actions: one mount may be allowed and the other denied',
    app: {
      ...app(['read:public/items'], { mount: '/public', router: 'items' }, { mount: '/secret', router: 'items' }),
      routers: { items: [route('GET /items/:id')] },
    },
    async run({ request, asked, ran }, assert) {
      for (let round = 0; round < 2; round++) {
        assert.equal((await request('GET', '/public/items/1')).status, 200)
        assert.equal((await request('GET', '/secret/items/1')).status, 403)
      }
      assert.equal(
        asked.map(({ action }) => action),
        ['read:public/items', 'read:secret/items', 'read:public/items', 'read:secret/items'],
      )
      assert.equal(ran.length, 2)
    },
  },
  {
    title: 'one router mounted under a name and under a parameter is not reached through the other’s check',
    app: {
      ...app(['read:x/items'], { mount: '/x', router: 'items' }, { mount: '/:any', router: 'items' }),
      routers: { items: [route('GET /items/:id')] },
    },
    async run({ request, asked }, assert) {
      assert.equal((await request('GET', '/x/items/1')).status, 200)
      assert.equal((await request('GET', '/y/items/1')).status, 403)
      assert.equal(
        asked.map(({ action, resource }) => [action, resource]),
        [
          ['read:x/items', 'x/items/1'],
          ['read:items', 'y/items/1'],
        ],
      )
    },
  },
  {
    title: 'a router on / has the patterns of its routes',
    app: { ...app(['read:contacts'], { mount: '/', router: 'root' }), routers: { root: [route('GET /contacts/:id')] } },
    async run({ request, asked }, assert) {
      assert.equal((await request('GET', '/contacts/42')).status, 200)
      assert.equal([asked[0]?.action, asked[0]?.resource], ['read:contacts', 'contacts/42'])
    },
  },
  {
    title: 'the root of a mounted router',
    app: {
      ...app(['read:contacts'], { mount: '/contacts', router: 'contacts' }),
      routers: { contacts: [route('GET /'), route('GET /:id')] },
    },
    async run({ request, asked }, assert) {
      const slash = await request('GET', '/contacts')
      const status = slash.status === 404 ? (await request('GET', '/contacts/')).status : slash.status
      assert.equal(status, 200)
      assert.equal((await request('GET', '/contacts/5')).status, 200)
      assert.equal(
        asked.map(({ action, resource }) => [action, resource]),
        [
          ['read:contacts', 'contacts'],
          ['read:contacts', 'contacts/5'],
        ],
      )
    },
  },
  {
    title: 'own checks and open routes count inside a mounted router',
    app: {
      ...app(['purge:admin'], { mount: '/admin', router: 'admin' }),
      routers: {
        admin: [
          route('POST /purge', check('purge:admin'), handler()),
          route('GET /health', open(), handler()),
          route('GET /x'),
        ],
      },
    },
    async run({ request, ran }, assert) {
      assert.equal((await request('POST', '/admin/purge')).status, 200)
      assert.equal((await request('GET', '/admin/health', { token: null })).status, 200)
      assert.equal((await request('GET', '/admin/x')).status, 403)
      assert.equal(ran.length, 2)
    },
  },
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
    title: 'equal parameter names at two levels throw, and name the parameter',
    app: { ...app(['*'], { mount: '/tenants/:id', router: 'tenant' }), routers: { tenant: [route('GET /contacts/:id')] } },
    mayFail: true,
    async run({ failure, request, ran }, assert) {
      if (failure !== undefined) return assert.match(failure?.message, /:id/)
      assert.ok((await request('GET', '/tenants/A/contacts/B')).status >= 400, 'one level hid the other')
      assert.equal(ran, [])
    },
  },
  {
    title: 'checks on a mount are asked in addition to those of the routes inside',
    needs: ['mount-check'],
    app: {
      ...app(['enter:admin', 'read:admin/users'], { mount: '/admin', router: 'admin', items: [check('enter:admin')] }),
      routers: { admin: users },
    },
    async run({ request, asked, ran }, assert) {
      assert.equal((await request('GET', '/admin/users/7')).status, 200)
      assert.equal((await request('POST', '/admin/purge')).status, 403)
      assert.equal(
        asked.map(({ action }) => action),
        ['enter:admin', 'read:admin/users', 'enter:admin', 'write:admin/purge'],
      )
      assert.equal(ran.length, 1)
    },
  },
  {
    title: 'protect.open in front of a router throws',
    needs: ['mount-check'],
    app: { ...app(['*'], { mount: '/admin', router: 'admin', items: [open()] }), routers: { admin: users } },
    mayFail: true,
    run({ failure }, assert) {
      assert.ok(failure !== undefined, 'nothing was thrown')
      assert.match(failure?.message, /open/)
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
