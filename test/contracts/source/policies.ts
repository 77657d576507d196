import type { PolicyDocument } from '@meshguard/core'
import { type Case, essence, nova, rook, root } from './spec.js'

const readers: PolicyDocument = { name: 'readers', rules: [{ effect: 'allow', actions: ['read:*'] }] }
const noAdmin: PolicyDocument = {
  name: 'no-admin',
  rules: [{ name: 'deny-admin', effect: 'deny', actions: ['admin:*', '*:secrets'], reason: 'Admin is for people' }],
}
const silent: PolicyDocument = { name: 'silent', rules: [{ effect: 'deny', actions: ['delete:*'] }] }
const tiers: PolicyDocument = {
  name: 'tiers',
  appliesTo: { minTrustTier: 'trusted' },
  rules: [{ effect: 'allow', actions: ['delete:contacts'] }],
}
const tagged: PolicyDocument = {
  name: 'tagged',
  appliesTo: { tags: ['sales'] },
  rules: [{ effect: 'allow', actions: ['write:email'] }],
}
const named: PolicyDocument = {
  name: 'named',
  appliesTo: { agentIds: ['agent_rook'] },
  rules: [{ effect: 'allow', actions: ['export:contacts'] }],
}
const firstMatch: PolicyDocument = {
  name: 'first',
  combine: 'first-match',
  rules: [
    { name: 'open', effect: 'allow', actions: ['write:a'] },
    { name: 'shut', effect: 'deny', actions: ['write:*'] },
  ],
}
const overrides: PolicyDocument = { ...firstMatch, name: 'overrides', combine: 'deny-overrides' }

/** What the answer to one question is. */
function answers(title: string, policies: readonly PolicyDocument[], action: string, expected: object, agent = nova): Case {
  return {
    title,
    policies,
    agents: [nova, rook, root],
    async run({ ask }, assert) {
      const { retryAfter: _, limit: __, ...found } = essence(await ask(action, agent))
      assert.equal(found, { allowed: false, ...expected })
    },
  }
}

const allowed = (policy: string, rule: string) => ({ allowed: true, code: 'allowed', policy, rule })
const denied = (policy: string, rule: string, reason?: string) => ({ code: 'denied', policy, rule, reason })

export const policyCases: readonly Case[] = [
  answers('allows what a rule allows, and names it', [readers], 'read:contacts', allowed('readers', 'allow read:*')),
  answers('allows deeper objects under a wildcard', [readers], 'read:a/b/c', allowed('readers', 'allow read:*')),
  answers('allows further colons under a wildcard', [readers], 'read:a:b', allowed('readers', 'allow read:*')),
  answers('denies what no rule is about', [readers], 'write:contacts', { code: 'no_match' }),
  answers('denies where there is no policy at all', [], 'read:contacts', { code: 'no_match' }),
  answers(
    'denies what a rule denies, with the reason that its author wrote',
    [readers, noAdmin],
    'admin:users',
    denied('no-admin', 'deny-admin', 'Admin is for people'),
  ),
  answers(
    'denies what one policy denies and another allows',
    [readers, noAdmin],
    'read:secrets',
    denied('no-admin', 'deny-admin', 'Admin is for people'),
  ),
  answers('gives no reason that nobody wrote', [silent], 'delete:contacts', denied('silent', 'deny delete:*')),
  answers('compares the case of letters', [readers], 'READ:contacts', { code: 'no_match' }),
  answers('takes the first rule that matches where a policy says so', [firstMatch], 'write:a', allowed('first', 'open')),
  answers('and the next where it does not', [firstMatch], 'write:b', denied('first', 'shut')),
  answers('takes the deny where a policy says that denies win', [overrides], 'write:a', denied('overrides', 'shut')),
  answers(
    'applies a policy for a tier to higher ones',
    [tiers],
    'delete:contacts',
    allowed('tiers', 'allow delete:contacts'),
    root,
  ),
  answers('and not to lower ones', [tiers], 'delete:contacts', { code: 'no_match' }),
  answers('applies a policy for a tag to who has it', [tagged], 'write:email', allowed('tagged', 'allow write:email')),
  answers('and not to who has not', [tagged], 'write:email', { code: 'no_match' }, root),
  answers(
    'applies a policy for an agent to that one',
    [named],
    'export:contacts',
    allowed('named', 'allow export:contacts'),
    rook,
  ),
  answers('and to no other', [named], 'export:contacts', { code: 'no_match' }),
  answers('takes a default effect, which no rule made', [{ ...silent, defaultEffect: 'allow' }], 'read:x', {
    allowed: true,
    code: 'allowed',
  }),
  {
    title: 'refuses what is not an action, wildcards among it',
    policies: [{ name: 'all', rules: [{ effect: 'allow', actions: ['*'] }] }],
    async run({ ask }, assert) {
      for (const action of [
        '',
        'read',
        ':',
        'read:',
        ':x',
        'read:*',
        '*:x',
        'read:a b',
        'read:ü',
        'read:x\r\nx-meshguard-action: read:y',
      ]) {
        const { allowed, code } = await ask(action, nova)
        assert.equal({ allowed, code }, { allowed: false, code: 'invalid_action' }, JSON.stringify(action))
      }
    },
  },
  {
    title: 'decides by other policies from the moment they are replaced',
    policies: [readers],
    async run({ ask, replace }, assert) {
      assert.equal((await ask('read:contacts', nova)).allowed, true)
      await replace([noAdmin])
      assert.equal((await ask('read:contacts', nova)).code, 'no_match')
      await replace([readers, { name: 'late', rules: [{ effect: 'deny', actions: ['read:contacts'] }] }])
      assert.equal((await ask('read:contacts', nova)).policy, 'late')
    },
  },
  {
    title: 'answers the same question the same way, however often it is asked',
    policies: [readers, noAdmin],
    async run({ ask }, assert) {
      for (const action of ['read:contacts', 'read:secrets', 'write:x']) {
        const first = essence(await ask(action, nova))
        for (let i = 0; i < 5; i++) assert.equal(essence(await ask(action, nova)), first)
      }
    },
  },
]
