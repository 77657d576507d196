import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { PolicyDocument, RuleDocument } from '../../packages/core/src/policy/policy.js'
import { fromPolicies } from '../../packages/core/src/sources/from-policies.js'
import type { Agent, Answer, Bucket, DecisionRequest } from '../../packages/core/src/types.js'
import { policySets, requests, rules, times } from './arbitraries.js'
import { decideLiterally, glob } from './literal.js'

const numRuns = Number(process.env['MESHGUARD_RUNS'] ?? 5000)
const timeout = 60_000 + numRuns * 10

/** Decides with a limiter that lets everything through and writes down what was asked of it. */
function decideWith(
  policies: readonly PolicyDocument[],
): (request: DecisionRequest, now: number) => Answer & { keys: string[] } {
  let keys: string[] = []
  const take = (buckets: readonly Bucket[]) => {
    keys.push(...buckets.map((bucket) => bucket.key))
    return { ok: true, retryAfter: 0 }
  }
  const source = fromPolicies(policies, { limiter: { take } })
  return (request, now) => {
    keys = []
    return { ...(source.decide(request, now) as Answer), keys: keys.sort() }
  }
}

const asked = fc.array(fc.tuple(requests, times), { minLength: 1, maxLength: 6 })
const REASONS = { 'no policy': 'No policy applies to this agent', 'no rule': 'No rule covers this action' }

/** What must come up often for the comparison to mean something. */
const KINDS = [
  ...['allowed', 'allowed plainly', 'allowed by conditions', 'allowed limited', 'allowed by default'],
  ...['denied', 'denied plainly', 'denied by conditions', 'No policy applies to this agent', 'No rule covers this action'],
]

function kindsOf(
  policies: readonly PolicyDocument[],
  { code, policy, rule, reason, keys }: Answer & { keys: string[] },
): string[] {
  if (code === 'no_match') return [reason ?? '']
  const rules = policies.find((one) => one.name === policy)?.rules ?? []
  const decider = rules.find((one) => `${one.effect} ${one.actions[0]}` === rule)
  const how = decider?.conditions === undefined ? 'plainly' : 'by conditions'
  return [code, `${code} ${policy === undefined ? 'by default' : how}`, `${code} ${keys.length > 0 ? 'limited' : 'freely'}`]
}

describe('properties of the policy language', () => {
  it(
    'decides by index as a literal reading decides, on the first sight of a request and when it is remembered',
    () => {
      const seen = new Map<string, number>()
      fc.assert(
        fc.property(policySets, asked, (policies, questions) => {
          const decide = decideWith(policies)
          for (const [request, now] of [...questions, ...questions]) {
            const { limits, reason, ...expected } = decideLiterally(policies, request, now)
            const keys = limits.map((limit) => JSON.stringify([...limit, request.agent.id])).sort()
            const answer = decide(request, now)
            expect(answer).toMatchObject({ ...expected, keys, ...(reason && { reason: REASONS[reason] }) })
            expect([answer.policy, answer.rule]).toEqual([expected.policy, expected.rule])
            for (const kind of kindsOf(policies, answer)) seen.set(kind, (seen.get(kind) ?? 0) + 1)
          }
        }),
        { numRuns },
      )
      for (const kind of KINDS) expect(seen.get(kind) ?? 0, `${kind} came up`).toBeGreaterThan(numRuns / 50)
    },
    timeout,
  )

  it(
    'decides the same in whatever order the policies are loaded',
    () => {
      const shuffled = policySets.chain((policies) =>
        fc.tuple(fc.constant(policies), fc.shuffledSubarray(policies, { minLength: policies.length })),
      )
      fc.assert(
        fc.property(shuffled, asked, ([policies, others], questions) => {
          const [one, other] = [decideWith(policies), decideWith(others)]
          for (const [request, now] of questions) expect(other(request, now)).toEqual(one(request, now))
        }),
        { numRuns },
      )
    },
    timeout,
  )

  it(
    'never allows more when a deny rule is added anywhere',
    () => {
      let tightened = 0
      const place = fc.tuple(fc.nat(4), fc.nat(6), rules)
      fc.assert(
        fc.property(policySets, place, asked, (policies, [which, where, [added]], questions) => {
          const deny = { ...(added as RuleDocument), effect: 'deny' as const }
          const chosen = policies[which % policies.length] as PolicyDocument
          const stricter = policies.map((policy) =>
            policy === chosen ? { ...policy, rules: policy.rules.toSpliced(where, 0, deny) } : policy,
          )
          const [before, after] = [decideWith(policies), decideWith(stricter)]
          for (const [request, now] of questions) {
            const was = before(request, now).allowed
            const is = after(request, now).allowed
            expect(is && !was, 'allowed only by a deny').toBe(false)
            if (was && !is) tightened++
          }
        }),
        { numRuns },
      )
      expect(tightened).toBeGreaterThan(0)
    },
    timeout,
  )

  it(
    'gives first-match and deny-overrides one meaning when no two rules overlap',
    () => {
      const apart = fc.uniqueArray(fc.constantFrom('read:a', 'read:b', 'write:*', 'admin:*', 'read:a/*', 'read:b:*'), {
        minLength: 1,
      })
      const separate = fc
        .tuple(apart, rules)
        .map(([patterns, bodies]) =>
          patterns.map((pattern, i) => ({ ...(bodies[i % bodies.length] as RuleDocument), actions: [pattern] })),
        )
      fc.assert(
        fc.property(separate, asked, (rules, questions) => {
          const [first, overrides] = (['first-match', 'deny-overrides'] as const).map((combine) =>
            decideWith([{ name: 'p', combine, rules }]),
          )
          for (const [request, now] of questions) {
            const { policyVersion: _one, ...expected } = first?.(request, now) ?? {}
            expect(overrides?.(request, now)).toMatchObject(expected)
          }
        }),
        { numRuns },
      )
    },
    timeout,
  )

  it(
    'explains what it decides, and names as matched the rule that decided',
    () => {
      fc.assert(
        fc.property(policySets, requests, times, (policies, request, now) => {
          const source = fromPolicies(policies)
          const { steps, ...explained } = source.explain(request, now)
          const { ...decided } = source.decide(request, now) as Answer
          expect(explained).toEqual(decided)
          expect(steps.map((step) => step.policy)).toEqual(policies.map((policy) => policy.name).sort())
          const matched = steps
            .filter((step) => step.applies)
            .flatMap((step) => step.rules.filter((rule) => rule.matched).map((rule) => `${step.policy} ${rule.rule}`))
          if (decided.rule === undefined) expect(matched).toEqual([])
          else expect(matched).toContain(`${decided.policy} ${decided.rule}`)
        }),
        { numRuns: Math.ceil(numRuns / 5) },
      )
    },
    timeout,
  )

  it(
    'never takes an agent object for what it was before it was changed',
    () => {
      fc.assert(
        fc.property(policySets, fc.array(requests, { minLength: 2, maxLength: 6 }), times, (policies, questions, now) => {
          const decide = decideWith(policies)
          const reused = { id: '', trustTier: '', tags: [] as string[] } as { -readonly [K in keyof Agent]: Agent[K] }
          const list: string[] = []
          for (const request of questions) {
            list.splice(0, list.length, ...(request.agent.tags ?? []))
            Object.assign(reused, request.agent, { tags: list })
            const fresh = { ...request, agent: { ...request.agent, tags: [...list] } }
            const { limits: _limits, reason: _reason, ...expected } = decideLiterally(policies, fresh, now)
            expect(decide({ ...request, agent: reused }, now)).toMatchObject(expected)
          }
        }),
        { numRuns },
      )
    },
    timeout,
  )
})

describe('properties of patterns', () => {
  it(
    'match as they are defined',
    async () => {
      const { matchesGlob } = await import('../../packages/core/src/policy/pattern.js')
      const letters = fc.string({ unit: fc.constantFrom('a', 'b', ':', '?', '😀'), maxLength: 10 })
      const globs = fc.string({ unit: fc.constantFrom('a', 'b', ':', '?', '*', '*', '😀'), maxLength: 7 })
      fc.assert(
        fc.property(globs, letters, fc.boolean(), (pattern, text, questions) => {
          expect(matchesGlob(pattern, text, questions)).toBe(glob(pattern, text, questions))
        }),
        { numRuns },
      )
    },
    timeout,
  )
})
