import { createGuard, fromPolicies } from '@meshguard/core'
import type { Hono } from 'hono'
import { type Logger, pino } from 'pino'
import { createAuditLog } from './audit/create-audit-log.js'
import { ownWriter } from './audit/own-writer.js'
import { createBundles } from './bundle/create-bundles.js'
import { completeConfig, type GatewayConfig, type GatewaySettings } from './config.js'
import { createDecide } from './decide/create-decide.js'
import { createApp } from './http/create-app.js'
import { openAdminToken } from './identity/admin-token.js'
import { createIdentity } from './identity/create-identity.js'
import { createKeys } from './identity/create-keys.js'
import { makePrivateFolder } from './identity/private-file.js'
import { logDestination } from './log-destination.js'
import { countLosses, createMetrics } from './metrics.js'
import { createPolicyRegistry } from './policies/policy-registry.js'
import { createHttpServer, type Listening } from './server.js'
import type { GatewayEnv, Services } from './services.js'
import { openStore } from './store/open-store.js'
import { openTracing } from './telemetry.js'

/** What {@link createGateway} takes: the settings of a {@link GatewayConfig}, and what is given by a program alone. */
export interface GatewayOptions extends GatewaySettings {
  /** Where the gateway logs. Default: JSON lines on stdout, from `logLevel` on. */
  readonly logger?: Logger | undefined
  /** Milliseconds since the epoch. Default `Date.now`. */
  readonly clock?: (() => number) | undefined
  /** Told the admin token that was made on first start. Default: it is printed on a terminal, otherwise written to a file. */
  readonly onAdminToken?: ((token: string) => void) | undefined
}

/** A gateway, open and not listening yet. */
export interface Gateway extends AsyncDisposable {
  /** Its routes. They need the bindings of `@hono/node-server`: {@link Gateway.listen} is the usual way to serve them. */
  readonly app: Hono<GatewayEnv>
  /** `app.fetch`, to be served by an `@hono/node-server` of your own, which then has to set its own limits of time. */
  readonly fetch: Hono<GatewayEnv>['fetch']
  readonly config: GatewayConfig
  /** The admin token, only on the start that made it. */
  readonly adminToken?: string | undefined
  /**
   * Listens on the configured host and port.
   *
   * @throws Error of the system, with its `code`, like `EADDRINUSE`.
   */
  listen(): Promise<Listening>
  /** Makes a new signing key. Tokens of the old one stay good for as long as they live. */
  rotateSigningKey(): Promise<void>
  /**
   * Takes no more requests, finishes those that run, writes what waits for the audit log, and closes the database, within 10 s.
   * A second call answers the first one's promise.
   */
  close(): Promise<void>
}

/** How long closing may take at all, in ms. */
const CLOSE_MS = 10_000
/** How long requests that run are waited for; what is left is for the audit log. */
const GRACE_MS = 8000

/**
 * Opens a gateway: its database, keys, policies and audit log.
 *
 * @param options Default: those of `readConfig({})`. Nothing is read from the environment.
 * @throws ValidationError with every bad option at once, or everything that is wrong with the policies; Error when the keys or
 * the database cannot be opened. Whatever was opened is closed again.
 *
 * @example
 * ```ts
 * const gateway = await createGateway({ policiesDir: './policies', proxy: { target: 'http://127.0.0.1:8080' } })
 * const { url } = await gateway.listen()
 * ```
 */
export async function createGateway(options: GatewayOptions = {}): Promise<Gateway> {
  return (await assembleGateway(options)).gateway
}

/** A gateway and what it is made of. */
export async function assembleGateway(options: GatewayOptions): Promise<{ gateway: Gateway; services: Services }> {
  const { logger, clock: now = Date.now, onAdminToken, ...settings } = options
  const config = completeConfig(settings)
  const log = logger ?? createLogger(config.logLevel)
  const closers: (() => Promise<void>)[] = []
  const closeAll = () => closeInTime(closers.splice(0).reverse())
  try {
    const closing = new AbortController()
    const parts = await openServices(config, log, now, onAdminToken, closing.signal, closers)
    const app = createApp(parts.services, await openTracing())
    const server = createHttpServer(app, log)
    closers.push(() => server.close(GRACE_MS))
    let closed: Promise<void> | undefined
    const close = (): Promise<void> => {
      closing.abort()
      closed ??= closeAll()
      return closed
    }
    const gateway = Object.freeze({
      app,
      fetch: app.fetch,
      config,
      adminToken: parts.adminToken,
      listen: () => server.listen(config.port, config.host),
      rotateSigningKey: () => parts.services.keys.rotate(),
      close,
      [Symbol.asyncDispose]: close,
    })
    return { gateway, services: parts.services }
  } catch (error) {
    await closeAll()
    throw error
  }
}

async function openServices(
  config: GatewayConfig,
  log: Logger,
  now: () => number,
  onAdminToken: GatewayOptions['onAdminToken'],
  closing: AbortSignal,
  closers: (() => Promise<void>)[],
): Promise<{ services: Services; adminToken?: string | undefined }> {
  await makePrivateFolder(config.dataDir).catch((error: Error) => {
    throw new Error(`DATA_DIR: cannot make the folder ${config.dataDir}: ${error.message}`, { cause: error })
  })
  const metrics = createMetrics()
  const keys = await createKeys({ config, log, now })
  const writer = await ownWriter(config)
  const store = await openStore(config.databaseUrl, { log, now, writer })
  closers.push(() => store.close())
  const policies = await createPolicyRegistry({ store, config, log, now })
  closers.push(() => policies.close())
  const bundles = createBundles({ store, keys, policies, metrics, log, now })
  closers.push(() => bundles.close())
  const audit = await createAuditLog({ store, keys, config, log, metrics, now }, writer)
  closers.push(() => audit.close())
  countLosses(metrics, audit)
  const guard = createGuard({ source: fromPolicies(policies, { limiter: store.limiter }), mode: config.mode })
  const { digest, made } = await openAdminToken({ config, store, log, onAdminToken })
  const identity = createIdentity({ store, keys, log, now, adminTokenDigest: digest })
  const decide = createDecide({ config, guard, audit, policies, metrics, log, now, identity })
  const services = { config, log, now, store, keys, identity, policies, guard, decide, audit, bundles, metrics, closing }
  return { services: Object.freeze(services), adminToken: made }
}

/** One after the other, each although one before it failed. Rejects with what failed, or when the time is over. */
async function closeInTime(closers: readonly (() => Promise<void>)[]): Promise<void> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`The gateway did not close within ${CLOSE_MS / 1000} s`)), CLOSE_MS)
  })
  const failures: unknown[] = []
  const closing = async () => {
    for (const close of closers) await close().catch((error: unknown) => failures.push(error))
  }
  try {
    await Promise.race([closing(), late])
  } finally {
    clearTimeout(timer)
  }
  if (failures.length > 0) throw failures[0]
}

/** What must not be in a log, wherever it stands. */
const SECRETS = ['authorization', 'cookie', 'token', 'adminToken', 'jwtSecret', 'password', '["x-admin-token"]']

function createLogger(level: string): Logger {
  const paths = SECRETS.flatMap((name) => {
    const member = name.startsWith('[') ? name : `.${name}`
    return [name, `*${member}`, `*.*${member}`]
  })
  return pino({ name: 'meshguard', level, redact: { paths, censor: '[redacted]' } }, logDestination(1))
}
