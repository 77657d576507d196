import { MeshGuardClient } from '@meshguard/client'
import { createGateway } from '@meshguard/gateway'
import { type Credentials, keptCredentials, makeCredentials } from './credentials.js'
import { readableLog } from './log.js'

/** Where the gateway of the demo listens, and what stands behind its proxy. */
export interface GatewaySettings {
  readonly port: number
  readonly dataDir: string
  readonly policiesDir: string
  /** Only to take over a data folder whose service tokens are lost, or to choose the admin token. */
  readonly adminToken?: string | undefined
  readonly upstream: { readonly url: string; readonly authorization: string }
}

/** The gateway of the demo, running. */
export interface DemoGateway {
  readonly url: string
  readonly credentials: Credentials
  close(): Promise<void>
}

/** Starts the gateway. On the first start its admin token is printed, and service tokens are made for the contact book. */
export async function startGateway(settings: GatewaySettings): Promise<DemoGateway> {
  const { port, dataDir, policiesDir, upstream } = settings
  const gateway = await createGateway({
    port,
    dataDir,
    policiesDir,
    adminToken: settings.adminToken,
    proxy: { target: upstream.url, headers: { authorization: upstream.authorization } },
    logger: readableLog(),
    onAdminToken: (token) => console.log(`The gateway's admin token, shown this once:\n  ${token}\n`),
  })
  try {
    const { url } = await gateway.listen()
    const credentials = await credentialsFor(url, dataDir, gateway.adminToken ?? settings.adminToken)
    return { url, credentials, close: () => gateway.close() }
  } catch (error) {
    await gateway.close()
    throw error
  }
}

async function credentialsFor(gatewayUrl: string, dataDir: string, adminToken: string | undefined): Promise<Credentials> {
  const kept = await keptCredentials(dataDir)
  if (kept !== undefined) return kept
  if (adminToken === undefined) {
    throw new Error(
      `${dataDir} has a gateway, but not the contact book's tokens for it. Say ADMIN_TOKEN=… as it was shown on the first start, or start anew in another folder: DATA_DIR=… npm start`,
    )
  }
  return makeCredentials(new MeshGuardClient({ gatewayUrl, adminToken }), dataDir)
}
