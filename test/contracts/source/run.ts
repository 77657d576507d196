import type { Answer, DecisionRequest } from '@meshguard/core'
import type { Assert } from '../assert.js'
import { type Binding, type Case, type Context, nova, type Question, rook, type SourceWorld } from './spec.js'

const WEEK = 7 * 24 * 3_600_000
let started = 0

/** Whether a binding has all that a case needs. */
export function applies({ needs = [] }: Case, { features }: Binding): boolean {
  return needs.every((need) => features.has(need))
}

/** Runs a case in a week of its own, so that no limit remembers another case, and holds what must be true of every answer. */
export async function runCase(one: Case, binding: Binding, assert: Assert): Promise<void> {
  const start = Date.UTC(2030, 0, 7) + ++started * WEEK
  const world = await binding.open({ policies: one.policies, agents: one.agents ?? [nova, rook] })
  await world.moveTo(start)
  await one.run(contextOf(world, start, assert), assert)
}

function contextOf(world: SourceWorld, start: number, assert: Assert): Context {
  return {
    ...world,
    start,
    async ask(question, agent) {
      const request = { ...requestOf(question), ...(agent === undefined ? {} : world.as(agent)) }
      const before = JSON.stringify(request)
      const answer = await world.source.decide(request, Date.now())
      assert.equal(JSON.stringify(request), before, 'the source changed the request')
      isSound(answer, assert)
      return answer
    },
  }
}

let asked = 0

/** A question with a trace ID of its own. */
export function requestOf(question: Question | string): DecisionRequest {
  const traceId = `trace-${String(++asked).padStart(6, '0')}`
  return typeof question === 'string' ? { action: question, traceId } : { traceId, ...question }
}

const ALLOWS = ['allowed', 'bypassed']

function isSound({ allowed, code, retryAfter }: Answer, assert: Assert): void {
  assert.ok(typeof allowed === 'boolean', 'allowed is a boolean')
  assert.equal(ALLOWS.includes(code), allowed, `allowed agrees with the code ${code}`)
  assert.equal(retryAfter !== undefined, code === 'rate_limited', 'a time to come back is said of limits alone')
  assert.ok(retryAfter === undefined || (Number.isInteger(retryAfter) && retryAfter > 0), 'which is whole seconds')
}
