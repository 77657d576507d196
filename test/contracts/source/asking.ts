import type { Agent, PolicyDocument } from '@meshguard/core'
import { requestOf } from './run.js'
import { type Case, essence, nova, rook } from './spec.js'

const policies: readonly PolicyDocument[] = [
  {
    name: 'own',
    rules: [
      { effect: 'allow', actions: ['read:*'] },
      { name: 'twice', effect: 'allow', actions: ['write:email'], rateLimit: { requests: 2, per: '1h' } },
    ],
  },
]
const agents = Array.from({ length: 20 }, (_, i): Agent => ({ id: `agent_${i}`, trustTier: 'verified', tags: [`t${i}`] }))

export const askingCases: readonly Case[] = [
  {
    title: 'refuses who presents nothing',
    policies,
    async run({ ask }, assert) {
      assert.equal((await ask('read:x')).code, 'unauthenticated')
    },
  },
  {
    title: 'refuses every token that is none, and goes on serving the others',
    policies,
    needs: ['tokens'],
    async run({ source, ask }, assert) {
      const bad = [
        '',
        ' ',
        'x',
        'a.b.c',
        'eyJhbGciOiJub25lIn0.e30.',
        'x\r\nx-admin-token: y',
        'ü',
        'a b',
        '='.repeat(9000),
        'msvc_x',
      ]
      for (const token of bad) {
        const answer = await source.decide({ ...requestOf('read:x'), token })
        assert.equal(answer.code, 'unauthenticated', JSON.stringify(token.slice(0, 40)))
        assert.equal((await ask('read:x', nova)).allowed, true)
      }
    },
  },
  {
    title: 'says which agent a token stands for',
    policies,
    needs: ['tokens'],
    async run({ source, as }, assert) {
      const { token } = as(nova)
      if (token === undefined) return
      const answer = await source.decide({ ...requestOf('read:x'), token })
      assert.equal(answer.agent?.id, nova.id)
    },
  },
  {
    title: 'does not decide for one agent by the token of another',
    policies,
    needs: ['tokens'],
    async run({ source, as }, assert) {
      const { token } = as(nova)
      if (token === undefined) return
      const answer = await source.decide({ ...requestOf('read:x'), agent: rook, token })
      assert.equal(answer.allowed, false)
    },
  },
  {
    title: 'gives each of many that ask at the same time the answer to its own question',
    policies: agents.map(({ id, tags }) => ({
      name: `of-${id}`,
      appliesTo: { tags: [...(tags ?? [])] },
      rules: [{ name: `rule-${id}`, effect: 'allow' as const, actions: [`read:${id}`] }],
    })),
    agents,
    async run({ ask }, assert) {
      const questions = agents.flatMap((agent) =>
        agents.map((other) => ({ agent, action: `read:${other.id}`, own: agent === other })),
      )
      const answers = await Promise.all(questions.map(({ action, agent }) => ask(action, agent)))
      for (const [i, { agent, own, action }] of questions.entries()) {
        assert.equal(answers[i]?.rule, own ? `rule-${agent.id}` : undefined, `${agent.id} asks for ${action}`)
        assert.equal(answers[i]?.allowed, own, `${agent.id} asks for ${action}`)
      }
    },
  },
  {
    title: 'answers many at once in order, as it would one by one',
    policies,
    needs: ['many'],
    async run({ source, as, ask }, assert) {
      const actions = Array.from({ length: 150 }, (_, i) => (i % 3 === 0 ? `write:x${i}` : `read:x${i}`))
      const answers =
        (await source.decideMany?.(
          actions.map((action) => ({ ...requestOf(action), ...as(nova) })),
          Date.now(),
        )) ?? []
      assert.equal(answers.length, 150)
      for (const [i, action] of actions.entries()) {
        if (i % 10 === 0) assert.equal(essence(answers[i] as never), essence(await ask(action, nova)), action)
        assert.equal(answers[i]?.allowed, i % 3 !== 0, action)
      }
    },
  },
  {
    title: 'counts limits of many in their order',
    policies,
    needs: ['many'],
    async run({ source, as }, assert) {
      const many = Array.from({ length: 70 }, () => ({ ...requestOf('write:email'), ...as(nova) }))
      const answers = (await source.decideMany?.(many, Date.now())) ?? []
      assert.equal(
        answers.map(({ allowed }) => allowed),
        many.map((_, i) => i < 2),
      )
    },
  },
  {
    title: 'answers no questions at once with no answers',
    policies,
    needs: ['many'],
    async run({ source }, assert) {
      assert.equal(await source.decideMany?.([], Date.now()), [])
    },
  },
  {
    title: 'refuses only those of many that are wrong',
    policies,
    needs: ['many'],
    async run({ source, as }, assert) {
      const wrong = [
        { ...requestOf('read:*'), ...as(nova) },
        requestOf('read:x'),
        { ...requestOf({ action: 'read:x', context: { n: 1n } }), ...as(nova) },
      ]
      const good = { ...requestOf('read:x'), ...as(nova) }
      const [first, second, third, ...rest] = (await source.decideMany?.([...wrong, good, good], Date.now())) ?? []
      assert.equal([first?.code, second?.code], ['invalid_action', 'unauthenticated'])
      assert.ok(third !== undefined, 'the third is answered')
      assert.equal(
        rest.map(({ allowed }) => allowed),
        [true, true],
      )
    },
  },
  {
    title: 'has one version for one set of policies, and another for another',
    policies,
    needs: ['many'],
    async run({ ask, replace }, assert) {
      const { policyVersion } = await ask('read:x', nova)
      assert.match(policyVersion, /./)
      assert.equal((await ask('read:y', nova)).policyVersion, policyVersion)
      await replace([...policies, { name: 'more', rules: [{ effect: 'deny', actions: ['x:y'] }] }])
      assert.ok((await ask('read:x', nova)).policyVersion !== policyVersion, 'the version changed')
    },
  },
  {
    title: 'answers at once',
    policies,
    needs: ['synchronous'],
    async run({ source, as }, assert) {
      assert.equal('then' in source.decide({ ...requestOf('read:x'), ...as(nova) }), false)
    },
  },
  {
    title: 'explains what it would answer, and counts nothing',
    policies,
    needs: ['explain'],
    async run({ source, as, ask }, assert) {
      for (let i = 0; i < 5; i++) await source.explain?.({ ...requestOf('write:email'), ...as(nova) }, Date.now())
      assert.equal((await ask('write:email', nova)).allowed, true)
    },
  },
]
