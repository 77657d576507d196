import { isIP } from 'node:net'
import ipaddr from 'ipaddr.js'
import { z } from 'zod'
import { databaseUrlProblem } from './store/open-store.js'
import { parseDuration, parseSize } from './units.js'

/** What one setting may be, in words and as a schema. */
export interface Setting {
  /** The environment variable. */
  readonly variable: string
  /** `expected …` in the message of a bad value. */
  readonly expected: string
  /** Its value is never shown. */
  readonly secret?: true
  /** Of the value that an option has. */
  readonly schema: z.ZodType
  /** Makes the value of a variable's text; what it cannot read it returns as it is, for the schema to refuse. */
  readonly read?: (text: string) => unknown
}

const MAX_MS = 2 ** 31 - 1

const whole = (text: string): unknown => (/^\d{1,15}$/.test(text) ? Number(text) : text)
const duration = (text: string): unknown => parseDuration(text) ?? text
const list = (text: string): unknown => text.split(',').map((part) => part.trim())
const flag = (text: string): unknown => ({ true: true, '1': true, false: false, '0': false })[text.toLowerCase()] ?? text

const perMinute = z.int().min(1).max(1_000_000_000)
const path = z.string().min(1).max(4096)

/** A host's name (RFC 1123) or address, to listen on. */
const host = z.string().refine((text) => isIP(text) > 0 || /^[A-Za-z0-9](?:[A-Za-z0-9.-]{0,251}[A-Za-z0-9])?$/.test(text))

const target = z.string().refine((text) => {
  const url = URL.canParse(text) ? new URL(text) : undefined
  if (url === undefined || !['http:', 'https:'].includes(url.protocol)) return false
  return url.username === '' && url.password === '' && url.search === '' && url.hash === '' && !/[?#\s]/.test(text)
})

const origins = z.string().refine((text) =>
  text.split(',').every((part) => {
    const origin = part.trim()
    return URL.canParse(origin) && new URL(origin).origin === origin && /^https?:/.test(origin)
  }),
)

const address = z.string().refine((text) => (text.includes('/') ? ipaddr.isValidCIDR(text) : isIP(text) > 0))

/** Names that the gateway sets itself, or that belong to the connection (RFC 9110, 7.6.1). */
const NOT_OURS =
  /^(?:host|content-length|transfer-encoding|connection|keep-alive|te|trailer|upgrade|expect|proxy-.*|x-meshguard-.*)$/i
const headers = z.record(
  z
    .string()
    .regex(/^[!#$%&'*+\-.^_`|~\w]{1,256}$/)
    .refine((name) => !NOT_OURS.test(name.replace(/[._]/g, '-'))),
  z.string().regex(/^[\t\x20-\x7e]{0,8192}$/),
)

/** Every setting, by its name in the options; `proxy.target` is `target` in `proxy`. */
export const SETTINGS: Readonly<Record<string, Setting>> = {
  port: {
    variable: 'PORT',
    expected: 'a port number from 0 (any that is free) to 65535',
    schema: z.int().min(0).max(65_535),
    read: whole,
  },
  host: { variable: 'HOST', expected: 'a host name or an IP address', schema: host },
  mode: {
    variable: 'MODE',
    expected: 'enforce, audit or bypass',
    schema: z.enum(['enforce', 'audit', 'bypass']),
  },
  databaseUrl: {
    variable: 'DATABASE_URL',
    expected: 'sqlite:./path/to/file.db, sqlite:/absolute/path.db or postgres://user:password@host:5432/database',
    secret: true,
    schema: z.string().refine((url) => databaseUrlProblem(url) === undefined),
  },
  gatewayId: {
    variable: 'GATEWAY_ID',
    expected: 'up to 64 letters, digits, dots, dashes and underscores',
    schema: z.string().regex(/^[A-Za-z0-9._-]{1,64}$/),
  },
  policiesDir: { variable: 'POLICIES_DIR', expected: 'the path of a folder', schema: path },
  dataDir: { variable: 'DATA_DIR', expected: 'the path of a folder', schema: path },
  signingKeyFile: { variable: 'SIGNING_KEY_FILE', expected: 'the path of a file', schema: path },
  adminToken: {
    variable: 'ADMIN_TOKEN',
    expected: 'at least 32 printable characters without spaces, another text than JWT_SECRET',
    secret: true,
    schema: z.string().regex(/^[\x21-\x7e]{32,512}$/),
  },
  jwtSecret: {
    variable: 'JWT_SECRET',
    expected: 'at least 32 bytes, not the text of a key file',
    secret: true,
    schema: z.string().refine((text) => Buffer.byteLength(text) >= 32 && !text.trimStart().startsWith('-----BEGIN')),
  },
  jwtExpiresInMs: {
    variable: 'JWT_EXPIRES_IN',
    expected: 'a time like 24h, 30m or 7d, or a number of seconds, at least 1s and at most 366d',
    schema: z
      .int()
      .min(1000)
      .max(366 * 86_400_000),
    read: duration,
  },
  'proxy.target': {
    variable: 'PROXY_TARGET',
    expected: 'an http(s) URL without user, password, query and fragment',
    secret: true,
    schema: target,
  },
  'proxy.headers': {
    variable: 'PROXY_HEADERS',
    expected: 'a JSON object of header names and values, none that belongs to the connection, Host or X-MeshGuard-*',
    secret: true,
    schema: headers,
    read: (text) => jsonOr(text),
  },
  'proxy.forwardHeaders': {
    variable: 'PROXY_FORWARD_HEADERS',
    expected: 'names of headers separated by commas, none that belongs to the connection, Host, Cookie or X-MeshGuard-*',
    schema: z.array(
      z
        .string()
        .regex(/^[A-Za-z0-9-]{1,256}$/)
        .refine((name) => !NOT_OURS.test(name) && !/^cookie$/i.test(name)),
    ),
    read: list,
  },
  'proxy.forwardAuthorization': {
    variable: 'PROXY_FORWARD_AUTHORIZATION',
    expected: 'true or false',
    schema: z.boolean(),
    read: flag,
  },
  'proxy.timeoutMs': {
    variable: 'PROXY_TIMEOUT_MS',
    expected: `a number of milliseconds from 1 to ${MAX_MS}`,
    schema: z.int().min(1).max(MAX_MS),
    read: whole,
  },
  'proxy.maxBody': {
    variable: 'PROXY_MAX_BODY',
    expected: 'a size like 10MiB, or a number of bytes',
    schema: z.int().min(1).max(Number.MAX_SAFE_INTEGER),
    read: (text) => parseSize(text) ?? text,
  },
  auditMode: { variable: 'AUDIT_MODE', expected: 'durable or async', schema: z.enum(['durable', 'async']) },
  auditRetentionDays: {
    variable: 'AUDIT_RETENTION_DAYS',
    expected: 'a number of days from 1 to 36500',
    schema: z.int().min(1).max(36_500),
    read: whole,
  },
  rateLimitRpm: {
    variable: 'RATE_LIMIT_RPM',
    expected: 'a number of requests a minute, from 1',
    schema: perMinute,
    read: whole,
  },
  deniedRpm: { variable: 'DENIED_RPM', expected: 'a number of requests a minute, from 1', schema: perMinute, read: whole },
  corsOrigin: {
    variable: 'CORS_ORIGIN',
    expected: 'origins like https://app.example.com, separated by commas; "*" is not accepted',
    schema: origins,
  },
  logLevel: {
    variable: 'LOG_LEVEL',
    expected: 'trace, debug, info, warn, error, fatal or silent',
    schema: z.enum(['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent']),
  },
  trustedProxies: {
    variable: 'TRUSTED_PROXIES',
    expected: 'addresses and CIDR ranges like 10.0.0.0/8, separated by commas',
    schema: z.array(address),
    read: list,
  },
}

function jsonOr(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return text
  }
}
