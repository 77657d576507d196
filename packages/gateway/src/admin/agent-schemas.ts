import { z } from 'zod'
import { agentId, duration, limit, name, opaque, tags, tierSpelling, time, trustTier } from './common-schemas.js'

/** Of an agent's metadata, as JSON: it is kept whole in the audit log when it changes. */
const MAX_METADATA = 4096

const metadata = z
  .record(z.string().min(1).max(64), z.unknown())
  .refine((given) => Buffer.byteLength(JSON.stringify(given)) <= MAX_METADATA, `expected at most ${MAX_METADATA} bytes of JSON`)

/** `GET /admin/agents` */
export const agentQuery = z.strictObject({
  trustTier: tierSpelling.optional(),
  tag: z.string().min(1).max(64).optional(),
  status: z.enum(['active', 'revoked']).optional(),
  limit: limit.optional(),
  cursor: opaque.optional(),
})

/** `POST /admin/agents` */
export const newAgent = z
  .strictObject({
    name,
    trustTier: tierSpelling.default('verified'),
    tags: tags.default([]),
    metadata: metadata.default({}),
  })
  .meta({ id: 'NewAgent', examples: [{ name: 'scout', trustTier: 'verified', tags: ['sales'] }] })

/** `PATCH /admin/agents/:id` */
export const agentChange = z
  .strictObject({
    name: name.optional(),
    trustTier: tierSpelling.optional(),
    tags: tags.optional(),
    metadata: metadata.optional(),
  })
  .meta({ id: 'AgentChange', description: 'What is absent stays. `tags` and `metadata` are replaced as a whole.' })

/** `POST /admin/agents/:id/token` */
export const tokenRequest = z
  .strictObject({ expiresIn: duration.optional(), revokePrevious: z.boolean().default(false) })
  .meta({ id: 'TokenRequest', examples: [{ expiresIn: '1h', revokePrevious: true }] })

/** An agent, as it is answered. */
export const agent = z
  .strictObject({
    id: agentId,
    name: z.string(),
    trustTier,
    tags: z.array(z.string()),
    metadata: z.record(z.string(), z.unknown()),
    status: z.enum(['active', 'revoked']),
    createdAt: time,
    updatedAt: time,
    revokedAt: time.optional(),
    lastSeenAt: time.optional(),
  })
  .meta({ id: 'Agent' })

export const agentPage = z.strictObject({ agents: z.array(agent), nextCursor: z.string().optional() }).meta({ id: 'AgentPage' })

export const createdAgent = z
  .strictObject({
    id: agentId,
    name: z.string(),
    trustTier,
    tags: z.array(z.string()),
    token: z.string().meta({ description: 'Shown this once.' }),
    createdAt: time,
  })
  .meta({ id: 'CreatedAgent' })

export const issuedToken = z
  .strictObject({ token: z.string().meta({ description: 'Shown this once.' }), expiresAt: time })
  .meta({ id: 'IssuedToken' })
