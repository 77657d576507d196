import { z } from 'zod'
import {
  configuration,
  evaluationRequest,
  evaluationResponse,
  evaluationsRequest,
  evaluationsResponse,
} from '../authzen/authzen-schemas.js'
import type { Operation } from './operation.js'

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
