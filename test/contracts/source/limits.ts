import type { PolicyDocument } from '@meshguard/core'
import { type Case, nova, rook } from './spec.js'

const mail: PolicyDocument = {
  name: 'mail',
  rules: [
    { name: 'send', effect: 'allow', actions: ['write:email'], rateLimit: { requests: 3, per: '1m' } },
    { name: 'no-spam', effect: 'deny', actions: ['write:spam'] },
    { name: 'look', effect: 'allow', actions: ['read:*'] },
  ],
}

export const limitCases: readonly Case[] = [
  {
    title: 'counts a rule’s limit, and says when to come back and what the limit was',
    policies: [mail],
    async run({ ask }, assert) {
      for (let i = 0; i < 3; i++) assert.equal((await ask('write:email', nova)).allowed, true, `${i}`)
      const { code, policy, rule, retryAfter, limit } = await ask('write:email', nova)
      assert.equal({ code, policy, rule }, { code: 'rate_limited', policy: 'mail', rule: 'send' })
      assert.equal({ retryAfter, limit }, { retryAfter: 20, limit: { requests: 3, windowMs: 60_000 } })
    },
  },
  {
    title: 'lets one through again after its share of the window',
    policies: [mail],
    async run({ ask, moveTo, start }, assert) {
      for (let i = 0; i < 4; i++) await ask('write:email', nova)
      await moveTo(start + 19_000)
      assert.equal((await ask('write:email', nova)).code, 'rate_limited')
      await moveTo(start + 20_000)
      assert.equal((await ask('write:email', nova)).allowed, true)
      assert.equal((await ask('write:email', nova)).code, 'rate_limited')
      await moveTo(start + 200_000)
      for (let i = 0; i < 3; i++) assert.equal((await ask('write:email', nova)).allowed, true, `${i}`)
    },
  },
  {
    title: 'counts each agent by itself',
    policies: [mail],
    async run({ ask }, assert) {
      for (let i = 0; i < 10; i++) await ask('write:email', nova)
      assert.equal((await ask('write:email', rook)).allowed, true)
    },
  },
  {
    title: 'counts nothing for what is denied or about other actions',
    policies: [mail],
    async run({ ask }, assert) {
      for (let i = 0; i < 10; i++) {
        await ask('write:spam', nova)
        await ask('read:contacts', nova)
        await ask('write:other', nova)
      }
      for (let i = 0; i < 3; i++) assert.equal((await ask('write:email', nova)).allowed, true, `${i}`)
    },
  },
  {
    title: 'counts a policy’s limit over all that it allows',
    policies: [{ name: 'slow', rules: [{ effect: 'allow', actions: ['read:*'] }], rateLimits: { requestsPerMinute: 2 } }],
    async run({ ask }, assert) {
      assert.equal((await ask('read:a', nova)).allowed, true)
      assert.equal((await ask('read:b', nova)).allowed, true)
      const { code, policy, limit } = await ask('read:c', nova)
      assert.equal({ code, policy, limit }, { code: 'rate_limited', policy: 'slow', limit: { requests: 2, windowMs: 60_000 } })
    },
  },
  {
    title: 'never allows more at the same time than one after the other',
    policies: [mail],
    async run({ ask }, assert) {
      const answers = await Promise.all(Array.from({ length: 100 }, () => ask('write:email', nova)))
      assert.equal(answers.filter(({ allowed }) => allowed).length, 3)
      assert.equal(answers.filter(({ code }) => code === 'rate_limited').length, 97)
    },
  },
]
