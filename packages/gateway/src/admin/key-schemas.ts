import { z } from 'zod'

/** `POST /admin/keys/rotate` */
export const rotatedKeys = z
  .strictObject({ keys: z.array(z.string()).meta({ description: 'The `kid`s that verify tokens now.' }) })
  .meta({ id: 'RotatedKeys' })
