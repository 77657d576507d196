import { app, route, withOptions } from './items.js'
import type { Case } from './spec.js'

const contacts = ['read:contacts', 'write:contacts', 'delete:contacts']

/** Which action is asked for a route, and on which resource. */
export const actions: readonly Case[] = [
  {
    title: 'derives the action from the method and the text of the pattern, the resource from the parameters',
    app: app(contacts, ...['GET', 'POST', 'PUT', 'PATCH', 'DELETE'].map((method) => route(`${method} /contacts/:id`))),
    async run({ request, asked }, assert) {
      for (const method of ['GET', 'POST', 'PUT', 'PATCH', 'DELETE']) {
        assert.equal((await request(method, '/contacts/42')).status, 200, method)
      }
      const verbs = ['read', 'write', 'write', 'write', 'delete']
      assert.equal(asked.length, 5)
      assert.equal(
        asked.map(({ action, resource }) => [action, resource]),
        verbs.map((verb) => [`${verb}:contacts`, 'contacts/42']),
      )
    },
  },
  {
    title: 'a denied action is 403 and its handler does not run',
    app: app(['read:contacts'], route('GET /contacts/:id'), route('DELETE /contacts/:id')),
    async run({ request, ran }, assert) {
      assert.equal((await request('DELETE', '/contacts/42')).status, 403)
      assert.equal(ran, [])
      assert.equal((await request('GET', '/contacts/42')).json, { ran: 'GET /contacts/:id' })
    },
  },
  {
    title: 'the source is told method, registered pattern and agent, never the path of the request',
    app: app(['read:contacts'], route('GET /contacts/:id')),
    async run({ request, asked }, assert) {
      await request('GET', '/contacts/42?q=1', { headers: { 'x-meshguard-trace-id': 'trace-of-mine' } })
      const [question] = asked
      assert.equal([question?.request?.method, question?.request?.route], ['GET', '/contacts/:id'])
      assert.equal([question?.agent?.id, question?.traceId], ['agent-1', 'trace-of-mine'])
    },
  },
  {
    title: 'the prefix /api and one version segment are dropped, and no more than one',
    app: app(['read:contacts', 'read:v2/contacts'], route('GET /api/v1/contacts/:id'), route('GET /api/v1/v2/contacts')),
    async run({ request, asked }, assert) {
      assert.equal((await request('GET', '/api/v1/contacts/42')).status, 200)
      assert.equal((await request('GET', '/api/v1/v2/contacts')).status, 200)
      assert.equal([asked[0]?.action, asked[0]?.resource], ['read:contacts', 'contacts/42'])
      assert.equal([asked[1]?.action, asked[1]?.resource], ['read:v2/contacts', 'v2/contacts'])
    },
  },
  {
    title: 'a prefix of one’s own replaces /api',
    app: withOptions(app(['read:contacts', 'read:api/contacts'], route('GET /internal/contacts'), route('GET /api/contacts')), {
      prefix: ['/internal'],
    }),
    async run({ request, asked }, assert) {
      assert.equal((await request('GET', '/internal/contacts')).status, 200)
      assert.equal((await request('GET', '/api/contacts')).status, 200)
      assert.equal(
        asked.map(({ action }) => action),
        ['read:contacts', 'read:api/contacts'],
      )
    },
  },
  {
    title: 'a prefix is dropped as whole segments, never as text',
    app: app(['read:apis/contacts'], route('GET /apis/contacts')),
    async run({ request, asked }, assert) {
      assert.equal((await request('GET', '/apis/contacts')).status, 200)
      assert.equal([asked[0]?.action, asked[0]?.resource], ['read:apis/contacts', 'apis/contacts'])
    },
  },
  {
    title: 'GET / is read:/ on the resource /',
    app: app(['read:/'], route('GET /')),
    async run({ request, asked }, assert) {
      assert.equal((await request('GET', '/')).status, 200)
      assert.equal([asked[0]?.action, asked[0]?.resource], ['read:/', '/'])
    },
  },
  {
    title: 'a pattern without text is unmapped and denied, whatever is allowed',
    app: app(['*'], route('GET /:id')),
    async run({ request, asked, ran, decided }, assert) {
      assert.equal((await request('GET', '/42')).status, 403)
      assert.equal([asked, ran], [[], []])
      assert.equal(decided[0]?.code, 'unmapped')
    },
  },
  {
    title: 'an action in "actions" replaces the derived one, METHOD pattern before ALL pattern',
    app: withOptions(app(['cancel:orders', 'touch:orders'], route('POST /orders/:id'), route('PUT /orders/:id')), {
      actions: { 'ALL /orders/:id': 'touch:orders', 'POST /orders/:id': 'cancel:orders' },
    }),
    async run({ request, asked }, assert) {
      assert.equal((await request('POST', '/orders/1')).status, 200)
      assert.equal((await request('PUT', '/orders/1')).status, 200)
      assert.equal(
        asked.map(({ action }) => action),
        ['cancel:orders', 'touch:orders'],
      )
      assert.equal(asked[0]?.resource, 'orders/1')
    },
  },
]
