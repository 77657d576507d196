import { PolicyDeniedError } from '@meshguard/client'
import { allow, type Case, deny, isA, rejection } from './spec.js'

export const enforceCases: readonly Case[] = [
  {
    title: 'enforce throws PolicyDeniedError with everything that the decision says',
    async run({ answer, connect }, assert) {
      await answer(deny('delete:contacts', { message: 'Ask a person' }))
      const error = await rejection(connect().enforce('delete:contacts', { traceId: 'trace-of-denial' }))
      isA(PolicyDeniedError, error, assert)
      const { action, policy, rule, reason, status, traceId, message } = error
      assert.equal([action, policy, rule], ['delete:contacts', 'people', 'people'])
      assert.equal([reason, status, traceId, message], ['Ask a person', 403, 'trace-of-denial', 'Ask a person'])
    },
  },
  {
    title: 'govern runs the function with the decision and answers what it answers, and runs nothing for a denial',
    async run({ answer, connect }, assert) {
      await answer(allow('read:contacts'), deny('read:contacts'))
      const client = connect()
      assert.equal(await client.govern('read:contacts', ({ policy }) => `by ${policy}`), 'by readers')
      let ran = false
      const work = () => {
        ran = true
      }
      isA(PolicyDeniedError, await rejection(client.govern('read:contacts', work)), assert)
      assert.equal(ran, false)
    },
  },
  {
    title: 'govern passes on what the function throws',
    async run({ answer, connect }, assert) {
      await answer(allow('read:contacts'))
      const thrown = new Error('of the function')
      const work = () => Promise.reject(thrown)
      assert.ok((await rejection(connect().govern('read:contacts', work))) === thrown, 'it is the same error')
    },
  },
  {
    title: 'govern without a function governs a block, and the decision stays usable after it',
    async run({ answer, connect }, assert) {
      await answer(allow('read:contacts'))
      const scope = await connect().govern('read:contacts', { resource: 'contacts/1' })
      await scope[Symbol.asyncDispose]()
      const { allowed, resource } = scope.decision
      assert.equal([allowed, resource], [true, 'contacts/1'])
    },
  },
  {
    title: 'checkMany answers in order',
    async run({ answer, connect }, assert) {
      await answer(allow('read:contacts'))
      const checks = Array.from({ length: 20 }, (_, i) => ({ action: 'read:contacts', resource: `contacts/${i}` }))
      const decisions = await connect().checkMany(checks, { traceId: 'trace-of-many' })
      assert.equal(
        decisions.map(({ action, resource }) => ({ action, resource })),
        checks,
      )
      assert.equal(await connect().checkMany([]), [])
    },
  },
]
