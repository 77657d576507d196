/** Runs in workerd, without any of Node: asks the gateway that the request names and answers what became of it. */
import { MeshGuardClient, type MeshGuardError } from '@meshguard/client'

interface Asked {
  readonly gatewayUrl?: string
}

export default {
  async fetch(request: Request): Promise<Response> {
    const { gatewayUrl } = (await request.json()) as Asked
    const seen: unknown[] = [typeof (globalThis as { process?: unknown }).process]
    try {
      await using client = new MeshGuardClient({ gatewayUrl, agentToken: 'agent', adminToken: 'admin', timeoutMs: 5000 })
      const { allowed, policy } = await client.check('read:contacts', { context: { note: 'Grüße' } })
      seen.push(allowed, policy)
      seen.push(await client.enforce('delete:contacts').catch((error: MeshGuardError) => error.name))
      const response = await client.post('/api/contacts', { action: 'write:contacts', json: { name: 'Ada' } })
      seen.push(await response.json())
      for await (const { id } of client.streamAudit()) {
        seen.push(id)
        break
      }
    } catch (error) {
      seen.push(String(error))
    }
    return Response.json(seen)
  },
}
