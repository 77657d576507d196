import * as z from 'zod/mini'
import { isAgentId, TIER_SPELLINGS } from '../agent.js'
import { isPattern, patternProblem } from '../policy/pattern.js'
import { policySchema } from '../policy/schema.js'

/** Whether a text is a time as bundles write it, in the one form that `toISOString` gives. */
export function isTime(text: string): boolean {
  const ms = Date.parse(text)
  return !Number.isNaN(ms) && new Date(ms).toISOString() === text
}

const text = z.string().check(z.minLength(1), z.maxLength(256))
const time = z.string().check(z.refine(isTime, 'expected a time like "2026-01-31T09:00:00.000Z"'))
const agentId = z.string().check(z.refine(isAgentId, 'expected an agent id: letters, digits and . _ : @ -'))
const pattern = z.string().check(z.refine(isPattern, { error: ({ input }) => patternProblem(input as string) }))
const generation = z.int().check(z.minimum(0))
const tags = z.array(z.string().check(z.maxLength(64))).check(z.maxLength(64))
const tier = z.enum(TIER_SPELLINGS as [string, ...string[]])

const delegation = z.strictObject({
  id: text,
  from: agentId,
  to: agentId,
  actions: z.array(pattern).check(z.minLength(1), z.maxLength(64)),
  parent: z.optional(text),
  depth: z.int().check(z.minimum(1), z.maximum(5)),
  expiresAt: time,
})
const agent = z.union([
  z.strictObject({
    revoked: z.literal(true),
    tier: z.optional(tier),
    tags: z.optional(tags),
    gen: z.optional(generation),
  }),
  z.strictObject({
    revoked: z.optional(z.literal(false)),
    tier,
    tags,
    gen: generation,
    name: z.optional(z.string()),
    metadata: z.optional(z.record(z.string(), z.unknown())),
  }),
])
const head = {
  version: z.int().check(z.minimum(1)),
  issuedAt: time,
  expiresAt: time,
  delegations: z.array(delegation).check(z.maxLength(100_000)),
  jwks: z.strictObject({ keys: z.array(z.looseObject({ kty: z.string() })).check(z.maxLength(64)) }),
}

/** The shape of everything in a bundle but its policies and agents, which are many and are read one by one. */
export const headSchema = z.strictObject(head)

/** The shape of a bundle's document, for tools that describe it (JSON Schema, OpenAPI). It is read by `verifyBundle`. */
export const bundleSchema = z.strictObject({
  ...head,
  policies: z.array(policySchema),
  agents: z.record(z.string(), agent),
})
