import { app, check, handler, open, route } from './items.js'
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
    needs: ['nested-mounts'],
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
]
