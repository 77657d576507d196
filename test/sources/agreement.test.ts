/** Local and remote decisions agree: on the vectors, on sequences of them, and on random policies. */
import { readFileSync } from 'node:fs'
import { type Agent, type Answer, fromPolicies, type PolicyDocument } from '@meshguard/core'
import fc from 'fast-check'
import { afterAll, describe, expect, it } from 'vitest'
import { requestOf } from '../contracts/source/run.js'
import { essence, type SourceWorld } from '../contracts/source/spec.js'
import { policySets, requests, times } from '../policy/arbitraries.js'
import { bindGateway, registered } from './bindings.js'

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
const WEEK = 7 * 24 * 3_600_000
const RUNS = Number(process.env['MESHGUARD_RUNS'] ?? 60)

const binding = await bindGateway('ids')
afterAll(binding.close)

/** A week that no case has had, from its Monday on. */
let week = Date.UTC(2030, 0, 7)
const nextWeek = () => {
  week += 4 * WEEK
  return week
}

const askStep = (world: SourceWorld, { agent, action, resource, context, request }: Step) =>
  world.source.decide({
    ...requestOf({ action, resource, context, request }),
    ...world.as(vectors.agents[agent] as Agent),
  })

describe('a gateway makes the decisions every evaluator must make', () => {
  it.each(Object.keys(vectors.policySets))('by the policies "%s"', async (name) => {
    const local = fromPolicies(documentsOf(name))
    const world = await binding.open({ policies: documentsOf(name), agents })
    for (const one of vectors.cases.filter(({ policies }) => policies === name)) {
      await world.moveTo(nextWeek())
      const answer = await askStep(world, one)
      expect(answer, one.title).toMatchObject(one.expect)
      const { agent, action, resource, context, request } = one
      const question = { ...requestOf({ action, resource, context, request }), agent: vectors.agents[agent] as Agent }
      expect(essence(answer), one.title).toEqual(essence(await local.decide(question, Date.now())))
    }
  })

  it.each(vectors.sequences)('and keeps their limits: $title', async ({ policies, steps }) => {
    const world = await binding.open({ policies: documentsOf(policies), agents })
    const start = nextWeek()
    for (const step of steps) {
      await world.moveTo(start + step.at)
      expect(await askStep(world, step), `at ${step.at}`).toMatchObject(step.expect)
    }
  })
})

it(`a gateway and a source in process agree on random policies (${RUNS} sets)`, async () => {
  const asked = fc.array(fc.record({ request: requests, time: times }), { minLength: 1, maxLength: 20 })
  await fc.assert(
    fc.asyncProperty(policySets, asked, async (policies, questions) => {
      const local = fromPolicies(policies)
      const start = nextWeek()
      for (const { request, time } of questions.toSorted((a, b) => a.time - b.time)) {
        const { agent: given, ...question } = request
        const agent = registered(given)
        const world = await binding.open({ policies, agents: [agent] })
        await world.moveTo(start + time - Date.UTC(2026, 0, 5))
        const remote = await world.source.decide({ ...question, traceId: requestOf('read:x').traceId, ...world.as(agent) })
        expect(essence(remote)).toEqual(essence(await local.decide({ ...question, agent }, Date.now())))
      }
    }),
    { numRuns: RUNS, interruptAfterTimeLimit: 15_000, markInterruptAsFailure: false },
  )
}, 60_000)
