import { z } from 'zod'
import { duration, name, time } from './common-schemas.js'

const scopes = z.array(z.enum(['decide', 'bundle', 'audit:write', 'audit:read', 'admin']))

/** `POST /admin/tokens` */
export const newServiceToken = z
  .strictObject({
    name,
    scopes: scopes
      .min(1)
      .max(5)
      .transform((given) => [...new Set(given)]),
    expiresIn: duration.optional().meta({ description: 'Default: it does not expire.' }),
  })
  .meta({ id: 'NewServiceToken', examples: [{ name: 'orders-api', scopes: ['decide'], expiresIn: '90d' }] })

const members = { id: z.string(), name: z.string(), scopes, createdAt: time, expiresAt: time.optional() }

export const serviceToken = z.strictObject(members).meta({ id: 'ServiceToken' })

export const createdServiceToken = z
  .strictObject({ ...members, token: z.string().meta({ description: 'Shown this once.' }) })
  .meta({ id: 'CreatedServiceToken' })

export const serviceTokenList = z.strictObject({ tokens: z.array(serviceToken) }).meta({ id: 'ServiceTokenList' })
