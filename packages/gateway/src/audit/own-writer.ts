import { randomBytes } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { GatewayConfig } from '../config.js'
import { writePrivateFile } from '../identity/private-file.js'
import { isPostgres } from '../store/open-store.js'
import { OWN_WRITER } from './create-audit-log.js'

/**
 * The chain of the audit log that this gateway writes. Where gateways share a database each has its own, named by `GATEWAY_ID`, or
 * by a name that is made on first start and kept in the data folder: whoever starts with that folder again goes on with its chain.
 *
 * @throws Error when the name cannot be kept, or the file holds none.
 */
export async function ownWriter({ databaseUrl, gatewayId, dataDir }: GatewayConfig): Promise<string> {
  if (!isPostgres(databaseUrl)) return OWN_WRITER
  return `gateway-${gatewayId ?? (await keptId(join(dataDir, 'gateway-id')))}`
}

async function keptId(file: string): Promise<string> {
  await writePrivateFile(file, `${randomBytes(6).toString('hex')}\n`, 'create')
  const id = (await readFile(file, 'utf8')).trim()
  if (/^[A-Za-z0-9._-]{1,64}$/.test(id)) return id
  throw new Error(`GATEWAY_ID: ${file} holds no name of a gateway. Remove it, or set GATEWAY_ID`)
}
