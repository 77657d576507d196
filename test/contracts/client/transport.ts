import { ConnectionError, UnavailableError } from '@meshguard/client'
import { allow, type Case, type Context, deny, isA, type Reply, rejection } from './spec.js'

const unavailable: Reply = {
  status: 503,
  headers: { 'x-meshguard-origin': 'gateway' },
  json: { error: 'unavailable', message: 'busy' },
}

/** Waits until the gateway has got so many requests. */
async function until(received: Context['received'], count: number): Promise<void> {
  while ((await received()).length < count) await new Promise((resolve) => setTimeout(resolve, 5))
}

export const transportCases: readonly Case[] = [
  {
    title: 'tries a check again as often as it may, with the same trace ID',
    async run({ answer, connect, received }, assert) {
      await answer(unavailable, { status: 502, text: '' }, allow('read:contacts'))
      assert.equal((await connect({ retries: 2 }).check('read:contacts')).allowed, true)
      const traces = (await received()).map(({ headers }) => headers['x-meshguard-trace-id'])
      assert.equal([traces.length, new Set(traces).size], [3, 1])
      await answer(unavailable)
      isA(UnavailableError, await rejection(connect({ retries: 1 }).check('read:contacts')), assert)
      assert.equal((await received()).length, 5)
    },
  },
  {
    title: 'tries a broken connection again',
    async run({ answer, connect }, assert) {
      await answer({ ending: 'break' }, allow('read:contacts'))
      assert.equal((await connect({ retries: 1 }).check('read:contacts')).allowed, true)
    },
  },
  {
    title: 'says that the gateway does not answer when the connection breaks',
    async run({ answer, connect, url }, assert) {
      await answer({ ending: 'break' })
      const error = await rejection(connect().check('read:contacts'))
      isA(ConnectionError, error, assert)
      assert.equal(error.message, `The gateway at ${url} does not answer`)
    },
  },
  {
    title: 'does not try again what changes something, nor what is denied',
    async run({ answer, connect, received }, assert) {
      const client = connect({ retries: 3 })
      await answer(unavailable)
      await rejection(client.post('/api/contacts', { json: {} }))
      await rejection(client.createAgent({ name: 'scout' }))
      await rejection(client.revokeAgent('agent_scout'))
      await answer(deny('read:contacts'))
      await client.check('read:contacts')
      assert.equal((await received()).length, 4)
    },
  },
  {
    title: 'follows no redirect, so that the token goes nowhere else',
    async run({ answer, connect, received, url }, assert) {
      await answer({ status: 307, headers: { location: `${url}/elsewhere` } })
      const client = connect()
      await rejection(client.check('read:contacts'))
      await rejection(client.listAgents())
      assert.equal((await client.get('/api')).status, 307)
      assert.ok(!(await received()).some((request) => request.url === '/elsewhere'), 'it went elsewhere')
    },
  },
  {
    title: 'gives up after timeoutMs',
    async run({ answer, connect }, assert) {
      await answer({ ending: 'stay' })
      const error = await rejection(connect({ timeoutMs: 80 }).check('read:contacts'))
      isA(ConnectionError, error, assert)
      assert.match(error.message, /did not answer within 80 ms/)
    },
  },
  {
    title: 'gives up after timeoutMs while a body is read',
    async run({ answer, connect }, assert) {
      await answer({ pieces: ['{"allowed":'], ending: 'stay' })
      isA(ConnectionError, await rejection(connect().check('read:contacts', { timeoutMs: 150 })), assert)
    },
  },
  {
    title: 'ends with the reason of the signal',
    async run({ answer, connect, received }, assert) {
      const abort = new AbortController()
      const reason = new Error('of the caller')
      await answer({ ending: 'stay' })
      const waiting = rejection(connect({ retries: 5 }).check('read:contacts', { signal: abort.signal }))
      await until(received, 1)
      abort.abort(reason)
      assert.ok((await waiting) === reason, 'a call that waits')
      const late = await rejection(connect().check('read:contacts', { signal: abort.signal }))
      assert.ok(late === reason, 'a call that begins later')
      assert.equal((await received()).length, 1)
    },
  },
  {
    title: 'close ends what waits and refuses what comes',
    async run({ answer, connect, received }, assert) {
      const client = connect()
      await answer({ ending: 'stay' })
      const waiting = rejection(client.check('read:contacts'))
      await until(received, 1)
      await client.close()
      const { name, message } = await waiting
      assert.equal([name, message], ['UnavailableError', 'The client was closed'])
      assert.equal((await rejection(client.health())).message, 'The client was closed')
      assert.equal((await received()).length, 1)
    },
  },
  {
    title: 'names a gateway that is not there',
    async run({ connect }, assert) {
      const client = connect({ gatewayUrl: 'http://127.0.0.1:1' })
      const { name, message } = await rejection(client.health())
      assert.equal([name, message], ['ConnectionError', 'The gateway at http://127.0.0.1:1 does not answer'])
      assert.equal(await client.isHealthy(), false)
    },
  },
  {
    title: 'knows health from something else that answers',
    async run({ answer, connect }, assert) {
      const client = connect()
      await answer({ json: { status: 'healthy', version: '1' } })
      assert.equal(await client.isHealthy(), true)
      await answer({ status: 503, json: { status: 'degraded' } })
      assert.equal(await client.health(), { status: 'degraded' })
      assert.equal(await client.isHealthy(), false)
      await answer({ status: 404, text: '<html>' })
      isA(UnavailableError, await rejection(client.health()), assert)
      assert.equal(await client.isHealthy(), false)
    },
  },
]
