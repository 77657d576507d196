import { z } from 'zod'
import { agentId, duration, opaque, pattern, time } from './common-schemas.js'

/** How many hops a delegation may have. */
export const MAX_DEPTH = 5

/** `POST /admin/delegations` */
export const newDelegation = z
  .strictObject({
    from: agentId.meta({ description: 'The agent that hands on what it may do.' }),
    to: agentId.meta({ description: 'The agent that acts.' }),
    actions: z.array(pattern).min(1).max(64).meta({ description: 'Patterns; nothing beyond them is delegated.' }),
    expiresIn: duration,
    reason: z.string().min(1).max(512).optional(),
    parent: opaque.optional().meta({ description: 'The delegation to extend, where `from` itself acts for another.' }),
  })
  .meta({ id: 'NewDelegation' })

const members = {
  id: z.string(),
  from: agentId,
  to: agentId,
  actions: z.array(z.string()),
  parent: z.string().optional(),
  depth: z.int().min(1).max(MAX_DEPTH),
  reason: z.string().optional(),
  createdAt: time,
  expiresAt: time.meta({ description: 'Not after that of the delegation it extends.' }),
  revokedAt: time.optional(),
}

export const delegation = z.strictObject(members).meta({ id: 'Delegation' })

export const createdDelegation = z
  .strictObject({ ...members, token: z.string().meta({ description: 'What `to` acts with. Shown this once.' }) })
  .meta({ id: 'CreatedDelegation' })

export const delegationList = z.strictObject({ delegations: z.array(delegation) }).meta({ id: 'DelegationList' })
