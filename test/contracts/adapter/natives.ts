import { app, withOptions } from './items.js'
import type { AppSpec, Case, NativeName } from './spec.js'

/** An app whose only step is native. */
function native(name: NativeName, allow: readonly string[], whole = true): AppSpec {
  return { ...app(allow, { native: name }), whole }
}

/** Ways to attach routes that only one framework has. The bindings build them. */
export const natives: readonly Case[] = [
  {
    title: 'Express: an app mounted in an app is protected',
    needs: ['express:app-in-app'],
    app: native('express:app-in-app', ['read:inner/a']),
    async run({ request, ran, asked }, assert) {
      assert.equal((await request('GET', '/inner/a')).status, 200)
      assert.equal((await request('GET', '/inner/b')).status, 403)
      assert.equal([asked.map(({ action }) => action), ran.length], [['read:inner/a', 'read:inner/b'], 1])
    },
  },
  {
    title: 'Express: app.route(path) chains are checked once for each handler that runs',
    needs: ['express:route-chain'],
    app: native('express:route-chain', ['read:book', 'write:book']),
    async run({ request, ran, asked }, assert) {
      assert.equal((await request('GET', '/book')).status, 200)
      assert.equal((await request('POST', '/book')).status, 200)
      assert.equal((await request('DELETE', '/book')).status, 403)
      assert.equal([asked.map(({ action }) => action), ran.length], [['read:book', 'write:book', 'delete:book'], 2])
    },
  },
  {
    title: 'Express: a list of paths is unmapped, unless its action is declared',
    needs: ['express:array-path'],
    app: native('express:array-path', ['*']),
    async run({ request, ran }, assert) {
      assert.equal((await request('GET', '/one')).status, 403)
      assert.equal((await request('GET', '/two')).status, 403)
      assert.equal((await request('GET', '/three')).status, 200)
      assert.equal(
        ran.map(({ decision }) => decision?.action),
        ['read:declared'],
      )
    },
  },
  {
    title: 'Express: a RegExp is unmapped, unless its action is declared',
    needs: ['express:regexp'],
    app: native('express:regexp', ['*']),
    async run({ request, ran }, assert) {
      assert.equal((await request('GET', '/abc')).status, 403)
      assert.equal((await request('GET', '/xyz')).status, 200)
      assert.equal(
        ran.map(({ decision }) => decision?.action),
        ['read:declared'],
      )
    },
  },
  {
    title: 'Koa: router.prefix() after the routes changes their actions',
    needs: ['koa:late-prefix'],
    app: native('koa:late-prefix', ['read:late/contacts']),
    async run({ request, asked, ran }, assert) {
      assert.equal((await request('GET', '/late/contacts/42')).status, 200)
      assert.equal((await request('GET', '/late/other')).status, 403)
      assert.equal(
        asked.map(({ action }) => action),
        ['read:late/contacts', 'read:late/other'],
      )
      assert.equal(ran.length, 1)
    },
  },
  {
    title: 'Koa: routers nested with use(path, routes()) are checked by their full pattern',
    needs: ['koa:nested-routers'],
    app: native('koa:nested-routers', ['read:outer/inner']),
    async run({ request, asked }, assert) {
      assert.equal((await request('GET', '/outer/inner/5')).status, 200)
      assert.equal([asked[0]?.action, asked[0]?.resource], ['read:outer/inner', 'outer/inner/5'])
    },
  },
  {
    title: 'Koa: a list of paths has an action for each',
    needs: ['koa:two-paths'],
    app: native('koa:two-paths', ['read:one']),
    async run({ request, ran }, assert) {
      assert.equal((await request('GET', '/one')).status, 200)
      assert.equal((await request('GET', '/two')).status, 403)
      assert.equal(ran.length, 1)
    },
  },
  {
    title: 'Hono: what basePath() answers is protected',
    needs: ['hono:base-path'],
    app: native('hono:base-path', ['read:base/a']),
    async run({ request, ran, asked }, assert) {
      assert.equal((await request('GET', '/base/a')).status, 200)
      assert.equal((await request('GET', '/base/b')).status, 403)
      assert.equal((await request('GET', '/base/deeper/c')).status, 403)
      assert.equal(
        asked.map(({ action }) => action),
        ['read:base/a', 'read:base/b', 'read:base/deeper/c'],
      )
      assert.equal(ran.length, 1)
    },
  },
  {
    title: 'Hono: a plain sub-app given to route() is protected',
    needs: ['hono:route-plain-sub'],
    app: native('hono:route-plain-sub', ['read:sub/a']),
    async run({ request, ran, asked }, assert) {
      assert.equal((await request('GET', '/sub/a')).status, 200)
      assert.equal((await request('GET', '/sub/b')).status, 403)
      assert.equal((await request('GET', '/sub/deep/c')).status, 403)
      assert.equal([asked.map(({ action }) => action), ran.length], [['read:sub/a', 'read:sub/b', 'read:sub/deep/c'], 1])
    },
  },
  {
    title: 'Hono: chained calls without a path are protected',
    needs: ['hono:chained'],
    app: native('hono:chained', ['read:chain']),
    async run({ request, ran }, assert) {
      assert.equal((await request('GET', '/chain')).status, 200)
      assert.equal((await request('POST', '/chain')).status, 403)
      assert.equal((await request('DELETE', '/chain')).status, 403)
      assert.equal(ran.length, 1)
    },
  },
  {
    title: 'Hono: on() with lists of methods and paths is protected',
    needs: ['hono:on'],
    app: native('hono:on', ['read:one', 'write:two']),
    async run({ request, ran }, assert) {
      assert.equal((await request('GET', '/one')).status, 200)
      assert.equal((await request('POST', '/one')).status, 403)
      assert.equal((await request('GET', '/two')).status, 403)
      assert.equal((await request('POST', '/two')).status, 200)
      assert.equal((await request('PURGE', '/three')).status, 403)
      assert.equal(ran.length, 2)
    },
  },
  {
    title: 'Hono: mount() throws, or what is mounted does not run unchecked',
    needs: ['hono:mount'],
    app: native('hono:mount', ['read:other']),
    mayFail: true,
    async run({ failure, request, ran }, assert) {
      if (failure !== undefined) return assert.match(failure.message, /protect/)
      assert.ok([401, 403].includes((await request('GET', '/mounted/x')).status), 'the mounted app answered')
      assert.equal(ran, [])
    },
  },
  {
    title: 'Fastify: a plugin and a route registered before protect(app) are protected',
    needs: ['fastify:early-plugin'],
    app: native('fastify:early-plugin', ['read:late'], false),
    mayFail: true,
    async run({ failure, request, ran }, assert) {
      if (failure !== undefined) return assert.match(failure.message, /call protect first/i)
      assert.equal((await request('GET', '/early-plugin')).status, 403)
      assert.equal((await request('GET', '/early-route')).status, 403)
      assert.equal((await request('GET', '/early-route', { token: null })).status, 401)
      assert.equal((await request('GET', '/late')).status, 200)
      assert.equal(ran.length, 1)
    },
  },
  {
    title: 'Fastify: own checks of routes registered earlier do not replace the derived action',
    needs: ['fastify:early-own-check'],
    app: native('fastify:early-own-check', ['read:allowed'], false),
    mayFail: true,
    async run({ failure, request, ran }, assert) {
      if (failure !== undefined) return assert.match(failure.message, /call protect first/i)
      assert.equal((await request('GET', '/secret')).status, 403)
      assert.equal((await request('GET', '/opened')).status, 403)
      assert.equal(ran, [])
    },
  },
  {
    title: 'Fastify: two routes that share a url by constraints are each checked',
    needs: ['fastify:constraints'],
    app: native('fastify:constraints', ['read:v1']),
    async run({ request, ran }, assert) {
      assert.equal((await request('GET', '/thing', { headers: { 'accept-version': '1.0.0' } })).status, 200)
      assert.equal((await request('GET', '/thing', { headers: { 'accept-version': '2.0.0' } })).status, 403)
      assert.equal(
        ran.map(({ name }) => name),
        ['thing v1'],
      )
    },
  },
  {
    title: 'Fastify: a route with a context is authenticated before its body is parsed and decided once with it',
    needs: ['fastify:body-first'],
    app: withOptions(native('fastify:body-first', ['write:orders']), {}),
    async run({ request, asked, decided }, assert) {
      const headers = { 'content-type': 'application/json' }
      assert.equal((await request('POST', '/orders', { headers, body: '{"total":5}' })).status, 200)
      assert.equal([asked.length, asked[0]?.context], [1, { total: 5 }])
      assert.equal((await request('POST', '/orders', { headers, body: '{not json', token: null })).status, 401)
      assert.equal(decided.at(-1)?.code, 'unauthenticated')
    },
  },
]
