import { AuthenticationError, ConnectionError, MeshGuardError, UnavailableError, ValidationError } from '@meshguard/client'
import { allow, type Case, deny, isA, type Received, type Rejection, type Reply, rejection, TOKEN } from './spec.js'

/** What a check rejects with for an answer that is no decision. */
function rejects(
  what: string,
  reply: Reply,
  type: abstract new (...given: never) => Error,
  like: Partial<Rejection> = {},
): Case {
  return {
    title: `rejects for ${what}`,
    async run({ answer, connect, received }, assert) {
      await answer(reply)
      const error = await rejection(connect().check('read:contacts', { traceId: 'trace-of-failure' }))
      isA(type, error, assert)
      for (const [name, value] of Object.entries(like)) assert.equal(error[name], value, name)
      assert.equal((await received()).length, 1)
      const told = `${error.message}${error.stack}${JSON.stringify(error)}${String(error.cause)}`
      assert.ok(!told.includes('secret'), 'the error repeats a token')
    },
  }
}

const unauthorized = { status: 401, json: { error: 'unauthorized', message: 'Invalid or expired token' } }
const issues = [{ path: 'context.a.0', message: 'wrong' }]

export const checkCases: readonly Case[] = [
  {
    title: 'sends token, action, resource, context and trace ID, and no admin token',
    async run({ answer, connect, received }, assert) {
      await answer(allow('read:contacts'))
      const context = { note: 'Grüße 👋', amount: 3 }
      await connect().check('read:contacts', { resource: 'contacts/42', context, traceId: 'trace-of-a-check' })
      const [{ method, url, headers }] = (await received()) as [Received]
      assert.equal([method, url], ['GET', '/proxy/check'])
      assert.equal(headers['authorization'], `Bearer ${TOKEN}`)
      assert.equal(headers['x-meshguard-action'], 'read:contacts')
      assert.equal(headers['x-meshguard-resource'], 'contacts/42')
      assert.equal(headers['x-meshguard-trace-id'], 'trace-of-a-check')
      assert.equal(headers['x-admin-token'], undefined)
      assert.match(headers['x-meshguard-context'], /^[\x20-\x7e]+$/)
      assert.equal(JSON.parse(headers['x-meshguard-context'] as string), context)
    },
  },
  {
    title: 'a check takes a new trace ID in place of one that no gateway would take',
    async run({ answer, received, connect }, assert) {
      await answer(allow('read:contacts'))
      const { allowed, traceId } = await connect().check('read:contacts', { traceId: 'short' })
      assert.equal([allowed, (await received())[0]?.headers['x-meshguard-trace-id']], [true, traceId])
      assert.match(traceId, /^[0-9a-f-]{36}$/)
    },
  },
  {
    title: 'a check does not take the answer to another check',
    async run({ answer, connect }, assert) {
      await answer(allow('read:contacts', { traceId: 'trace-of-another' }))
      isA(UnavailableError, await rejection(connect().check('read:contacts')), assert)
    },
  },
  {
    title: 'answers what the gateway decided',
    async run({ answer, connect }, assert) {
      await answer(allow('read:contacts', { policyVersion: 'v7' }), deny('delete:contacts', { message: 'Ask a person' }))
      const client = connect({ traceId: 'trace-of-the-client' })
      const { timestamp, ...decision } = await client.check('read:contacts', { resource: 'contacts/1' })
      assert.ok(Number.isFinite(timestamp), 'it has a time')
      assert.equal(decision, {
        allowed: true,
        decision: 'allow',
        code: 'allowed',
        action: 'read:contacts',
        resource: 'contacts/1',
        agentId: 'agent_scout',
        policy: 'readers',
        rule: 'allow read:*',
        policyVersion: 'v7',
        traceId: 'trace-of-the-client',
        enforced: true,
      })
      const { allowed, code, policy, rule, reason, traceId } = await client.check('delete:contacts')
      assert.equal([allowed, code, policy, rule], [false, 'denied', 'people', 'people'])
      assert.equal([reason, traceId], ['Ask a person', 'trace-of-the-client'])
    },
  },
  {
    title: 'always has a reason for a denial, and does not repeat the name of a rule in it',
    async run({ answer, connect }, assert) {
      await answer(deny('delete:contacts'))
      assert.equal((await connect().check('delete:contacts')).reason, 'Action delete:contacts is not allowed')
    },
  },
  {
    title: 'gives each call a trace ID of its own unless the client has one',
    async run({ answer, connect, received }, assert) {
      await answer(allow('read:contacts'))
      const client = connect()
      const [one, two] = [await client.check('read:contacts'), await client.check('read:contacts')]
      assert.ok(one.traceId !== two.traceId, 'the trace IDs differ')
      const sent = (await received()).map(({ headers }) => headers['x-meshguard-trace-id'])
      assert.equal(sent, [one.traceId, two.traceId])
    },
  },
  {
    title: 'tells a denial that was only recorded by decision and enforced',
    async run({ answer, connect }, assert) {
      const { headers, json } = allow('read:contacts')
      for (const said of ['no_match', 'rate_limited', undefined, 'allowed']) {
        await answer({ headers: { ...headers, 'x-meshguard-audit': 'deny' }, json: { ...(json as object), code: said } })
        const { allowed, decision, code, enforced } = await connect().check('read:contacts')
        assert.equal({ allowed, decision, enforced }, { allowed: true, decision: 'deny', enforced: false })
        assert.equal(code, said === 'no_match' || said === 'rate_limited' ? said : 'denied')
      }
    },
  },
  {
    title: 'tells an allow of a gateway that evaluates nothing',
    async run({ answer, connect }, assert) {
      await answer(allow('read:contacts', { code: 'bypassed' }))
      const { allowed, code, enforced } = await connect().check('read:contacts')
      assert.equal({ allowed, code, enforced }, { allowed: true, code: 'bypassed', enforced: false })
    },
  },
  {
    title: 'answers a limit of the policies with a decision, and enforces it with RateLimitError',
    async run({ answer, connect }, assert) {
      await answer({
        status: 429,
        headers: { 'x-meshguard-decision': 'deny', 'retry-after': '17' },
        json: { error: 'rate_limited', code: 'rate_limited', retry_after: 17, limit: '2 requests per minute', policy: 'p' },
      })
      const { allowed, code, retryAfter, limit } = await connect().check('read:contacts')
      assert.equal([allowed, code, retryAfter], [false, 'rate_limited', 17])
      assert.equal(limit, { requests: 2, windowMs: 60_000 })
      const { name, retryAfter: after } = await rejection(connect().enforce('read:contacts'))
      assert.equal([name, after], ['RateLimitError', 17])
    },
  },
  {
    title: 'rejects for a limit of the gateway itself, which says nothing about the action',
    async run({ answer, connect }, assert) {
      await answer({
        status: 429,
        headers: { 'retry-after': '9' },
        json: { error: 'rate_limited', code: 'too_many_requests', message: 'Too many failed authentications' },
      })
      const { name, retryAfter } = await rejection(connect().check('read:contacts'))
      assert.equal([name, retryAfter], ['RateLimitError', 9])
    },
  },
  {
    title: 'sends nothing for what is not an action, a resource or a context that fits, or without a token',
    async run({ connect, received }, assert) {
      for (const [action, options] of [
        ['contacts', {}],
        ['read:*', {}],
        ['read:contacts\r\nx-admin-token: a', {}],
        ['read:contacts', { resource: 'a\nb' }],
        ['read:contacts', { resource: 'Grüße' }],
        ['read:contacts', { context: { text: 'x'.repeat(5000) } }],
      ] as const) {
        isA(ValidationError, await rejection(connect().check(action, options)), assert, JSON.stringify(action))
      }
      const error = await rejection(connect({ agentToken: undefined }).check('read:contacts'))
      isA(AuthenticationError, error, assert)
      assert.match(error.message, /MESHGUARD_AGENT_TOKEN/)
      assert.equal(await received(), [])
    },
  },
  rejects('401', unauthorized, AuthenticationError),
  rejects('503 of the gateway', { status: 503, json: { error: 'unavailable', message: 'No' } }, UnavailableError, {
    message: 'No',
  }),
  rejects('503 of a load balancer', { status: 503, text: '<html>' }, ConnectionError),
  rejects('502', { status: 502, text: '' }, ConnectionError),
  rejects('504', { status: 504, json: {} }, ConnectionError),
  rejects('500', { status: 500, json: { error: 'internal', message: 'x' } }, UnavailableError),
  rejects('302', { status: 302, headers: { location: '/proxy/elsewhere' } }, UnavailableError),
  rejects('200 of HTML', { text: '<html>' }, UnavailableError),
  rejects('an empty 200', { text: '' }, UnavailableError),
  rejects('200 without a decision', { json: { status: 'ok' } }, UnavailableError),
  rejects('allowed as text', { json: { allowed: 'true', decision: 'allow', action: 'read:contacts' } }, UnavailableError),
  rejects('200 for another action', allow('read:others'), UnavailableError),
  rejects('200 that says deny', { json: { allowed: true, decision: 'deny', action: 'read:contacts' } }, UnavailableError),
  rejects('403 of HTML', { status: 403, text: '<html>' }, MeshGuardError),
  rejects('404', { status: 404, json: { error: 'not_found', message: 'No such path' } }, MeshGuardError, { status: 404 }),
  rejects('400', { status: 400, json: { error: 'bad_request', message: 'm', issues } }, ValidationError, {
    issues: [{ path: ['context', 'a', 0], message: 'wrong' }],
  }),
]
