/**
 * Every source makes the decisions that policies in process make: on the vectors, on sequences of them, and on random sets. Cases
 * as plain data, which any runtime can loop over in ten lines.
 */
import { type Agent, type Answer, fromPolicies, type PolicyDocument } from '@meshguard/core'
import fc from 'fast-check'
import { policySets, requests, times } from '../policy/arbitraries.js'
import { vectors as given, type Step, type Vectors } from '../vectors/decision-vectors.js'
import type { Assert } from './assert.js'
import { requestOf } from './source/run.js'
import { type Binding, essence, registered, type SourceWorld } from './source/spec.js'

/** A comparison of a source with policies in process. */
export interface AgreementCase {
  readonly title: string
  run(binding: Binding, assert: Assert): Promise<void>
}

const documentsOf = (name: string) => given.policySets[name] as PolicyDocument[]
const agentOf = (name: string) => given.agents[name] as Agent
const KNOWN_TIERS = ['unverified', 'verified', 'trusted', 'privileged', 'untrusted', 'anonymous', 'sandboxed', 'basic']
const isKnown = ({ trustTier }: Agent) => KNOWN_TIERS.includes(trustTier)
const knownAgents = Object.values(given.agents).filter(isKnown)

const WEEK = 7 * 24 * 3_600_000

/** A week that no case has had, from its Monday on, so that no limit remembers another case. */
let week = Date.UTC(2030, 0, 7)
const nextWeek = () => {
  week += 4 * WEEK
  return week
}

/** A token, or a bundle, holds no tier that nobody knows. */
const agentsFor = ({ features }: Binding) => (features.has('any-tier') ? Object.values(given.agents) : knownAgents)

const questionOf = ({ action, resource, context, request }: Step) => requestOf({ action, resource, context, request })

/** Whether an answer has the members that are expected of it. */
function has(answer: Answer, expected: Partial<Answer>, assert: Assert, title: string): void {
  const found = Object.fromEntries(Object.keys(expected).map((name) => [name, answer[name as keyof Answer]]))
  assert.equal(found, expected, title)
}

function byVectors(name: string): AgreementCase {
  return {
    title: `decides the vectors by the policies "${name}"`,
    async run(binding, assert) {
      const local = fromPolicies(documentsOf(name))
      const world = await binding.open({ policies: documentsOf(name), agents: agentsFor(binding) })
      for (const one of given.cases.filter(({ policies }) => policies === name)) {
        const agent = agentOf(one.agent)
        if (!agentsFor(binding).includes(agent)) continue
        const now = nextWeek()
        await world.moveTo(now)
        const answer = await world.source.decide({ ...questionOf(one), ...world.as(agent) }, now)
        has(answer, one.expect, assert, one.title)
        assert.equal(essence(answer), essence(await local.decide({ ...questionOf(one), agent }, now)), one.title)
      }
    },
  }
}

function bySequence({ title, policies, steps }: Vectors['sequences'][number]): AgreementCase {
  return {
    title: `keeps the limits of the vectors: ${title}`,
    async run(binding, assert) {
      const world = await binding.open({ policies: documentsOf(policies), agents: agentsFor(binding) })
      const start = nextWeek()
      for (const step of steps) {
        await world.moveTo(start + step.at)
        const answer = await world.source.decide({ ...questionOf(step), ...world.as(agentOf(step.agent)) }, start + step.at)
        has(answer, step.expect, assert, `at ${step.at}`)
      }
    },
  }
}

const agentArbitrary = requests.map(({ agent }) => registered(agent)).filter(isKnown)
const questions = fc.array(fc.record({ request: requests, time: times }), { minLength: 1, maxLength: 20 })

/** @param runs How many random sets. */
function byRandom(runs: number): AgreementCase {
  return {
    title: `decides by ${runs} random sets as policies in process do`,
    async run(binding, assert) {
      let compared = 0
      await fc.assert(
        fc.asyncProperty(policySets, agentArbitrary, questions, async (policies, agent, asked) => {
          const local = fromPolicies(policies)
          const world: SourceWorld = await binding.open({ policies, agents: [agent] })
          const start = nextWeek() - Date.UTC(2026, 0, 5)
          for (const { request, time } of asked.toSorted((a, b) => a.time - b.time)) {
            const { agent: _, traceId: __, ...question } = request
            await world.moveTo(start + time)
            const answer = await world.source.decide({ ...requestOf(question), ...world.as(agent) }, start + time)
            assert.equal(essence(answer), essence(await local.decide({ ...requestOf(question), agent }, start + time)))
            compared++
          }
        }),
        { numRuns: runs, interruptAfterTimeLimit: 15_000, markInterruptAsFailure: false },
      )
      assert.ok(compared > 0, 'nothing was compared')
    },
  }
}

/** @param runs How many random sets. */
export const agreementCases = (runs: number): readonly AgreementCase[] => [
  ...Object.keys(given.policySets).map(byVectors),
  ...given.sequences.map(bySequence),
  byRandom(runs),
]
