import { randomBytes } from 'node:crypto'
import { join } from 'node:path'
import type { Logger } from 'pino'
import type { GatewayConfig } from '../config.js'
import type { Store } from '../store/store.js'
import { writePrivateFile } from './private-file.js'
import { digestOf } from './secrets.js'

/** What {@link openAdminToken} works with. */
export interface AdminTokenParts {
  readonly config: Pick<GatewayConfig, 'adminToken' | 'dataDir'>
  readonly store: Pick<Store, 'settings'>
  readonly log: Logger
  /** Told a token that was made, instead of a terminal or a file. */
  readonly onAdminToken?: ((token: string) => void) | undefined
}

const SETTING = 'admin-token-sha256'

/**
 * The digest of the admin token. Where none is configured, one is made on first start: it is shown on a terminal, or written to
 * `admin-token` in the data folder (mode 0600) and that path printed, and only its digest is kept. It is shown before it is kept,
 * so that a token that nobody has seen never counts.
 *
 * @returns `made` on that start alone.
 */
export async function openAdminToken({
  config,
  store,
  log,
  onAdminToken,
}: AdminTokenParts): Promise<{ digest: string; made?: string }> {
  if (config.adminToken !== undefined) return { digest: digestOf(config.adminToken) }
  const kept = await store.settings.get(SETTING)
  if (kept !== undefined) return { digest: kept }
  const made = `msat_${randomBytes(32).toString('base64url')}`
  await tell(made, config.dataDir, onAdminToken)
  const digest = digestOf(made)
  if (await store.settings.swap(SETTING, undefined, digest)) return { digest, made }
  log.warn('another gateway has made the admin token at the same moment: the one that was shown here is void')
  return { digest: (await store.settings.get(SETTING)) ?? fail() }
}

function fail(): never {
  throw new Error('The admin token was removed from the database while this gateway started: start it again')
}

async function tell(token: string, dataDir: string, onAdminToken: AdminTokenParts['onAdminToken']): Promise<void> {
  if (onAdminToken !== undefined) return onAdminToken(token)
  if (process.stdout.isTTY) {
    process.stdout.write(`Admin token, shown once: ${token}\n`)
    return
  }
  const file = join(dataDir, 'admin-token')
  await writePrivateFile(file, `${token}\n`, 'replace')
  process.stdout.write(`The admin token was written to ${file}\n`)
}
