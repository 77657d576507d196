import { relative } from 'node:path'
import { fileURLToPath } from 'node:url'

/** What the environment says. */
export interface Settings {
  readonly bookPort: number
  readonly gatewayPort: number
  readonly policiesDir: string
  readonly dataDir: string
  readonly adminToken?: string | undefined
}

/** Reads `PORT`, `GATEWAY_PORT`, `POLICIES_DIR`, `DATA_DIR` and `ADMIN_TOKEN`. @throws Error that names the one that is wrong. */
export function readSettings(env: NodeJS.ProcessEnv): Settings {
  return {
    bookPort: readPort(env, 'PORT', 3000),
    gatewayPort: readPort(env, 'GATEWAY_PORT', 3100),
    policiesDir: env['POLICIES_DIR'] || relative('', fileURLToPath(new URL('../policies', import.meta.url))) || '.',
    dataDir: env['DATA_DIR'] || '.meshguard',
    adminToken: env['ADMIN_TOKEN'] || undefined,
  }
}

function readPort(env: NodeJS.ProcessEnv, name: string, otherwise: number): number {
  const text = env[name] || String(otherwise)
  if (/^\d{1,5}$/.test(text) && Number(text) < 65_536) return Number(text)
  throw new Error(`${name} must be a number from 0 to 65535, not ${JSON.stringify(text)}`)
}
