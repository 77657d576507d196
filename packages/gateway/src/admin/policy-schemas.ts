import { isAction } from '@meshguard/core'
import { policySchema } from '@meshguard/core/policy'
import { z } from 'zod'
import { agentId, tags, tierSpelling, time } from './common-schemas.js'

/** A policy as its author writes it. What a schema cannot say is checked by core's `parsePolicy`. */
export const policyDocument = z.strictObject({ ...policySchema.shape }).meta({
  id: 'Policy',
  examples: [{ name: 'readers', rules: [{ effect: 'allow', actions: ['read:*'] }] }],
})

/** A policy as it is answered. */
export const listedPolicy = z
  .strictObject({
    ...policySchema.shape,
    origin: z.enum(['file', 'api']).meta({ description: '`file`: from POLICIES_DIR, and read-only here.' }),
    revision: z.int().min(1).optional().meta({ description: 'Its ETag; absent for a file.' }),
    updatedAt: time,
    shadowed: z.literal(true).optional().meta({ description: 'A file holds a policy of the same name, which is in force.' }),
  })
  .meta({ id: 'ListedPolicy' })

export const policyList = z
  .strictObject({
    policies: z.array(listedPolicy),
    problem: z.string().optional().meta({ description: 'Why the folder as it stands is not in force.' }),
  })
  .meta({ id: 'PolicyList' })

/** One thing that is wrong with a request or a policy. */
export const issue = z
  .strictObject({
    path: z.string().meta({ description: 'The keys that lead to the place, with dots: `rules.0.effect`.' }),
    message: z.string(),
    line: z.int().min(1).optional(),
    column: z.int().min(1).optional(),
  })
  .meta({ id: 'Issue' })

/** `POST /admin/policies/validate` */
export const policyValidation = z.strictObject({ valid: z.boolean(), issues: z.array(issue) }).meta({ id: 'PolicyValidation' })

/** `POST /admin/policies/test` */
export const policyTest = z
  .strictObject({
    agent: z.union([agentId, z.strictObject({ trustTier: tierSpelling.default('verified'), tags: tags.default([]) })], {
      error: 'expected the id of an agent, or {"trustTier", "tags"}',
    }),
    action: z.string().refine(isAction, 'expected an action like "read:contacts", without *'),
    resource: z.string().max(2048).optional(),
    context: z.record(z.string(), z.unknown()).optional(),
    policy: z.string().min(1).max(64).optional().meta({ description: 'Only this policy, instead of all in force.' }),
  })
  .meta({ id: 'PolicyTest', examples: [{ agent: { trustTier: 'verified' }, action: 'delete:contacts' }] })

/** What the policies would answer, and why. */
export const explanation = z
  .strictObject({
    allowed: z.boolean(),
    decision: z.enum(['allow', 'deny']),
    action: z.string(),
    resource: z.string().optional(),
    agentId: z.string().optional(),
    code: z.string(),
    policy: z.string().optional(),
    rule: z.string().optional(),
    reason: z.string().optional(),
    traceId: z.string(),
    timestamp: z.number(),
    policyVersion: z.string().optional(),
    enforced: z.boolean(),
    steps: z.array(
      z.strictObject({
        policy: z.string(),
        applies: z.boolean(),
        why: z.string(),
        rules: z.array(z.strictObject({ rule: z.string(), matched: z.boolean(), why: z.string() })),
      }),
    ),
  })
  .meta({ id: 'Explanation' })
