import { z } from 'zod'

/** `POST /admin/keys/rotate` */
export const keyRotation = z
  .strictObject({ key: z.enum(['token', 'bundle']).default('token').meta({ description: 'What the new key signs.' }) })
  .meta({ id: 'KeyRotation', examples: [{ key: 'bundle' }] })

/** What it answers. */
export const rotatedKeys = z
  .strictObject({ keys: z.array(z.string()).meta({ description: 'The `kid`s that verify tokens and bundles now.' }) })
  .meta({ id: 'RotatedKeys' })
