import { z } from 'zod'

/**
 * The messages of the OpenID AuthZEN Authorization API 1.0. Members that are not named here are ignored, as it asks
 * (https://openid.net/specs/authorization-api-1_0.html).
 */

const identifier = z.string().min(1)
const properties = z.record(z.string(), z.unknown()).optional()

const subject = z.object({ type: identifier, id: identifier, properties })
const resource = z.object({ type: identifier, id: identifier, properties })
const action = z.object({ name: identifier, properties })
const context = z.record(z.string(), z.unknown()).optional()

/** The body of `POST /access/v1/evaluation`. */
export const evaluationRequest = z.object({ subject, action, resource, context }).meta({
  id: 'Evaluation',
  description: '`subject.id` is the id of an agent. `properties` are read as `context.subject.…` and so on.',
})

/** A question that is complete. */
export type Evaluation = z.infer<typeof evaluationRequest>

/** A question, or the defaults of several: whatever is there has the right type. */
export const partialEvaluation = z.object({
  subject: subject.partial().optional(),
  action: action.partial().optional(),
  resource: resource.partial().optional(),
  context,
})

/** A question that may lack what the defaults have. */
export type PartialEvaluation = z.infer<typeof partialEvaluation>

/** When to stop. */
export const semantic = z.enum(['execute_all', 'deny_on_first_deny', 'permit_on_first_permit'])

/** The most questions of one request. */
const MAX_EVALUATIONS = 64

const options = z.object({ evaluations_semantic: semantic.optional() }).optional()

/** The body of `POST /access/v1/evaluations`. */
export const evaluationsRequest = partialEvaluation
  .extend({ evaluations: z.array(partialEvaluation).max(MAX_EVALUATIONS).optional(), options })
  .meta({ id: 'Evaluations', description: 'What is outside of `evaluations` is the default of each.' })

/** What must hold of it before its questions are read one by one: what is wrong with one is the answer to that one. */
export const evaluationsEnvelope = partialEvaluation.extend({
  evaluations: z.array(z.looseObject({})).max(MAX_EVALUATIONS).optional(),
  options,
})

/** One answer. */
export const evaluationResponse = z
  .looseObject({
    decision: z.boolean(),
    context: z.looseObject({}).optional().describe('`code`, `reason`, `policy`, `rule` and `traceId`, or an `error`'),
  })
  .meta({ id: 'EvaluationAnswer' })

/** The answer to several, or to one where there was no list. */
export const evaluationsResponse = z
  .union([z.looseObject({ evaluations: z.array(evaluationResponse) }), evaluationResponse])
  .meta({ id: 'EvaluationsAnswer' })

/** The answer of `GET /.well-known/authzen-configuration`. */
export const configuration = z
  .looseObject({
    policy_decision_point: z.string(),
    access_evaluation_endpoint: z.string(),
    access_evaluations_endpoint: z.string(),
  })
  .meta({ id: 'AuthZenConfiguration' })
