import { describe, expect, it } from 'vitest'
import { createPolicies } from '../../packages/core/src/policy/policies.js'
import type { PolicyDocument } from '../../packages/core/src/policy/policy.js'
import { fromPolicies } from '../../packages/core/src/sources/from-policies.js'
import type { DecisionRequest } from '../../packages/core/src/types.js'
import { type Step, vectors } from './decision-vectors.js'

function requestOf({ agent, action, resource, context, request }: Step): DecisionRequest {
  return { agent: vectors.agents[agent], action, resource, context, request, traceId: 'vector' }
}

function documentsOf(name: string): PolicyDocument[] {
  return vectors.policySets[name] as PolicyDocument[]
}

describe('the decisions every evaluator must make', () => {
  it.each(vectors.cases)('$policies: $title', (one) => {
    const policies = createPolicies(documentsOf(one.policies))
    const source = fromPolicies(policies)
    const first = source.decide(requestOf(one))
    expect(first).toMatchObject(one.expect)
    expect(first).toMatchObject({ policyVersion: policies.version })
    expect(source.decide(requestOf(one)), 'remembered').toEqual(first)
    expect(source.explain(requestOf(one)), 'explained').toMatchObject(one.expect)
  })

  it.each(vectors.cases)('$policies, loaded backwards: $title', (one) => {
    const source = fromPolicies(documentsOf(one.policies).toReversed())
    expect(source.decide(requestOf(one))).toMatchObject(one.expect)
  })
})

describe('the rate limits every evaluator must keep', () => {
  it.each(vectors.sequences)('$title', ({ policies, steps }) => {
    const source = fromPolicies(documentsOf(policies))
    for (const step of steps) {
      source.explain(requestOf(step), step.at)
      expect(source.decide(requestOf(step), step.at), `at ${step.at}`).toMatchObject(step.expect)
    }
  })
})
