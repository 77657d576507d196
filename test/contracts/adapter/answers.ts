import { route } from './items.js'
import type { AppSpec, Case, Reply } from './spec.js'

const denied = { allowed: false, code: 'denied', policy: 'crm', rule: 'no-deletes' } as const
const traceId = 'trace-0123456789'
const traced = { headers: { 'x-meshguard-trace-id': traceId } }

function answering(answer: object, options: AppSpec['options'] = {}): AppSpec {
  return { guard: { source: { decide: () => answer } }, options, steps: [route('GET /contacts/:id')] }
}

const plain = ({ status, json, headers }: Reply) => [status, json, headers['content-type']]

/** The words of a refusal: bodies and headers as the wire protocol has them. */
export const answers: readonly Case[] = [
  {
    title: '401 is exactly the body and headers of the protocol',
    app: answering(denied),
    async run({ request }, assert) {
      const reply = await request('GET', '/contacts/1', { token: null, ...traced })
      assert.equal(plain(reply), [
        401,
        { error: 'unauthorized', message: 'Invalid or expired token', traceId },
        'application/json; charset=utf-8',
      ])
      assert.equal([reply.headers['cache-control'], reply.headers['x-meshguard-trace-id']], ['no-store', traceId])
      assert.equal([reply.headers['www-authenticate'], reply.headers['retry-after']], ['Bearer realm="meshguard"', undefined])
    },
  },
  {
    title: '403 under disclose "reason", the default, names the action and no policy',
    app: answering(denied),
    async run({ request }, assert) {
      const reply = await request('GET', '/contacts/1', traced)
      const body = { error: 'Forbidden', message: 'Action read:contacts is not allowed', action: 'read:contacts', traceId }
      assert.equal(plain(reply), [403, body, 'application/json; charset=utf-8'])
      assert.equal([reply.headers['cache-control'], reply.headers['x-meshguard-trace-id']], ['no-store', traceId])
      for (const name of [
        'x-meshguard-decision',
        'x-meshguard-agent-id',
        'x-meshguard-policy',
        'www-authenticate',
        'retry-after',
      ]) {
        assert.equal(reply.headers[name], undefined, name)
      }
    },
  },
  {
    title: 'a rule’s deny and no rule at all look the same, byte by byte',
    app: {
      guard: {
        source: {
          decide: (_request, count) =>
            count === 1 ? denied : { allowed: false, code: 'no_match', reason: 'no rule of 3 policies matched' },
        },
      },
      steps: [route('GET /contacts/:id')],
    },
    async run({ request }, assert) {
      const [first, second] = [await request('GET', '/contacts/1', traced), await request('GET', '/contacts/1', traced)]
      assert.equal([first.status, first.text], [403, second.text])
      assert.equal(second.status, 403)
      const { date: _, ...headers } = first.headers
      const { date: __, ...others } = second.headers
      assert.equal(headers, others)
    },
  },
  {
    title: 'the reason that a policy’s author wrote is told',
    app: answering({ ...denied, reason: 'Ask the sales team first' }),
    async run({ request }, assert) {
      assert.equal((await request('GET', '/contacts/1')).json['message'], 'Ask the sales team first')
    },
  },
  {
    title: 'disclose "minimal" tells nothing but the trace ID',
    app: answering({ ...denied, reason: 'Ask the sales team first' }, { disclose: 'minimal' }),
    async run({ request }, assert) {
      assert.equal((await request('GET', '/contacts/1', traced)).json, {
        error: 'Forbidden',
        message: 'Access denied',
        traceId,
      })
    },
  },
  {
    title: 'disclose "full" names code, policy, rule and resource',
    app: answering(denied, { disclose: 'full' }),
    async run({ request }, assert) {
      const { action, resource } = { action: 'read:contacts', resource: 'contacts/1' }
      const message = 'Denied by rule: no-deletes'
      const { allowed: _, ...by } = denied
      assert.equal((await request('GET', '/contacts/1', traced)).json, {
        error: 'Forbidden',
        message,
        action,
        resource,
        ...by,
        traceId,
      })
    },
  },
  {
    title: '429 has Retry-After, the limit in words and the RateLimit headers',
    app: answering({
      allowed: false,
      code: 'rate_limited',
      policy: 'crm',
      rule: 'slow',
      retryAfter: 7,
      limit: { requests: 30, windowMs: 60_000 },
    }),
    async run({ request, ran }, assert) {
      const reply = await request('GET', '/contacts/1', traced)
      const body = {
        error: 'rate_limited',
        code: 'rate_limited',
        message: 'Rate limit exceeded',
        retry_after: 7,
        limit: '30 requests per minute',
        traceId,
      }
      assert.equal(plain(reply), [429, body, 'application/json; charset=utf-8'])
      assert.equal([reply.headers['retry-after'], reply.headers['cache-control']], ['7', 'no-store'])
      assert.match(reply.headers['ratelimit'], /r=0;t=7/)
      assert.match(reply.headers['ratelimit-policy'], /q=30;w=60/)
      assert.equal(ran, [])
    },
  },
  {
    title: '503 has Retry-After and tells nothing of the cause',
    app: {
      guard: {
        source: {
          decide: () => {
            throw new Error('/etc/policies.yaml')
          },
        },
      },
      options: { disclose: 'full' },
      steps: [route('GET /contacts/:id')],
    },
    async run({ request }, assert) {
      const reply = await request('GET', '/contacts/1', traced)
      assert.equal(plain(reply), [
        503,
        { error: 'unavailable', message: 'No decision could be made', traceId },
        'application/json; charset=utf-8',
      ])
      assert.equal([reply.headers['retry-after'], reply.headers['cache-control']], ['1', 'no-store'])
    },
  },
  {
    title: '400 for a malformed parameter has the body of the protocol',
    app: answering({ allowed: true, code: 'allowed' }),
    async run({ request }, assert) {
      const reply = await request('GET', '/contacts/a%0ab', traced)
      assert.equal([reply.status, reply.json['error'], reply.json['traceId']], [400, 'bad_request', traceId])
      assert.equal(reply.headers['cache-control'], 'no-store')
    },
  },
  {
    title: 'application/problem+json when Accept prefers it, with the members of RFC 9457',
    app: answering(denied),
    async run({ request }, assert) {
      const accept = async (value: string) => request('GET', '/contacts/1', { headers: { accept: value, ...traced.headers } })
      const reply = await accept('application/problem+json')
      const message = 'Action read:contacts is not allowed'
      const problem = { type: 'about:blank', title: 'Forbidden', status: 403, detail: message }
      assert.equal(plain(reply), [
        403,
        { ...problem, error: 'Forbidden', message, action: 'read:contacts', traceId },
        'application/problem+json',
      ])
      const types: string[] = []
      for (const value of [
        'application/json',
        '*/*',
        'application/problem+json;q=0.1, application/json',
        'application/problem+json;q=0',
        'text/html',
      ]) {
        types.push((await accept(value)).headers['content-type'] ?? '')
      }
      assert.equal([...new Set(types)], ['application/json; charset=utf-8'])
      assert.equal(
        (await accept('application/json;q=0.5, application/problem+json;q=0.9')).headers['content-type'],
        'application/problem+json',
      )
    },
  },
]
