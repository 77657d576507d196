import { app, check, handler, route } from './items.js'
import type { Case, Facts } from './spec.js'

const contact = app(['read:contacts'], route('GET /contacts/:id'))

/** What requests may do to the parameters of a route. */
export const params: readonly Case[] = [
  {
    title: 'parameters are put back percent-encoded, so that two requests never share a resource',
    app: contact,
    async run({ request, asked }, assert) {
      const told = {
        'a%2Fb': 'a%2Fb',
        'a%20b': 'a%20b',
        '%E2%84%AA': '%E2%84%AA',
        '%2a': '*',
        ':id': '%3Aid',
        '%252e': '%252e',
      }
      for (const id of Object.keys(told)) assert.equal((await request('GET', `/contacts/${id}`)).status, 200, id)
      assert.equal(
        asked.map(({ resource }) => resource),
        Object.values(told).map((id) => `contacts/${id}`),
      )
    },
  },
  {
    title: 'a parameter that holds a control character is 400',
    app: contact,
    async run({ request, ran, asked }, assert) {
      for (const id of ['42%00', '%0d%0aX-Evil:%201', '%7f', '%C2%85', '%09']) {
        const reply = await request('GET', `/contacts/${id}`)
        assert.equal(reply.status, 400, id)
        assert.equal(reply.headers['x-evil'], undefined)
      }
      assert.equal([ran, asked], [[], []])
    },
  },
  {
    title: 'a parameter that is . or .. or over 256 characters never reaches a handler',
    app: contact,
    async run({ request, ran }, assert) {
      for (const id of ['%2e', '%2e%2e', '.%2e', 'a'.repeat(257), 'a'.repeat(3000)]) {
        const { status } = await request('GET', `/contacts/${id}`)
        assert.ok([400, 404, 414].includes(status), `${id.slice(0, 20)} is answered ${status}`)
      }
      assert.equal(ran, [])
    },
  },
  {
    title: 'a parameter of 100 characters is fine',
    app: contact,
    async run({ request, asked }, assert) {
      const id = 'a'.repeat(100)
      assert.equal((await request('GET', `/contacts/${id}`)).status, 200)
      assert.equal(asked[0]?.resource, `contacts/${id}`)
    },
  },
  {
    title: 'malformed percent-encoding is never a 5xx, and no handler runs unchecked',
    app: contact,
    async run({ request, ran, asked }, assert) {
      for (const id of ['%', '%zz', '%E0%A4%A', '%ff', '..%c0%afadmin', '%u0061']) {
        const { status } = await request('GET', `/contacts/${id}`)
        assert.ok(status < 500, `${id} is answered ${status}`)
      }
      assert.equal((await request('GET', '/contacts/42')).status, 200)
      assert.equal(ran.length, asked.length)
    },
  },
  {
    title: 'names of built-in properties are parameters like any other',
    app: contact,
    async run({ request, asked }, assert) {
      for (const id of ['__proto__', 'constructor', 'hasOwnProperty'])
        assert.equal((await request('GET', `/contacts/${id}`)).status, 200)
      assert.equal(
        asked.map(({ resource }) => resource),
        ['contacts/__proto__', 'contacts/constructor', 'contacts/hasOwnProperty'],
      )
    },
  },
  {
    title: 'a wildcard is put back segment by segment',
    needs: ['wildcard-value'],
    app: app(['read:files'], route('GET /files/*path')),
    async run({ request, asked }, assert) {
      assert.equal((await request('GET', '/files/a/b%20c.txt')).status, 200)
      assert.equal([asked[0]?.action, asked[0]?.resource], ['read:files', 'files/a/b%20c.txt'])
    },
  },
  {
    title: 'a wildcard never holds a segment that is . or .. or empty',
    needs: ['wildcard-value'],
    app: app(['read:files'], route('GET /files/*path')),
    async run({ request, ran, asked }, assert) {
      for (const path of ['/files/a/%2e%2e/b', '/files/../x', '/files/a//b', '/files/a/%00']) {
        const { status } = await request('GET', path)
        assert.ok(status < 500, `${path} is answered ${status}`)
        const resource = asked.at(-1)?.resource ?? ''
        assert.ok(
          !resource.split('/').some((part) => ['', '.', '..'].includes(part)) || resource === '',
          `asked for ${resource}`,
        )
      }
      assert.equal(ran.length, asked.length)
    },
  },
  {
    title: 'case, trailing slashes and encoded letters reach a handler only through its own check',
    app: app(['read:contacts'], route('GET /contacts/:id'), route('GET /admin')),
    async run({ request, asked, ran }, assert) {
      for (const path of [
        '/ADMIN',
        '/admin/',
        '/%61dmin',
        '//admin',
        '/contacts/../admin',
        '/./admin',
        '/admin?',
        '/admin;x=1',
        '/contacts/%2e%2e/admin',
      ]) {
        const { status } = await request('GET', path)
        assert.ok([403, 404, 400].includes(status), `${path} is answered ${status}`)
      }
      assert.equal(ran, [])
      for (const { action } of asked) assert.equal(action, 'read:admin')
    },
  },
  {
    title: 'the resource function of a route that throws, or answers no string, is 503',
    app: app(
      ['*'],
      route(
        'GET /throws',
        check('read:x', {
          resource: () => {
            throw new Error('secret words')
          },
        }),
        handler(),
      ),
      route('GET /number', check('read:x', { resource: (() => 42) as unknown as (facts: Facts) => string }), handler()),
    ),
    async run({ request, ran, asked }, assert) {
      for (const path of ['/throws', '/number']) {
        const reply = await request('GET', path)
        assert.equal(reply.status, 503, path)
        assert.ok(!reply.text.includes('secret'), 'the words of the error are told')
      }
      assert.equal([ran, asked], [[], []])
    },
  },
]
