import { app, check, handler, open, route, withOptions } from './items.js'
import type { Case, RouteRow } from './spec.js'

const table = app(
  ['*'],
  route('GET /contacts/:id'),
  route('DELETE /contacts/:id', check('purge:contacts'), handler()),
  route('GET /health', open('liveness probe'), handler()),
  route('POST /graphql', check({ action: () => 'query:x', dynamic: true }), handler()),
  { mount: '/admin', router: 'admin' },
)
const withRouters = { ...table, routers: { admin: [route('GET /users')] } }
const row = (rows: readonly RouteRow[], method: string, pattern: string) => {
  const found = rows.find((one) => one.method === method && one.pattern === pattern)
  if (found === undefined) return undefined
  const { shared: _, ...rest } = found
  return rest
}

/** A wrong option is a TypeError that names it. */
const wrong: ReadonlyArray<readonly [string, unknown, RegExp]> = [
  ['an unknown option', { disclosure: 'full' }, /TypeError: .*disclosure.*disclose/],
  ['a prefix that is a string', { prefix: '/api' }, /TypeError: .*prefix/],
  ['a prefix without its slash', { prefix: ['api'] }, /TypeError: .*prefix/],
  ['disclose that is no word of ours', { disclose: 'everything' }, /TypeError: .*disclose/],
  ['exposeDecision that is no boolean', { exposeDecision: 'yes' }, /TypeError: .*exposeDecision/],
  ['credentials that are no function', { credentials: 'bearer' }, /TypeError: .*credentials/],
  ['context that is no function', { context: {} }, /TypeError: .*context/],
  ['ip that is no function', { ip: '127.0.0.1' }, /TypeError: .*ip/],
  ['onDenied that is no function', { onDenied: 403 }, /TypeError: .*onDenied/],
  ['actions that are no object', { actions: 'read:contacts' }, /TypeError: .*actions/],
  ['actions with a key that is no route', { actions: { '/contacts': 'read:contacts' } }, /TypeError: .*actions/],
  ['actions with a value that is no action', { actions: { 'GET /contacts': 'contacts' } }, /TypeError: .*verb:object/],
]

/** The route table, its verification, and what is refused when it is written. */
export const tableCases: readonly Case[] = [
  {
    title: 'protect.routes lists method, pattern and action, what is open and why, declared and dynamic',
    app: withRouters,
    async run({ routes, request }, assert) {
      await request('GET', '/health')
      const rows = routes()
      assert.equal(row(rows, 'GET', '/contacts/:id'), { method: 'GET', pattern: '/contacts/:id', action: 'read:contacts' })
      assert.equal(row(rows, 'DELETE', '/contacts/:id'), {
        method: 'DELETE',
        pattern: '/contacts/:id',
        action: 'purge:contacts',
        declared: true,
      })
      assert.equal(row(rows, 'GET', '/health'), { method: 'GET', pattern: '/health', open: 'liveness probe' })
      assert.equal(row(rows, 'GET', '/admin/users'), { method: 'GET', pattern: '/admin/users', action: 'read:admin/users' })
      const dynamic = row(rows, 'POST', '/graphql')
      assert.equal([dynamic?.dynamic, dynamic?.action], [true, undefined])
    },
  },
  {
    title: 'protect.routes marks a router that is mounted twice, with an action for each mount',
    app: {
      ...app(['*'], { mount: '/a', router: 'items' }, { mount: '/b', router: 'items' }),
      routers: { items: [route('GET /items')] },
    },
    async run({ routes, request }, assert) {
      await request('GET', '/a/items')
      const rows = routes().filter(({ method, pattern }) => method === 'GET' && pattern.endsWith('/items'))
      assert.equal(rows.map(({ pattern, action }) => [pattern, action]).sort(), [
        ['/a/items', 'read:a/items'],
        ['/b/items', 'read:b/items'],
      ])
    },
  },
  {
    title: 'protect.routes gives a route for all methods a row for each method that has an action',
    app: app(['*'], route('ALL /any')),
    async run({ routes, request }, assert) {
      await request('GET', '/any')
      const actions = routes()
        .filter(({ pattern }) => pattern === '/any')
        .map(({ action }) => action)
      assert.equal([...new Set(actions.filter((action) => action !== undefined))].sort(), [
        'delete:any',
        'read:any',
        'write:any',
      ])
    },
  },
  {
    title: 'protect.verify is content with a table in order',
    app: withRouters,
    async run({ verify, request, routes }, assert) {
      await request('GET', '/health')
      verify()
      assert.ok(routes().length >= 5, 'the table is empty')
    },
  },
  {
    title: 'protect.verify lists every unmapped route and every stray override in one error',
    app: withOptions(app(['*'], route('GET /:id'), route('POST /:any/:thing'), route('GET /contacts')), {
      actions: { 'GET /nowhere': 'read:nowhere', 'GET /contacts': 'list:contacts' },
    }),
    async run({ verify, request }, assert) {
      await request('GET', '/contacts')
      const { message } = assert.throws(verify, /\/:id/)
      assert.match(message, /\/:any\/:thing/)
      assert.match(message, /GET \/nowhere/)
      assert.ok(!message.includes('/contacts"'), 'the override that matches is listed too')
    },
  },
  ...wrong.map(
    ([title, options, pattern]): Case => ({
      title: `${title} is a TypeError at creation that names the option`,
      app: app([]),
      run({ createProtect, guard }, assert) {
        assert.throws(() => createProtect(guard, options), pattern)
      },
    }),
  ),
  {
    title: 'createProtect without a guard is a TypeError',
    app: app([]),
    run({ createProtect }, assert) {
      for (const guard of [undefined, null, {}, 'guard']) assert.throws(() => createProtect(guard), /TypeError: .*guard/)
    },
  },
  {
    title: 'protect refuses what is not an action, and unknown or wrong options of a route',
    app: app([]),
    run({ protect }, assert) {
      for (const action of ['contacts', 'read:*', ':x', 'read:', 'read: x', ''])
        assert.throws(() => protect(action), /TypeError: .*(action|verb:object)/)
      assert.throws(() => protect('read:x', { resorce: 'x' }), /TypeError: .*resorce/)
      assert.throws(() => protect('read:x', { mode: 'off' }), /TypeError: .*mode/)
      assert.throws(() => protect('read:x', { context: {} }), /TypeError: .*context/)
      assert.throws(() => protect('read:x', { resource: 5 }), /TypeError: .*resource/)
      assert.throws(() => protect({ action: () => 'read:x' }), /TypeError: .*dynamic/)
      assert.throws(() => protect({ action: 'read:x', dynamic: true }), /TypeError: .*dynamic/)
    },
  },
  {
    title: 'protect.open needs a reason',
    app: app([]),
    run({ protect }, assert) {
      for (const reason of [undefined, '', ' ', 42]) assert.throws(() => protect.open(reason as string), /TypeError: .*reason/)
    },
  },
]
