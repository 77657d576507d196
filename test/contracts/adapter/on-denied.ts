import type { Decision } from '@meshguard/core'
import { after, app, never, route, withOptions } from './items.js'
import type { AppSpec, Case, Effect, Facts } from './spec.js'

function onDenied(write: (decision: Decision, facts: Facts) => Effect | Promise<Effect>): AppSpec {
  return withOptions(app(['read:other'], route('GET /contacts')), { onDenied: write }, { timeoutMs: 80 })
}

/** `onDenied` replaces the answer, never the denial. */
export const onDeniedCases: readonly Case[] = [
  {
    title: 'onDenied writes the answer, and sees the decision',
    app: onDenied(({ code, action, agentId }) => ({
      status: 404,
      headers: { 'x-own': 'yes' },
      body: { code, action, agentId },
    })),
    async run({ request, ran }, assert) {
      const reply = await request('GET', '/contacts')
      assert.equal([reply.status, reply.headers['x-own']], [404, 'yes'])
      assert.equal(reply.json, { code: 'no_match', action: 'read:contacts', agentId: 'agent-1' })
      assert.equal(ran, [])
    },
  },
  {
    title: 'onDenied sees a 401 as well',
    app: onDenied(({ code }) => ({ status: 401, body: { login: '/login', code } })),
    async run({ request }, assert) {
      assert.equal((await request('GET', '/contacts', { token: null })).json, { login: '/login', code: 'unauthenticated' })
    },
  },
  {
    title: 'onDenied may answer below 400: it is its own affair, and the handler still does not run',
    app: onDenied(() => ({ status: 200, body: { sorry: true } })),
    async run({ request, ran }, assert) {
      const reply = await request('GET', '/contacts')
      assert.equal([reply.status, reply.json, ran], [200, { sorry: true }, []])
    },
  },
  {
    title: 'onDenied may answer later',
    app: onDenied(async () => after(10, { status: 418, body: { late: true } })),
    async run({ request, ran }, assert) {
      const reply = await request('GET', '/contacts')
      assert.equal([reply.status, reply.json, ran], [418, { late: true }, []])
    },
  },
  {
    title: 'onDenied that throws or rejects leaves the default answer',
    app: onDenied((_decision, { header }) => {
      if (header('x-how') === 'throw') throw new Error('secret words')
      return Promise.reject(new Error('secret words'))
    }),
    async run({ request, ran }, assert) {
      for (const how of ['throw', 'reject']) {
        const reply = await request('GET', '/contacts', { headers: { 'x-how': how } })
        assert.equal([reply.status, reply.json['error']], [403, 'Forbidden'], how)
        assert.equal(reply.headers['x-meshguard-trace-id'], reply.json['traceId'])
        assert.ok(!reply.text.includes('secret'), 'the words of the error are told')
      }
      assert.equal(ran, [])
    },
  },
  {
    title: 'onDenied that answers nothing leaves the default answer, in time',
    app: onDenied(() => undefined),
    async run({ request, ran }, assert) {
      assert.equal([(await request('GET', '/contacts')).status, ran], [403, []])
    },
  },
  {
    title: 'onDenied that never settles leaves the default answer, in time',
    app: onDenied(() => never()),
    async run({ request, ran }, assert) {
      assert.equal([(await request('GET', '/contacts')).status, ran], [403, []])
    },
  },
  {
    title: 'onDenied that answers after the default answer was sent changes nothing',
    app: onDenied(async () => after(120, { status: 200, body: { late: true } })),
    async run({ request, ran }, assert) {
      assert.equal((await request('GET', '/contacts')).status, 403)
      await after(70)
      assert.equal([(await request('GET', '/contacts', { token: null })).status, ran], [401, []])
      await after(70)
    },
  },
  {
    title: 'onDenied that hands on runs no handler',
    app: onDenied(() => 'next'),
    async run({ request, ran }, assert) {
      assert.ok((await request('GET', '/contacts')).status >= 400, 'the request went on')
      assert.equal(ran, [])
    },
  },
  {
    title: 'decisionOf in onDenied is the denial',
    app: onDenied((decision, facts) => ({
      status: 403,
      body: { same: facts.decision?.traceId === decision.traceId, code: facts.decision?.code },
    })),
    async run({ request }, assert) {
      assert.equal((await request('GET', '/contacts')).json, { same: true, code: 'no_match' })
    },
  },
]
