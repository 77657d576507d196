import { MeshGuardClient } from '@meshguard/client'
import type { Assert } from '../assert.js'
import { ADMIN, type Binding, type Case, TOKEN } from './spec.js'

/** Runs a case against a scripted gateway of its own. */
export async function runCase(one: Case, binding: Binding, assert: Assert): Promise<void> {
  const scripted = await binding.start()
  const clients: MeshGuardClient[] = []
  try {
    const connect = (options = {}) => {
      const client = new MeshGuardClient({ gatewayUrl: scripted.url, agentToken: TOKEN, adminToken: ADMIN, ...options })
      clients.push(client)
      return client
    }
    await one.run({ ...scripted, connect }, assert)
  } finally {
    for (const client of clients) await client.close()
    await scripted.close()
  }
}
