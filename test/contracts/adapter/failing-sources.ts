import { ConnectionError } from '@meshguard/core'
import { after, app, check, handler, never, route, withOptions } from './items.js'
import type { AppSpec, Case, Facts, GuardSpec, SourceSpec } from './spec.js'

const steps = [route('GET /contacts/:id')]

function source(decide: NonNullable<SourceSpec['decide']>, guard: GuardSpec = {}): AppSpec {
  return { guard: { timeoutMs: 60, ...guard, source: { decide } }, steps }
}

/** A case of a source that does not answer as it should: 503, and nothing runs. */
function unavailable(title: string, decide: NonNullable<SourceSpec['decide']>): Case {
  return {
    title: `a source that ${title} is 503 and no handler runs`,
    app: source(decide),
    async run({ request, ran, decided }, assert) {
      const reply = await request('GET', '/contacts/42')
      assert.equal([reply.status, reply.json['error']], [503, 'unavailable'])
      assert.equal(reply.headers['retry-after'], '1')
      assert.ok(!reply.text.includes('secret'), 'the words of the error are told')
      assert.equal([ran, decided.map(({ code, allowed }) => [code, allowed])], [[], [['unavailable', false]]])
    },
  }
}

/** What keeps none of the rules of promises. */
function thenable(run: (resolve: (answer: unknown) => void) => void): unknown {
  const name = 'then'
  return { [name]: run }
}

const allow = { allowed: true, code: 'allowed' }

/** Everything that is not an answer. */
const garbage: Readonly<Record<string, unknown>> = {
  undefined: undefined,
  null: null,
  true: true,
  'the number 1': 1,
  'the string "allow"': 'allow',
  'a list': [allow],
  'an empty object': {},
  'allowed: "true"': { ...allow, allowed: 'true' },
  'allowed: 1': { ...allow, allowed: 1 },
  'allowed: {}': { ...allow, allowed: {} },
  'allowed: true without a code': { allowed: true },
  'allowed: true with the code denied': { allowed: true, code: 'denied' },
  'allowed: true with the code unavailable': { allowed: true, code: 'unavailable' },
  'allowed: false with the code allowed': { allowed: false, code: 'allowed' },
  'an unknown code': { allowed: false, code: 'perhaps' },
  'the name of a built-in property as code': { allowed: false, code: 'constructor' },
  'a decision in its prototype chain only by name': JSON.parse('{"__proto__":{"allowed":true,"code":"allowed"}}'),
  'a function': () => allow,
}

/** Sources that fail, and what may be opened then. */
export const failingSources: readonly Case[] = [
  unavailable('throws', () => {
    throw new Error('secret words')
  }),
  unavailable('throws what is no error', () => {
    throw undefined
  }),
  unavailable('rejects', () => Promise.reject(new Error('secret words'))),
  unavailable('rejects with nothing', () => Promise.reject()),
  unavailable('cannot be reached', () => Promise.reject(new ConnectionError('secret words'))),
  unavailable('never answers', () => never()),
  unavailable('answers too late', () => after(120, allow)),
  unavailable('answers a thenable that never calls back', () => thenable(() => undefined)),
  unavailable('answers a thenable that throws', () =>
    thenable(() => {
      throw new Error('secret words')
    }),
  ),
  unavailable('answers what throws when it is looked at', () => ({
    get allowed() {
      throw new Error('secret words')
    },
  })),
  ...Object.entries(garbage).map(([name, answer]) => unavailable(`answers ${name}`, () => answer)),
  {
    title: 'garbage is refused as well when it comes later',
    app: source(async (_request, count) => after(1, Object.values(garbage)[count - 1])),
    async run({ request, ran }, assert) {
      for (const name of Object.keys(garbage)) assert.equal((await request('GET', '/contacts/42')).status, 503, name)
      assert.equal(ran, [])
    },
  },
  {
    title: 'a source that answers twice is heard once: deny and then allow stays a denial',
    app: source(
      () =>
        thenable((resolve) => {
          resolve({ allowed: false, code: 'denied' })
          resolve(allow)
          setTimeout(() => resolve(allow), 5)
        }),
      { timeoutMs: 1000 },
    ),
    async run({ request, ran, decided }, assert) {
      assert.equal((await request('GET', '/contacts/42')).status, 403)
      await after(20)
      assert.equal([ran, decided.length], [[], 1])
    },
  },
  {
    title: 'an allow that comes after the time-out runs nothing, and one answer was sent',
    app: source(() => after(90, allow)),
    async run({ request, ran, decided }, assert) {
      assert.equal((await request('GET', '/contacts/42')).status, 503)
      await after(80)
      assert.equal([ran, decided.length], [[], 1])
    },
  },
  {
    title: 'onUnavailable opens the named actions when the source cannot be reached, and records it',
    app: {
      ...source(() => Promise.reject(new ConnectionError('down')), { onUnavailable: { allow: ['read:*'] } }),
      steps: [...steps, route('DELETE /contacts/:id')],
    },
    async run({ request, decided, ran }, assert) {
      assert.equal((await request('GET', '/contacts/42')).status, 200)
      assert.equal((await request('DELETE', '/contacts/42')).status, 503)
      assert.equal(
        decided.map(({ allowed, code, failedOpen }) => [allowed, code, failedOpen]),
        [
          [true, 'unavailable', true],
          [false, 'unavailable', undefined],
        ],
      )
      assert.equal(
        ran.map(({ decision }) => decision?.failedOpen),
        [true],
      )
    },
  },
  {
    title: 'onUnavailable opens nothing for a source that throws, hangs or answers garbage',
    app: source(
      (_request, count) => {
        if (count === 1) throw new Error('broken')
        if (count === 2) return Promise.reject(new Error('broken'))
        if (count === 3) return never()
        return count === 4 ? undefined : { allowed: 'yes' }
      },
      { onUnavailable: { allow: ['*'] } },
    ),
    async run({ request, ran }, assert) {
      for (let i = 0; i < 5; i++) assert.equal((await request('GET', '/contacts/42')).status, 503)
      assert.equal(ran, [])
    },
  },
  {
    title: 'onUnavailable opens nothing for an agent that was not verified by a token here',
    app: withOptions(
      source(() => Promise.reject(new ConnectionError('down')), { onUnavailable: { allow: ['*'] } }),
      {
        credentials: () => ({ id: 'person-1', trustTier: 'privileged' }),
      },
    ),
    async run({ request, ran }, assert) {
      assert.equal((await request('GET', '/contacts/42')).status, 503)
      assert.equal(ran, [])
    },
  },
  {
    title: 'context that throws, rejects or never comes is 503 and the source is not asked',
    app: withOptions(
      app(['*'], ...steps),
      {
        context: ({ header }: Facts) => {
          if (header('x-how') === 'throw') throw new Error('secret words')
          return header('x-how') === 'hang' ? never() : Promise.reject(new Error('secret words'))
        },
      },
      { timeoutMs: 60 },
    ),
    async run({ request, asked, ran }, assert) {
      for (const how of ['throw', 'reject', 'hang']) {
        const reply = await request('GET', '/contacts/42', { headers: { 'x-how': how } })
        assert.equal(reply.status, 503, how)
        assert.ok(!reply.text.includes('secret'), 'the words of the error are told')
      }
      assert.equal([asked, ran], [[], []])
    },
  },
  {
    title: 'a decision that cannot be recorded allows nothing',
    app: withOptions(app(['*'], ...steps), undefined, { sinkThrows: true }),
    async run({ request, ran }, assert) {
      assert.equal((await request('GET', '/contacts/42')).status, 503)
      assert.equal(ran, [])
    },
  },
  {
    title: 'the time-out counts from the credentials on: two slow callbacks share it',
    app: withOptions(
      app(['*'], route('GET /slow', check({ context: () => after(70, {}) }), handler())),
      { credentials: () => after(70, { id: 'a', trustTier: 'verified' }) },
      { timeoutMs: 100 },
    ),
    async run({ request, ran }, assert) {
      assert.equal((await request('GET', '/slow')).status, 503)
      assert.equal(ran, [])
    },
  },
  {
    title: 'a client that goes away while a decision is under way runs nothing and breaks nothing',
    needs: ['socket'],
    app: source(() => after(80, allow), { timeoutMs: 500 }),
    async run({ abandon, request, ran, token }, assert) {
      const bytes = `GET /contacts/gone HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer ${await token()}\r\n\r\n`
      for (let i = 0; i < 3; i++) await abandon(bytes, 20)
      await after(110)
      assert.equal(ran, [])
      assert.equal((await request('GET', '/contacts/42')).status, 200)
    },
  },
]
