import { AuthenticationError } from '@meshguard/core'
import { after, app, handler, never, open, route, withOptions } from './items.js'
import type { AppSpec, Case, Facts, GuardSpec } from './spec.js'

const contacts = app(['read:contacts'], route('GET /contacts'))
const withToken = (credentials: unknown, guard: GuardSpec = {}): AppSpec => withOptions(contacts, { credentials }, guard)

/** A case of a token that is not good. */
function refused(
  title: string,
  header: (token: (spec?: object) => Promise<string>) => Promise<string>,
  guard: GuardSpec = {},
): Case {
  return {
    title,
    app: withOptions(contacts, undefined, guard),
    async run({ request, token, ran, asked, decided }, assert) {
      const reply = await request('GET', '/contacts', { token: null, headers: { authorization: await header(token) } })
      assert.equal([reply.status, reply.json['error']], [401, 'unauthorized'])
      assert.equal(reply.headers['www-authenticate'], 'Bearer realm="meshguard", error="invalid_token"')
      assert.equal([ran, asked, decided.map(({ code }) => code)], [[], [], ['unauthenticated']])
    },
  }
}

const unsigned = (header: object) => {
  const now = Math.floor(Date.now() / 1000)
  const claims = { sub: 'agent-1', iss: 'meshguard', iat: now, exp: now + 600 }
  return [header, claims].map((part) => btoa(JSON.stringify(part)).replace(/=+$/, '')).join('.')
}

/** Who calls: tokens, and `credentials` of the application. */
export const credentials: readonly Case[] = [
  {
    title: 'no token is 401 without naming an error, and nobody is asked',
    app: contacts,
    async run({ request, ran, asked }, assert) {
      const reply = await request('GET', '/contacts', { token: null })
      assert.equal([reply.status, reply.headers['www-authenticate']], [401, 'Bearer realm="meshguard"'])
      assert.equal([ran, asked], [[], []])
    },
  },
  refused('a token that is no JWT is 401', async () => 'Bearer nonsense'),
  refused('an expired token is 401', async (token) => `Bearer ${await token({ ageMs: 3_600_000, expiresInMs: 60_000 })}`),
  refused('a token signed with another key is 401', async (token) => `Bearer ${await token({ foreignKey: true })}`),
  refused('a token of another issuer is 401', async (token) => `Bearer ${await token({ issuer: 'somebody' })}`),
  refused('a token for another audience is 401', async (token) => `Bearer ${await token({ audience: 'other-api' })}`, {
    audience: 'this-api',
  }),
  refused('a token for more than 24 h is 401', async (token) => `Bearer ${await token({ expiresInMs: 30 * 3_600_000 })}`),
  refused('a token from the future is 401', async (token) => `Bearer ${await token({ ageMs: -3_600_000 })}`),
  refused(
    'a token whose signature was cut off is 401',
    async (token) => `Bearer ${(await token()).split('.').slice(0, 2).join('.')}.`,
  ),
  refused('a token whose claims were changed is 401', async (token) => {
    const [header, , signature] = (await token()).split('.')
    return `Bearer ${header}.${unsigned({}).split('.')[1]}.${signature}`
  }),
  refused('a token with alg none is 401', async () => `Bearer ${unsigned({ alg: 'none', typ: 'JWT' })}.`),
  refused('another scheme than Bearer is 401', async (token) => `Basic ${await token()}`),
  refused('an empty Bearer is 401', async () => 'Bearer'),
  refused('two tokens in one header are 401', async (token) => `Bearer ${await token()}, Bearer ${await token()}`),
  refused('a token over 8 KiB is 401', async () => `Bearer ${'a'.repeat(4000)}.${'b'.repeat(4000)}.${'c'.repeat(400)}`),
  refused('a token of a revoked agent is 401', async (token) => `Bearer ${await token({ id: 'gone' })}`, { revoked: ['gone'] }),
  {
    title: 'a token that was good before it expired is looked at again on every request',
    app: contacts,
    async run({ request, token }, assert) {
      const old = await token({ ageMs: 3_600_000, expiresInMs: 3_600_000 - 3_500 })
      assert.equal((await request('GET', '/contacts', { token: old })).status, 200)
      await after(2_200)
      assert.equal((await request('GET', '/contacts', { token: old })).status, 401)
    },
  },
  {
    title: 'two Authorization headers are 401, whichever is better',
    needs: ['socket'],
    app: contacts,
    async run({ send, token, ran }, assert) {
      const good = `Authorization: Bearer ${await token()}\r\n`
      for (const pair of [good + good, `${good}Authorization: Bearer x\r\n`, `Authorization: Bearer x\r\n${good}`]) {
        const { status } = await send(`GET /contacts HTTP/1.1\r\nHost: a\r\n${pair}Connection: close\r\n\r\n`)
        assert.equal(status, 401)
      }
      assert.equal(ran, [])
    },
  },
  {
    title: 'the scheme is compared without case',
    app: contacts,
    async run({ request, token, asked }, assert) {
      for (const scheme of ['bearer', 'BEARER']) {
        const reply = await request('GET', '/contacts', {
          token: null,
          headers: { authorization: `${scheme} ${await token()}` },
        })
        assert.equal(reply.status, 200, scheme)
      }
      assert.equal(
        asked.map(({ agent }) => agent?.id),
        ['agent-1', 'agent-1'],
      )
    },
  },
  {
    title: 'tokens in queries, cookies and headers of our own are not looked at',
    app: contacts,
    async run({ request, token }, assert) {
      const good = await token()
      const headers = {
        cookie: `token=${good}`,
        'x-meshguard-agent-id': 'agent-1',
        'x-meshguard-token': good,
        'x-api-key': good,
      }
      assert.equal((await request('GET', `/contacts?access_token=${good}`, { token: null, headers })).status, 401)
    },
  },
  {
    title: 'control headers of a client neither skip nor answer a check',
    app: app(['read:contacts'], route('GET /admin')),
    async run({ request, asked, ran }, assert) {
      const headers = {
        'x-meshguard-action': 'read:contacts',
        'x-meshguard-resource': '*',
        'x-meshguard-decision': 'allow',
        'x-meshguard-agent-id': 'root',
        'x-meshguard-skip': 'true',
        'x-original-url': '/contacts',
        'x-rewrite-url': '/contacts',
        'x-forwarded-prefix': '/contacts',
        'x-middleware-subrequest': 'middleware:middleware:middleware',
      }
      assert.equal((await request('GET', '/admin', { headers })).status, 403)
      assert.equal([asked.map(({ action, agent }) => [action, agent?.id]), ran], [[['read:admin', 'agent-1']], []])
    },
  },
  {
    title: 'the agent of the token reaches the source and the handler',
    app: contacts,
    async run({ request, token, asked, ran }, assert) {
      await request('GET', '/contacts', { token: await token({ id: 'bot-7', trustTier: 'trusted', tags: ['sales'] }) })
      assert.equal([asked[0]?.agent?.trustTier, asked[0]?.agent?.tags], ['trusted', ['sales']])
      assert.equal([ran[0]?.agent?.id, ran[0]?.decision?.agentId], ['bot-7', 'bot-7'])
    },
  },
  {
    title: 'credentials may answer an agent that the application has proved',
    app: withToken(({ header }: Facts) =>
      header('x-session') === undefined ? undefined : { id: 'person-1', trustTier: 'trusted' },
    ),
    async run({ request, asked, ran }, assert) {
      assert.equal((await request('GET', '/contacts', { token: null, headers: { 'x-session': 's' } })).status, 200)
      assert.equal([asked[0]?.agent?.id, ran[0]?.agent?.id], ['person-1', 'person-1'])
      assert.equal((await request('GET', '/contacts')).status, 401)
    },
  },
  {
    title: 'credentials may answer a token from elsewhere, later',
    app: withToken(async ({ header }: Facts) => after(1, header('x-agent-token'))),
    async run({ request, token, asked }, assert) {
      const headers = { 'x-agent-token': await token({ id: 'bot-9' }) }
      assert.equal((await request('GET', '/contacts', { token: null, headers })).status, 200)
      assert.equal(asked[0]?.agent?.id, 'bot-9')
      assert.equal((await request('GET', '/contacts', { token: null, headers: { 'x-agent-token': 'nonsense' } })).status, 401)
    },
  },
  {
    title: 'credentials that throw or reject are 503 and tell nothing; an AuthenticationError is 401',
    app: withToken(({ header }: Facts) => {
      const how = header('x-how')
      if (how === 'throw') throw new Error('secret words')
      if (how === 'reject') return Promise.reject(new Error('secret words'))
      if (how === 'null') throw null
      throw new AuthenticationError('secret words')
    }),
    async run({ request, ran, asked }, assert) {
      for (const [how, status] of [
        ['throw', 503],
        ['reject', 503],
        ['null', 503],
        ['auth', 401],
      ] as const) {
        const reply = await request('GET', '/contacts', { headers: { 'x-how': how } })
        assert.equal(reply.status, status, how)
        assert.ok(!reply.text.includes('secret'), 'the words of the error are told')
      }
      assert.equal([ran, asked], [[], []])
    },
  },
  {
    title: 'credentials that never answer are 503 in time',
    app: withToken(() => never(), { timeoutMs: 50 }),
    async run({ request, ran }, assert) {
      assert.equal((await request('GET', '/contacts')).status, 503)
      assert.equal(ran, [])
    },
  },
  {
    title: 'credentials that answer neither a token nor an agent are 401',
    app: withToken(({ header }: Facts) => JSON.parse(header('x-json') as string)),
    async run({ request, ran, asked }, assert) {
      for (const json of ['42', 'true', '{}', '[]', '{"id":""}', '{"id":"a b"}', '{"id":"ok","tags":"all"}', 'null', '""']) {
        assert.equal((await request('GET', '/contacts', { headers: { 'x-json': json } })).status, 401, json)
      }
      assert.equal([ran, asked], [[], []])
    },
  },
  {
    title: 'agentOf and decisionOf are there when the handler runs, and only of this request',
    app: app(
      ['read:*'],
      route(
        'GET /a',
        handler(({ decision, agent }) => ({ body: { action: decision?.action, agent: agent?.id } })),
      ),
      route(
        'GET /o',
        open(),
        handler(({ decision, agent }) => ({ body: { decision: decision === undefined, agent: agent === undefined } })),
      ),
    ),
    async run({ request }, assert) {
      assert.equal((await request('GET', '/a')).json, { action: 'read:a', agent: 'agent-1' })
      assert.equal((await request('GET', '/o')).json, { decision: true, agent: true })
    },
  },
]
