import { checksActions } from '../action.js'
import { assertOptions } from '../options.js'
import { createEvaluator, type Evaluator } from '../policy/evaluator.js'
import { explainPolicies } from '../policy/explain.js'
import { createMemoryLimiter } from '../policy/limiter.js'
import { createPolicies, isPolicies } from '../policy/policies.js'
import type { Policies, Policy, PolicyDocument } from '../policy/policy.js'
import { isPromise } from '../settle.js'
import type { Answer, AnswerExplanation, DecisionRequest, DecisionSource, Limiter } from '../types.js'

/** Policies to decide by: a set, one policy or several, or something that knows the set in force at any time. */
export type PolicyInput = Policies | Policy | PolicyDocument | readonly (Policy | PolicyDocument)[] | { current(): Policies }

/** Options of {@link fromPolicies}. */
export interface FromPoliciesOptions {
  /** Counts rate limits. Default: in the memory of this process. */
  readonly limiter?: Limiter | undefined
}

/** A source that decides in process. With the default limiter it answers synchronously. */
export interface PolicySource extends DecisionSource {
  readonly name: 'policies'
  readonly delegates: true
  decide(request: DecisionRequest, now?: number): Answer | Promise<Answer>
  decideMany(requests: readonly DecisionRequest[], now?: number): readonly Answer[] | Promise<readonly Answer[]>
  explain(request: DecisionRequest, now?: number): AnswerExplanation
  close(): Promise<void>
}

/**
 * Decides by policies in this process, without I/O.
 *
 * The policies are compiled once. `current()` is asked for every decision, and what it returns is compiled when it is
 * another object than the last time. One that throws or answers a bad set makes a source that throws, and so a guard that
 * denies, until there is a good set again: keeping the last good one is for whoever loads them. Rate limits go on counting, because buckets belong to names. A request without a valid
 * agent is answered `unauthenticated`. An agent that acts for others is allowed only what is allowed to all of them, within
 * what the policies' `delegation` says; only the agent that acts has its rate limits counted.
 *
 * @throws ValidationError for a document that is wrong, TypeError for something that is no policies at all.
 *
 * @example
 * ```ts
 * const source = fromPolicies(definePolicy({ name: 'readers', rules: [{ effect: 'allow', actions: ['read:*'] }] }))
 * ```
 */
export function fromPolicies(policies: PolicyInput, options: FromPoliciesOptions = {}): PolicySource {
  assertOptions('fromPolicies', options, ['limiter'])
  const limiter = options.limiter ?? createMemoryLimiter()
  if (typeof limiter.take !== 'function') throw new TypeError('fromPolicies: option "limiter" must have a function take')
  const evaluatorNow = evaluatorsOf(policies)
  return {
    name: 'policies',
    delegates: true,
    decide: checksActions((request, now = Date.now()) => evaluatorNow().decide(request, now, limiter)),
    decideMany: (requests, now = Date.now()) => decideMany(evaluatorNow(), requests, now, limiter),
    explain: (request, now = Date.now()) => explain(evaluatorNow(), request, now),
    close: async () => {},
  }
}

function evaluatorsOf(input: PolicyInput): () => Evaluator {
  if (typeof input !== 'object' || input === null || isPromise(input)) {
    throw new TypeError('fromPolicies: expected policies: one, a list, or what "await loadPolicies(path)" answers')
  }
  if (!('current' in input)) {
    const evaluator = evaluatorFor(setOf(input))
    return () => evaluator
  }
  if (typeof input.current !== 'function') throw new TypeError('fromPolicies: "current" must be a function')
  let given: unknown = input.current()
  let evaluator = compiledOnce(given)
  evaluator()
  return () => {
    const latest = input.current()
    if (latest !== given) evaluator = compiledOnce(latest)
    given = latest
    return evaluator()
  }
}

/** The evaluator of a set, or what is wrong with it, which costs its parsing only once as well. */
function compiledOnce(set: unknown): () => Evaluator {
  try {
    if (typeof set !== 'object' || set === null) throw new TypeError('fromPolicies: "current" must answer policies')
    const evaluator = evaluatorFor(setOf(set as Policies))
    return () => evaluator
  } catch (error) {
    return () => {
      throw error
    }
  }
}

const evaluators = new WeakMap<Policies, Evaluator>()

/** Sources over one set share what is compiled of it; what they count is their own. */
export function evaluatorFor(policies: Policies): Evaluator {
  const evaluator = evaluators.get(policies) ?? createEvaluator(policies)
  evaluators.set(policies, evaluator)
  return evaluator
}

type OnePolicy = Policy | PolicyDocument

function setOf(input: Policies | OnePolicy | readonly OnePolicy[]): Policies {
  if (isPolicies(input)) return input
  if (isSet(input)) return createPolicies(input.policies)
  return createPolicies((Array.isArray(input) ? input : [input]) as readonly OnePolicy[])
}

/** Documents under "policies": they are parsed. */
function isSet(input: object): input is Policies {
  return 'policies' in input
}

/** Decides in order, synchronously where the limiter is. */
export function decideMany(
  evaluator: Evaluator,
  requests: readonly DecisionRequest[],
  now: number,
  limiter: Limiter,
): readonly Answer[] | Promise<readonly Answer[]> {
  const answers: Answer[] = []
  /** One after the other, so that limits are counted in order. */
  const decideRest = async (waiting: Promise<Answer>) => {
    answers.push(await waiting)
    for (const request of requests.slice(answers.length)) answers.push(await evaluator.decide(request, now, limiter))
    return answers
  }
  for (const request of requests) {
    const answer = evaluator.decide(request, now, limiter)
    if ('then' in answer) return decideRest(answer)
    answers.push(answer)
  }
  return answers
}

/** What would be answered, and why; counts nothing. */
export function explain(evaluator: Evaluator, request: DecisionRequest, now: number): AnswerExplanation {
  const answer = evaluator.decide(request, now, undefined)
  if ('then' in answer) throw new TypeError('An explanation counts nothing and waits for nothing')
  const isAsked = answer.code !== 'unauthenticated' && answer.code !== 'invalid_action'
  const steps = isAsked && request.agent ? explainPolicies(evaluator.policies, request.agent, request, now) : []
  return { ...answer, steps }
}
