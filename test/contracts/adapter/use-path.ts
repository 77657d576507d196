import { answers, app, check, handler, open, passesOn, route } from './items.js'
import type { Case } from './spec.js'

const secret = answers({ body: { secret: 'file' } }, 'static')

/** Where `use('/path', fn)` is a mount: what cannot be seen into must be said. */
export const usePath: readonly Case[] = [
  {
    title: 'use("/path", fn) throws at that line and prints what to write',
    needs: ['use-path'],
    app: app(['*'], { use: [secret], at: '/static' }),
    mayFail: true,
    run({ failure }, assert) {
      assert.ok(failure !== undefined, 'nothing was thrown')
      assert.match(failure?.message, /protect\.middleware/)
      assert.match(failure?.message, /protect\.open/)
      assert.match(failure?.message, /\/static/)
    },
  },
  {
    title: 'use("/path", protect("verb:object"), fn) is checked',
    needs: ['use-path'],
    app: app(
      ['read:static'],
      { use: [check('read:static'), secret], at: '/static' },
      { use: [check('read:private'), secret], at: '/private' },
    ),
    async run({ request, asked, ran }, assert) {
      assert.equal((await request('GET', '/static/a.txt')).json, { secret: 'file' })
      assert.equal((await request('GET', '/private/a.txt')).status, 403)
      assert.equal((await request('GET', '/static/a.txt', { token: null })).status, 401)
      assert.equal([asked.map(({ action }) => action), ran.length], [['read:static', 'read:private'], 1])
    },
  },
  {
    title: 'use("/path", protect.open(reason), fn) is open and listed as such',
    needs: ['use-path'],
    app: app([], { use: [open('assets'), secret], at: '/static' }),
    async run({ request, decided, routes }, assert) {
      assert.equal((await request('GET', '/static/a.txt', { token: null })).json, { secret: 'file' })
      assert.equal(decided, [])
      assert.ok(
        routes().some(({ open: reason, pattern }) => reason === 'assets' && pattern.startsWith('/static')),
        'it is not listed',
      )
    },
  },
  {
    title: 'protect.middleware(fn) may pass on, and the route behind it is checked',
    needs: ['use-path'],
    app: app(['read:a/x'], { use: [{ passing: () => 'next' }], at: '/a' }, route('GET /a/x'), route('GET /a/y')),
    async run({ request, ran }, assert) {
      assert.equal((await request('GET', '/a/x')).status, 200)
      assert.equal((await request('GET', '/a/y')).status, 403)
      assert.equal(ran.length, 1)
    },
  },
  {
    title: 'protect.middleware(fn) that answers in spite of its word is held back',
    needs: ['use-path'],
    app: app(['*'], { use: [{ passing: () => ({ body: { secret: 'told' } }) }], at: '/a' }),
    async run({ request }, assert) {
      const reply = await request('GET', '/a/x')
      assert.equal(reply.status, 403)
      assert.ok(!reply.text.includes('told'), 'the body is sent')
    },
  },
  {
    title: 'protect.open in a path-less use throws',
    needs: ['use-path'],
    app: app([], { use: [open('everything'), secret] }),
    mayFail: true,
    run({ failure }, assert) {
      assert.ok(failure !== undefined, 'nothing was thrown')
      assert.match(failure?.message, /open/)
    },
  },
  {
    title: 'a check in a path-less use is asked, and does not stand in for the route’s own',
    needs: ['use-path'],
    app: app(['enter:app'], { use: [check('enter:app')] }, route('GET /contacts')),
    mayFail: true,
    async run({ failure, request, ran }, assert) {
      if (failure !== undefined) return assert.match(failure?.message, /protect/)
      assert.equal((await request('GET', '/contacts')).status, 403)
      assert.equal(ran, [])
    },
  },
  {
    title: 'middleware of a router is left alone, and its routes are checked',
    needs: ['use-path'],
    app: {
      ...app(['read:r/x'], { mount: '/r', router: 'r' }),
      routers: { r: [{ use: [passesOn('inner')] }, route('GET /x'), route('GET /y')] },
    },
    async run({ request, ran }, assert) {
      assert.equal((await request('GET', '/r/x')).status, 200)
      assert.equal((await request('GET', '/r/y')).status, 403)
      assert.equal(
        ran.map(({ name }) => name),
        ['inner', 'GET /x', 'inner'],
      )
    },
  },
  {
    title: 'a handler behind a mount’s own check has that decision on its request',
    needs: ['use-path'],
    app: app(['read:static'], { use: [check('read:static', { resource: 'static/all' }), handler()], at: '/static' }),
    async run({ request, ran, asked }, assert) {
      assert.equal((await request('GET', '/static/x')).status, 200)
      assert.equal([asked[0]?.resource, ran[0]?.decision?.action], ['static/all', 'read:static'])
    },
  },
]
