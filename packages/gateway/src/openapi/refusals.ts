import { z } from 'zod'
import { issue } from '../admin/policy-schemas.js'
import type { RefusalStatus } from './operation.js'

/** The body of every refusal. With `application/problem+json` it has the members of RFC 9457 as well. */
export const refusal = z
  .looseObject({
    error: z.string().meta({ description: 'Stable, to be compared by programs.' }),
    message: z.string().meta({ description: 'For people.' }),
    traceId: z.string(),
    code: z.string().optional(),
    issues: z.array(issue).optional(),
    action: z.string().optional(),
    resource: z.string().optional(),
    policy: z.string().optional(),
    rule: z.string().optional(),
    retry_after: z.number().optional().meta({ description: 'Seconds.' }),
    limit: z.string().optional(),
  })
  .meta({ id: 'Refusal' })

const traceId = '5f0c2a52-6f7d-4b57-9a53-0c2f0a4f7d11'

/** What each refusal means, and how one looks. */
export const REFUSALS: Readonly<
  Record<RefusalStatus, { description: string; example: object; headers?: Record<string, string> }>
> = {
  400: {
    description: 'Something in the request is wrong; `issues` has the place of each.',
    example: {
      error: 'bad_request',
      message: 'trustTier: expected one of "unverified", "verified", "trusted", "privileged", not "verifed"',
      issues: [{ path: 'trustTier', message: 'trustTier: … Did you mean "verified"?' }],
      traceId,
    },
  },
  401: {
    description: 'There is no credential, or none that is good.',
    example: { error: 'unauthorized', message: 'Invalid or expired token', traceId },
    headers: { 'WWW-Authenticate': 'RFC 6750' },
  },
  403: {
    description: 'The policies deny, or the service token lacks the scope.',
    example: {
      error: 'Forbidden',
      message: 'Denied by rule: deny admin:*',
      action: 'admin:users',
      code: 'denied',
      policy: 'contacts-agents',
      rule: 'deny admin:*',
      traceId,
    },
  },
  404: {
    description: 'There is no such thing.',
    example: { error: 'not_found', message: 'There is no agent "agent_none"', traceId },
  },
  409: {
    description: 'It stands in a state in which this cannot be done: an agent that was revoked, a policy of a file.',
    example: {
      error: 'conflict',
      message: 'The policy "readers" comes from a file in POLICIES_DIR and is read-only here: change the file',
      traceId,
    },
  },
  412: {
    description: 'It was changed since it was read.',
    example: {
      error: 'precondition_failed',
      message: 'The policy "readers" was changed meanwhile: read it again',
      traceId,
    },
  },
  413: {
    description: 'The body is too long.',
    example: { error: 'too_large', message: 'The body is longer than 262144 bytes', traceId },
  },
  415: {
    description: 'The body is of another media type.',
    example: { error: 'unsupported_media_type', message: 'The body must be sent as application/json', traceId },
  },
  429: {
    description: 'A rate limit is exhausted: one of the policies (`rate_limited`), or of the gateway (`too_many_requests`).',
    example: {
      error: 'rate_limited',
      code: 'rate_limited',
      message: 'Rate limit exceeded',
      retry_after: 60,
      limit: '30 requests per minute',
      traceId,
    },
    headers: { 'Retry-After': 'Seconds', RateLimit: 'draft-ietf-httpapi-ratelimit-headers' },
  },
  502: {
    description: 'The upstream could not be reached, or gave no proper answer.',
    example: {
      error: 'bad_gateway',
      message: 'The upstream could not be reached, or gave no proper answer',
      traceId,
    },
  },
  503: {
    description: 'No decision could be made, or none recorded.',
    example: { error: 'unavailable', message: 'No decision could be made', traceId },
    headers: { 'Retry-After': 'Seconds' },
  },
  504: {
    description: 'The upstream did not answer in time.',
    example: { error: 'gateway_timeout', message: 'The upstream did not answer in time', traceId },
  },
}
