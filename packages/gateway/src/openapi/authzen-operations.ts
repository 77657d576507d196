import { z } from 'zod'
import type { Operation } from './operation.js'

const members = {
  subject: z.looseObject({ type: z.string(), id: z.string(), properties: z.looseObject({}).optional() }),
  action: z.looseObject({ name: z.string(), properties: z.looseObject({}).optional() }),
  resource: z.looseObject({ type: z.string(), id: z.string(), properties: z.looseObject({}).optional() }),
  context: z.looseObject({}).optional(),
}

const evaluationRequest = z.looseObject(members).meta({ id: 'Evaluation' })

const evaluationsRequest = z
  .looseObject({
    subject: members.subject.optional(),
    action: members.action.optional(),
    resource: members.resource.optional(),
    context: members.context,
    evaluations: z.array(z.looseObject({})).optional(),
    options: z.looseObject({ evaluations_semantic: z.string().optional() }).optional(),
  })
  .meta({ id: 'Evaluations', description: 'What is outside of `evaluations` is the default of each.' })

const evaluationResponse = z
  .looseObject({ decision: z.boolean(), context: z.looseObject({}).optional() })
  .meta({ id: 'EvaluationAnswer' })

const evaluationsResponse = z
  .union([z.looseObject({ evaluations: z.array(evaluationResponse) }), evaluationResponse])
  .meta({ id: 'EvaluationsAnswer' })

const configuration = z
  .looseObject({
    policy_decision_point: z.string(),
    access_evaluation_endpoint: z.string(),
    access_evaluations_endpoint: z.string().optional(),
  })
  .meta({ id: 'AuthZenConfiguration' })

const ofAuthZen = {
  tag: 'AuthZEN',
  caller: 'agent',
  headers: z.object({ 'X-Request-ID': z.string().optional() }),
} as const

/** OpenID AuthZEN Authorization API 1.0. */
export const AUTHZEN_OPERATIONS: readonly Operation[] = [
  {
    ...ofAuthZen,
    method: 'post',
    path: '/access/v1/evaluation',
    id: 'evaluate',
    summary: 'Whether a subject may do something to a resource',
    body: { schema: evaluationRequest },
    answers: { 200: { description: 'A deny is an answer like any other.', schema: evaluationResponse } },
    refusals: [400, 401, 403, 413, 415, 429, 503],
  },
  {
    ...ofAuthZen,
    method: 'post',
    path: '/access/v1/evaluations',
    id: 'evaluateMany',
    summary: 'Several evaluations at once',
    body: { schema: evaluationsRequest },
    answers: { 200: { description: 'In order.', schema: evaluationsResponse } },
    refusals: [400, 401, 403, 413, 415, 429, 503],
  },
  {
    tag: 'AuthZEN',
    caller: 'nobody',
    method: 'get',
    path: '/.well-known/authzen-configuration',
    id: 'authZenConfiguration',
    summary: 'Where the endpoints of AuthZEN are',
    answers: { 200: { description: 'The configuration.', schema: configuration } },
    refusals: [],
  },
]
