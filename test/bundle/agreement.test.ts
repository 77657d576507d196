/** A bundle makes the decisions that its policies make in process: on the vectors, on sequences of them, and on random policies. */
import { readFileSync } from 'node:fs'
import { type Agent, type Answer, fromPolicies, type PolicyDocument } from '@meshguard/core'
import fc from 'fast-check'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { requestOf } from '../contracts/source/run.js'
import { essence } from '../contracts/source/spec.js'
import { policySets, requests, times } from '../policy/arbitraries.js'
import { registered } from '../sources/bindings.js'
import { type BundleWay, bindBundle } from '../sources/bundle-binding.js'

interface Step {
  readonly agent: string
  readonly action: string
  readonly resource?: string
  readonly context?: Record<string, unknown>
  readonly request?: { method: string; route: string }
  readonly expect: Partial<Answer>
}

interface Vectors {
  readonly agents: Record<string, Agent>
  readonly policySets: Record<string, PolicyDocument[]>
  readonly cases: (Step & { readonly title: string; readonly policies: string })[]
  readonly sequences: { readonly title: string; readonly policies: string; readonly steps: (Step & { at: number })[] }[]
}

const vectors: Vectors = JSON.parse(readFileSync(new URL('../vectors/decisions.json', import.meta.url), 'utf8'))
const agents = Object.values(vectors.agents)
const documentsOf = (name: string) => vectors.policySets[name] as PolicyDocument[]
const START = Date.UTC(2030, 0, 7)
const RUNS = Number(process.env['MESHGUARD_RUNS'] ?? 60)
const WAYS: readonly BundleWay[] = ['tokens', 'agents', 'agents that the bundle knows']

beforeEach(() => void vi.useFakeTimers({ toFake: ['Date'], now: START }))
afterEach(() => void vi.useRealTimers())
const setClock = (ms: number): void => void vi.setSystemTime(ms)

const questionOf = ({ action, resource, context, request }: Step) => requestOf({ action, resource, context, request } as never)

describe.each(WAYS)('By %s, a bundle makes the decisions every evaluator must make', (way) => {
  it.each(Object.keys(vectors.policySets))('by the policies "%s"', async (name) => {
    const world = await bindBundle(way, setClock).open({ policies: documentsOf(name), agents })
    for (const one of vectors.cases.filter(({ policies }) => policies === name)) {
      const agent = vectors.agents[one.agent] as Agent
      const answer = await world.source.decide({ ...questionOf(one), ...world.as(agent) }, START)
      expect(answer, one.title).toMatchObject(one.expect)
      const local = await fromPolicies(documentsOf(name)).decide({ ...questionOf(one), agent }, START)
      expect({ ...answer, agent: undefined }, one.title).toEqual({ ...local, agent: undefined })
    }
  })

  it.each(vectors.sequences)('and keeps their limits: $title', async ({ policies, steps }) => {
    const world = await bindBundle(way, setClock).open({ policies: documentsOf(policies), agents })
    for (const step of steps) {
      await world.moveTo(START + step.at)
      const answer = await world.source.decide(
        { ...questionOf(step), ...world.as(vectors.agents[step.agent] as Agent) },
        START + step.at,
      )
      expect(answer, `at ${step.at}`).toMatchObject(step.expect)
    }
  })

  it(`and agrees on random policies (${RUNS} sets)`, async () => {
    const asked = fc.array(fc.record({ request: requests, time: times }), { minLength: 1, maxLength: 20 })
    await fc.assert(
      fc.asyncProperty(policySets, asked, async (policies, questions) => {
        const local = fromPolicies(policies)
        for (const { request, time } of questions.toSorted((a, b) => a.time - b.time)) {
          const { agent: given, ...question } = request
          const agent = registered(given)
          const at = START + time - Date.UTC(2026, 0, 5)
          setClock(at)
          const world = await bindBundle(way, setClock).open({ policies, agents: [agent] })
          const asking = { ...question, traceId: 'trace-0001' }
          const answer = await world.source.decide({ ...asking, ...world.as(agent) }, at)
          const expected = await fromPolicies(policies).decide({ ...asking, agent }, at)
          expect(essence(answer)).toEqual(essence(expected))
          expect((await local.decide({ ...asking, agent }, at)).policyVersion).toBe(answer.policyVersion)
        }
      }),
      { numRuns: RUNS, interruptAfterTimeLimit: 6000, markInterruptAsFailure: false },
    )
  }, 30_000)
})
