import { z } from 'zod'

/** One check of `POST /v1/checks`. `token` and `context` are looked at on their own, the context only after the token. */
export const checkItem = z.strictObject({
  token: z.string().optional().describe('The bearer token of the agent; verified, never logged'),
  agentId: z.string().optional().describe('An agent that the service authenticated itself'),
  action: z.string().describe('verb:object'),
  resource: z.string().max(2048).optional(),
  context: z.record(z.string(), z.unknown()).optional().describe('At most 8 deep'),
  request: z
    .strictObject({ method: z.string().max(32), route: z.string().max(2048), ip: z.string().max(64).optional() })
    .optional()
    .describe('The HTTP request that the service was asked, for conditions on request.*'),
  traceId: z.string().optional().describe('8 to 128 letters, digits and ._:-'),
})

/** The body of `POST /v1/checks`. */
export const checksBody = z.strictObject({
  checks: z.array(checkItem).min(1).max(64),
})

/** What must hold of the body before its checks are read one by one. */
export const checksEnvelope = z.strictObject({
  checks: z.array(z.custom<object>(isPlainObject)).min(1).max(64),
})

function isPlainObject(value: unknown): boolean {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** One check that is well formed. */
export type CheckItem = z.infer<typeof checkItem>
