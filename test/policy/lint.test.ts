import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createPolicies, fromPolicies, isAction, type PolicyDocument, type RuleDocument } from '@meshguard/core'
import { type LintOptions, lintPolicies, lintPolicyFiles } from '@meshguard/core/node'
import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { commonAction, coversPattern } from '../../packages/core/src/policy/overlap.js'
import { covers, isPattern } from '../../packages/core/src/policy/pattern.js'
import { policySets, requests, times } from './arbitraries.js'

const numRuns = Number(process.env['MESHGUARD_RUNS'] ?? 1000)
const timeout = 60_000 + numRuns * 10

const allow = (...actions: string[]): RuleDocument => ({ effect: 'allow', actions })
const deny = (...actions: string[]): RuleDocument => ({ effect: 'deny', actions })

function lint(rules: readonly RuleDocument[], rest: Partial<PolicyDocument> = {}, options?: LintOptions) {
  return lintPolicies(createPolicies([{ name: 'p', rules, ...rest }]), options)
}

function kinds(...given: Parameters<typeof lint>): string[] {
  return lint(...given).map(({ kind, rule }) => `${kind} ${rule ?? ''}`.trimEnd())
}

describe('a rule that others always pre-empt', () => {
  it.each<[string, RuleDocument[], string]>([
    ['the same pattern', [allow('read:a'), deny('read:a')], 'deny read:a'],
    ['a broader pattern', [deny('*:a'), allow('read:a')], 'allow read:a'],
    ['a broader pattern with stars in both', [deny('read:*'), allow('read:*/x')], 'allow read:*/x'],
    ['two rules together', [deny('read:*'), deny('write:*'), allow('read:a', 'write:a')], 'allow read:a'],
    ['* and *:*, which come to the same', [deny('*:*'), deny('*')], 'deny *'],
  ])('is found behind %s', (_, rules, rule) => {
    expect(lint(rules)).toMatchObject([{ kind: 'pre-empted', policy: 'p', rule, path: ['rules', rules.length - 1] }])
  })

  it('is named with those that decide instead', () => {
    expect(lint([deny('read:*'), deny('write:*'), allow('read:a', 'write:a')])[0]?.message).toBe(
      'Rule "allow read:a" of policy "p" never decides: "deny read:*" and "deny write:*" do first, whatever the request',
    )
  })

  it.each<[string, RuleDocument[]]>([
    ['narrower', [deny('read:a'), deny('read:*')]],
    ['about something else', [deny('read:a'), allow('read:b')]],
    ['broader for one of its patterns only', [deny('read:*'), allow('read:a', 'write:a')]],
    ['conditional', [{ ...deny('read:a'), conditions: { resource: 'x' } }, allow('read:a')]],
  ])('is not one behind a rule that is %s', (_, rules) => {
    expect(kinds(rules)).toEqual([])
  })

  it('may have conditions that the other has too, in whatever way they are written', () => {
    const one = { 'context.env': { in: ['b', 'a'] }, resource: { equals: 'x' } }
    const other = { resource: 'x', 'context.env': ['a', 'b'], 'request.method': 'GET' }
    expect(
      kinds([
        { ...deny('read:*'), conditions: one },
        { ...allow('read:a'), conditions: other },
      ]),
    ).toEqual(['pre-empted allow read:a'])
  })

  it('is not a deny behind an allow of the same conditions, because an unknown one lets only the deny match', () => {
    const conditions = { 'context.env': 'prod' }
    const rules = [
      { ...allow('read:a'), conditions },
      { ...deny('read:a'), conditions },
    ]
    expect(kinds(rules)).toEqual([])
    const source = fromPolicies({ name: 'p', rules })
    const agent = { id: 'a', trustTier: 'verified' }
    expect(source.decide({ action: 'read:a', agent, traceId: 't-1' })).toMatchObject({ rule: 'deny read:a' })
  })

  it('is any allow that a deny covers under deny-overrides, before it or behind it', () => {
    const combine = 'deny-overrides'
    expect(kinds([allow('read:a'), deny('read:*')], { combine })).toEqual(['pre-empted allow read:a'])
    expect(kinds([deny('read:*'), allow('read:a')], { combine })).toEqual(['pre-empted allow read:a'])
    expect(kinds([allow('read:*'), deny('read:a')], { combine })).toEqual([])
  })
})

describe('a deny that an earlier allow shadows in part', () => {
  it.each<[string, RuleDocument[], string]>([
    ['crosses it', [allow('read:*'), deny('*:secrets')], 'read:secrets'],
    ['covers one of its patterns', [allow('read:*'), deny('read:secrets', 'admin:x')], 'read:secrets'],
    ['meets it in the middle', [allow('read:*/a'), deny('read:b*')], 'read:b/a'],
  ])('is found where the allow %s, with an action that passes', (_, rules, action) => {
    expect(lint(rules)).toMatchObject([{ kind: 'shadowed-deny', action, path: ['rules', 1] }])
    const agent = { id: 'a', trustTier: 'verified' }
    expect(fromPolicies({ name: 'p', rules }).decide({ action, agent, traceId: 't-1' })).toMatchObject({ code: 'allowed' })
  })

  it('says when the allow has conditions', () => {
    const conditions = { resource: 'x' }
    expect(lint([{ ...allow('read:*'), conditions }, deny('read:a')])[0]?.message).toBe(
      'Rule "deny read:a" of policy "p" does not deny read:a when its conditions hold: "allow read:*" stands before it and allows it',
    )
  })

  it.each<[string, RuleDocument[], Partial<PolicyDocument>?]>([
    ['comes first', [deny('*:secrets'), allow('read:*')]],
    ['overrides', [allow('read:*'), deny('*:secrets')], { combine: 'deny-overrides' }],
    ['has the allow as an exception', [allow('read:public'), deny('read:*')]],
    ['shares no action with it', [allow('read:*'), deny('write:*')]],
    ['is denied by an earlier rule already', [deny('read:secrets'), allow('read:*'), deny('*:secrets')]],
    [
      'is about other values',
      [
        { ...allow('read:*'), conditions: { 'context.env': ['dev', 'test'] } },
        { ...deny('read:a'), conditions: { 'context.env': 'prod' } },
      ],
    ],
  ])('is not one that %s', (_, rules, rest) => {
    expect(kinds(rules, rest)).toEqual([])
  })
})

describe('what nobody or nothing reaches', () => {
  it('is a policy for tags that no token can hold', () => {
    const appliesTo = { tags: ['x'.repeat(65)] }
    expect(lint([allow('read:a')], { appliesTo })).toMatchObject([{ kind: 'unreachable-policy', path: ['appliesTo', 'tags'] }])
    expect(kinds([allow('read:a')], { appliesTo: { tags: ['x', 'x'.repeat(65)] } })).toEqual([])
  })

  it('is a policy whose rules ask for other tiers or ids than it applies to', () => {
    const asked = { ...allow('read:a'), conditions: { 'agent.trustTier': 'privileged' } }
    expect(kinds([asked], { appliesTo: { trustTiers: ['basic'] } })).toEqual(['unreachable-policy'])
    expect(kinds([asked], { appliesTo: { minTrustTier: 'basic' } })).toEqual([])
    const one = { ...deny('read:a'), conditions: { 'agent.id': 'agent_2' } }
    expect(kinds([one, allow('read:b')], { appliesTo: { agentIds: ['agent_1'] } })).toEqual(['unreachable-rule deny read:a'])
  })

  it('is a rule that covers the action of no route, with the nearest that there is', () => {
    const routes = [{ method: 'GET', pattern: '/contacts', action: 'read:contacts' }, { action: undefined }]
    const found = lint([allow('read:contcats'), allow('read:c*')], {}, { routes })
    expect(found).toMatchObject([{ kind: 'unreachable-rule', rule: 'allow read:contcats', path: ['rules', 0, 'actions'] }])
    expect(found[0]?.message).toMatch(/covers the action of no route\. Did you mean "read:contacts"\?$/)
  })

  it('is not known where a route has its action only at the request', () => {
    expect(kinds([allow('read:x')], {}, { routes: [{ action: 'read:a' }, { dynamic: true }] })).toEqual([])
  })
})

it('warns of an allow of everything, conditional or not, and not of a deny', () => {
  expect(kinds([{ ...allow('read:a', '*'), conditions: { resource: 'x' } }])).toEqual(['allows-everything allow read:a'])
  expect(lint([allow('*:*')])).toMatchObject([{ kind: 'allows-everything', path: ['rules', 0, 'actions', 0] }])
  expect(kinds([deny('*')])).toEqual([])
})

it('warns of nothing in a plain policy', () => {
  expect(kinds([deny('*:secrets', 'admin:*'), allow('read:*'), allow('write:email')])).toEqual([])
})

describe('files', () => {
  let folder: string
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'meshguard-lint-'))
  })
  afterAll(() => rm(folder, { recursive: true, force: true }))

  it('are named with line and column, each of several documents in one', async () => {
    const file = join(folder, 'a.yaml')
    const policy = (name: string) => `name: ${name}\nrules:\n  - effect: deny\n    actions: ["read:*"]\n  - effect: allow\n`
    await writeFile(file, `${policy('one')}    actions: ["read:a"]\n---\n${policy('two')}    actions: ["write:a", "*"]\n`)
    const { warnings, files, policies } = await lintPolicyFiles(folder)
    expect(warnings).toMatchObject([
      { kind: 'pre-empted', policy: 'one', file, line: 5, column: 5 },
      { kind: 'allows-everything', policy: 'two', file, line: 13, column: 26 },
    ])
    expect([files, policies.policies.length]).toEqual([[file], 2])
  })

  it('that are bad are the error that loading them is', async () => {
    await expect(lintPolicyFiles(join(folder, 'none.yaml'))).rejects.toThrow('none.yaml: no such file or folder')
  })
})

describe('properties of lint', () => {
  it(
    'never says of a rule that it does not decide when it does',
    () => {
      const seen = new Map<string, number>()
      const asked = fc.array(fc.tuple(requests, times), { minLength: 10, maxLength: 30 })
      fc.assert(
        fc.property(policySets, asked, fc.boolean(), (documents, questions, withRoutes) => {
          const routes = questions.map(([{ action }]) => ({ action }))
          const policies = createPolicies(documents)
          const silent = new Set<string>()
          for (const { kind, policy, rule } of lintPolicies(policies, withRoutes ? { routes } : {})) {
            seen.set(kind, (seen.get(kind) ?? 0) + 1)
            if (['pre-empted', 'unreachable-rule'].includes(kind)) silent.add(JSON.stringify([policy, rule]))
            if (kind === 'unreachable-policy') silent.add(JSON.stringify([policy]))
          }
          for (const one of policies.policies) {
            const source = fromPolicies(one)
            for (const [request, now] of questions) {
              const { policy, rule } = source.decide(request, now) as { policy?: string; rule?: string }
              expect(silent).not.toContain(JSON.stringify([policy, rule]))
              if (policy !== undefined) expect(silent).not.toContain(JSON.stringify([policy]))
            }
          }
        }),
        { numRuns },
      )
      for (const kind of ['pre-empted', 'shadowed-deny', 'unreachable-rule', 'allows-everything']) {
        expect(seen.get(kind) ?? 0, `${kind} came up`).toBeGreaterThan(numRuns / 50)
      }
    },
    timeout,
  )

  it(
    'shows an action that a plain deny alone denies and the whole policy allows',
    () => {
      const some = fc.subarray(['read:*', '*:a', 'read:a', '*:*b', 'r*:*b', '*:*'], { minLength: 1, maxLength: 2 })
      const rule = fc.tuple(fc.boolean(), some).map(([isAllow, actions]) => (isAllow ? allow(...actions) : deny(...actions)))
      let shown = 0
      fc.assert(
        fc.property(fc.array(rule, { minLength: 2, maxLength: 5 }), (rules) => {
          const policies = createPolicies([{ name: 'p', rules }])
          const agent = { id: 'a', trustTier: 'verified' }
          for (const { action = '', kind, path } of lintPolicies(policies)) {
            if (kind !== 'shadowed-deny') continue
            shown++
            const alone = { name: 'p', rules: [rules[Number(path[1])] as RuleDocument] }
            expect(fromPolicies(alone).decide({ action, agent, traceId: 't-1' })).toMatchObject({ code: 'denied' })
            expect(fromPolicies(policies).decide({ action, agent, traceId: 't-1' })).toMatchObject({ code: 'allowed' })
          }
        }),
        { numRuns },
      )
      expect(shown).toBeGreaterThan(numRuns / 50)
    },
    timeout,
  )

  const letters = fc.constantFrom('a', 'b', ':', '*')
  const patterns = fc.string({ unit: letters, minLength: 1, maxLength: 7 }).filter(isPattern)
  const actions = fc.string({ unit: fc.constantFrom('a', 'b', ':'), minLength: 3, maxLength: 7 }).filter(isAction)

  it(
    'covers by pattern only what it covers action by action, and finds a common action exactly where there is one',
    () => {
      let common = 0
      fc.assert(
        fc.property(patterns, patterns, actions, (one, other, action) => {
          const both = covers(one, action) && covers(other, action)
          if (coversPattern(one, other) && covers(other, action)) expect(covers(one, action)).toBe(true)
          const found = commonAction(one, other)
          if (both) expect(found).toBeDefined()
          if (found === undefined) return
          common++
          expect(isAction(found) && covers(one, found)).toBe(true)
          expect(covers(other, found)).toBe(true)
        }),
        { numRuns: numRuns * 3 },
      )
      expect(common).toBeGreaterThan(numRuns / 10)
    },
    timeout,
  )
})
