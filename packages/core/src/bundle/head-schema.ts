import * as z from 'zod/mini'
import { isAgentId } from '../agent.js'
import { isPattern, patternProblem } from '../policy/pattern.js'

/** Whether a text is a time as bundles write it, in the one form that `toISOString` gives. */
function isTime(text: string): boolean {
  const ms = Date.parse(text)
  return !Number.isNaN(ms) && new Date(ms).toISOString() === text
}

const text = z.string().check(z.minLength(1), z.maxLength(256))
const time = z.string().check(z.refine(isTime, 'expected a time like "2026-01-31T09:00:00.000Z"'))
const agentId = z.string().check(z.refine(isAgentId, 'expected an agent id: letters, digits and . _ : @ -'))
const pattern = z.string().check(z.refine(isPattern, { error: ({ input }) => patternProblem(input as string) }))

const delegation = z.strictObject({
  id: text,
  from: agentId,
  to: agentId,
  actions: z.array(pattern).check(z.minLength(1), z.maxLength(64)),
  parent: z.optional(text),
  depth: z.int().check(z.minimum(1), z.maximum(5)),
  expiresAt: time,
})

/** Everything in a bundle but its policies and agents, which are many and are read one by one. */
export const headSchema = z.strictObject({
  version: z.int().check(z.minimum(1)),
  issuedAt: time,
  expiresAt: time,
  delegations: z.array(delegation).check(z.maxLength(100_000)),
  jwks: z.strictObject({ keys: z.array(z.looseObject({ kty: z.string() })).check(z.maxLength(64)) }),
})
