import * as z from 'zod/mini'
import { TIER_SPELLINGS } from '../agent.js'
import { policySchema } from '../policy/schema.js'
import { headSchema } from './head-schema.js'

const generation = z.int().check(z.minimum(0))
const tags = z.array(z.string().check(z.maxLength(64))).check(z.maxLength(64))
const tier = z.enum(TIER_SPELLINGS as [string, ...string[]])

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
/** The shape of a bundle's document, for tools that describe it (JSON Schema, OpenAPI). It is read by `verifyBundle`. */
export const bundleSchema = z.strictObject({
  ...headSchema.def.shape,
  policies: z.array(policySchema),
  agents: z.record(z.string(), agent),
})
