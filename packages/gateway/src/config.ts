import { join } from 'node:path'
import { type Issue, type Mode, ValidationError } from '@meshguard/core'
import { isLoopback } from './http/address.js'
import { checkRoutes, readRoutesFile } from './proxy-map.js'
import { SETTINGS, type Setting } from './settings.js'

/** What the gateway runs with. Read once, from the environment or from options; times in ms, sizes in bytes. */
export interface GatewayConfig {
  readonly port: number
  readonly host: string
  readonly mode: Mode
  readonly databaseUrl: string
  /** Names this gateway among those on one PostgreSQL. Default: made on first start and kept in `dataDir`. */
  readonly gatewayId?: string | undefined
  readonly policiesDir?: string | undefined
  readonly dataDir: string
  readonly signingKeyFile: string
  readonly adminToken?: string | undefined
  readonly jwtSecret?: string | undefined
  readonly jwtExpiresInMs: number
  readonly proxy: {
    readonly target?: string | undefined
    /** `METHOD pattern` to action. */
    readonly routes?: ReadonlyMap<string, string> | undefined
    readonly headers: Readonly<Record<string, string>>
    /** The only headers of clients that are forwarded, besides the common ones of HTTP. Default: all but those held back. */
    readonly forwardHeaders?: readonly string[] | undefined
    readonly forwardAuthorization: boolean
    readonly timeoutMs: number
    readonly maxBody: number
  }
  readonly auditMode: 'durable' | 'async'
  readonly auditRetentionDays: number
  readonly rateLimitRpm: number
  readonly deniedRpm: number
  readonly corsOrigin?: string | undefined
  readonly logLevel: string
  /** Addresses and CIDR ranges. */
  readonly trustedProxies: readonly string[]
}

/**
 * The settings of a gateway, all optional. Times are in ms, sizes in bytes; the defaults are those of the environment
 * variables in {@link readConfig}.
 */
export type GatewaySettings = Partial<Omit<GatewayConfig, 'proxy'>> & {
  readonly proxy?: Partial<Omit<GatewayConfig['proxy'], 'routes'>> & {
    /** `METHOD pattern` to action: `{ 'GET /api/contacts/:id': 'read:contacts' }`. */
    readonly routes?: ReadonlyMap<string, string> | Readonly<Record<string, string>> | undefined
  }
}

/** Values by setting, and what is wrong with them. */
interface Reading {
  readonly values: Map<string, unknown>
  readonly issues: Issue[]
  /** How a setting is called where it was read: `PORT` or `port`. */
  readonly nameOf: (setting: string) => string
}

/**
 * Reads the configuration from environment variables. One that is empty counts as absent.
 *
 * | variable | default |
 * |---|---|
 * | `PORT`, `HOST` | 3100, 127.0.0.1 |
 * | `MODE` | `enforce`; `audit`, `bypass` (on loopback alone) |
 * | `DATA_DIR` | `.meshguard` |
 * | `DATABASE_URL` | `sqlite:<DATA_DIR>/meshguard.db`; `DB_PATH` is a spelling of its path; `postgres://…` |
 * | `GATEWAY_ID` | made on first start, with PostgreSQL; one for each gateway |
 * | `POLICIES_DIR` | none |
 * | `SIGNING_KEY_FILE` | `<DATA_DIR>/keys/signing-keys.json`; required with PostgreSQL |
 * | `ADMIN_TOKEN` | made on first start; at least 32 characters |
 * | `JWT_SECRET` | none: tokens are signed with Ed25519; at least 32 bytes |
 * | `JWT_EXPIRES_IN` | 24h |
 * | `PROXY_TARGET`, `PROXY_ROUTES` (a file), `PROXY_HEADERS` (JSON) | none |
 * | `PROXY_FORWARD_HEADERS` (names) | all but those held back |
 * | `PROXY_FORWARD_AUTHORIZATION`, `PROXY_TIMEOUT_MS`, `PROXY_MAX_BODY` | false, 30000, 10MiB |
 * | `AUDIT_MODE`, `AUDIT_RETENTION_DAYS` | durable, 90 |
 * | `RATE_LIMIT_RPM`, `DENIED_RPM` | 600, 600 |
 * | `CORS_ORIGIN`, `TRUSTED_PROXIES` | none |
 * | `LOG_LEVEL` | info |
 *
 * @throws ValidationError with every bad value at once: the variable, what was given (never a secret) and what is expected.
 *
 * @example
 * ```ts
 * const gateway = await createGateway(readConfig(process.env))
 * ```
 */
export function readConfig(env: Readonly<Record<string, string | undefined>>): GatewayConfig {
  const reading: Reading = {
    values: new Map(),
    issues: [],
    nameOf: (setting) => (setting === 'proxy.routes' ? 'PROXY_ROUTES' : (SETTINGS[setting] as Setting).variable),
  }
  for (const [name, setting] of Object.entries(SETTINGS)) {
    const text = env[setting.variable]
    if (text !== undefined && text !== '') take(reading, name, setting, setting.read?.(text) ?? text, text)
  }
  readDatabasePath(reading, env)
  const routesFile = env['PROXY_ROUTES']
  if (routesFile !== undefined && routesFile !== '') {
    reading.values.set('proxy.routes', readRoutesFile(routesFile, reading.issues))
  }
  return conclude(reading)
}

/**
 * Completes settings to a whole configuration, frozen.
 *
 * @throws ValidationError with every bad or unknown option at once.
 */
export function completeConfig(settings: GatewaySettings): GatewayConfig {
  const reading: Reading = { values: new Map(), issues: [], nameOf: (setting) => setting }
  const { proxy = {}, ...others } = settings
  const { routes, ...proxySettings } = isObject(proxy) ? proxy : {}
  if (!isObject(proxy)) reading.issues.push(issueOf('proxy', 'an object', proxy))
  const given = [
    ...Object.entries(others),
    ...Object.entries(proxySettings).map(([name, value]): [string, unknown] => [`proxy.${name}`, value]),
  ]
  for (const [name, value] of given) {
    const setting = Object.hasOwn(SETTINGS, name) ? SETTINGS[name] : undefined
    if (setting === undefined) reading.issues.push({ path: [name], message: `${name}: is not an option of a gateway` })
    else if (value !== undefined) take(reading, name, setting, value, value)
  }
  if (routes !== undefined) readRoutes(reading, routes)
  return conclude(reading)
}

function readRoutes({ values, issues }: Reading, routes: unknown): void {
  if (!isObject(routes)) issues.push(issueOf('proxy.routes', 'an object or a Map of "METHOD /pattern" and action', routes))
  else {
    const entries = routes instanceof Map ? [...routes] : Object.entries(routes)
    values.set('proxy.routes', checkRoutes(entries, 'proxy.routes', issues))
  }
}

function isObject(value: unknown): value is object {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** Keeps a value, or what is wrong with it. */
function take({ values, issues, nameOf }: Reading, name: string, setting: Setting, value: unknown, given: unknown): void {
  const parsed = setting.schema.safeParse(value)
  if (parsed.success) values.set(name, parsed.data)
  else issues.push(issueOf(nameOf(name), setting.expected, setting.secret === true ? undefined : given))
}

function issueOf(name: string, expected: string, given?: unknown): Issue {
  const shown = given === undefined ? '' : `, got ${(JSON.stringify(given) ?? String(given)).slice(0, 200)}`
  return { path: [name], message: `${name}: expected ${expected}${shown}` }
}

/** `DB_PATH` is a spelling of `DATABASE_URL=sqlite:<path>`. */
function readDatabasePath({ values, issues }: Reading, env: Readonly<Record<string, string | undefined>>): void {
  const path = env['DB_PATH']
  if (path === undefined || path === '') return
  const url = `sqlite:${path}`
  if ((values.get('databaseUrl') ?? url) !== url) {
    issues.push({ path: ['DB_PATH'], message: 'DB_PATH: names another database than DATABASE_URL; set only one of them' })
  } else values.set('databaseUrl', url)
}

/** What holds between several values, the defaults, and the end. */
function conclude({ values, issues, nameOf }: Reading): GatewayConfig {
  const of = <T>(name: string, fallback: T): T => (values.has(name) ? (values.get(name) as T) : fallback)
  const dataDir = of('dataDir', '.meshguard')
  const databaseUrl = of('databaseUrl', `sqlite:${join(dataDir, 'meshguard.db')}`)
  const host = of('host', '127.0.0.1')
  if (values.get('mode') === 'bypass' && !isLoopback(host)) {
    issues.push(issueOf(nameOf('mode'), `another mode than bypass unless ${nameOf('host')} is a loopback address`, host))
  }
  if (!databaseUrl.startsWith('sqlite:') && !values.has('signingKeyFile')) {
    issues.push(issueOf(nameOf('signingKeyFile'), 'a file, which is required with PostgreSQL: all replicas sign with its keys'))
  }
  if (values.has('adminToken') && values.get('adminToken') === values.get('jwtSecret')) {
    issues.push(issueOf(nameOf('adminToken'), (SETTINGS['adminToken'] as Setting).expected))
  }
  if (issues.length > 0) throw new ValidationError(issues)
  return Object.freeze({
    port: of('port', 3100),
    host,
    mode: of<Mode>('mode', 'enforce'),
    databaseUrl,
    gatewayId: of('gatewayId', undefined),
    policiesDir: of('policiesDir', undefined),
    dataDir,
    signingKeyFile: of('signingKeyFile', join(dataDir, 'keys', 'signing-keys.json')),
    adminToken: of('adminToken', undefined),
    jwtSecret: of('jwtSecret', undefined),
    jwtExpiresInMs: of('jwtExpiresInMs', 86_400_000),
    proxy: Object.freeze({
      target: of('proxy.target', undefined),
      routes: of('proxy.routes', undefined),
      headers: Object.freeze({ ...of('proxy.headers', {}) }),
      forwardHeaders: of('proxy.forwardHeaders', undefined),
      forwardAuthorization: of('proxy.forwardAuthorization', false),
      timeoutMs: of('proxy.timeoutMs', 30_000),
      maxBody: of('proxy.maxBody', 10 * 1024 * 1024),
    }),
    auditMode: of<'durable' | 'async'>('auditMode', 'durable'),
    auditRetentionDays: of('auditRetentionDays', 90),
    rateLimitRpm: of('rateLimitRpm', 600),
    deniedRpm: of('deniedRpm', 600),
    corsOrigin: of('corsOrigin', undefined),
    logLevel: of('logLevel', 'info'),
    trustedProxies: Object.freeze([...of<readonly string[]>('trustedProxies', [])]),
  })
}
