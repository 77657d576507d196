import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { ValidationError } from '@meshguard/core'
import { createGateway, readConfig } from '@meshguard/gateway'
import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { completeConfig } from '../../packages/gateway/src/config.js'
import { parseDuration, parseSize } from '../../packages/gateway/src/units.js'

const SECRET = 's3cret-s3cret-s3cret-s3cret-s3cret'

/** What is wrong, by variable. */
function issuesOf(env: Record<string, string>): Record<string, string> {
  try {
    readConfig(env)
  } catch (error) {
    expect(error).toBeInstanceOf(ValidationError)
    return Object.fromEntries((error as ValidationError).issues.map(({ path, message }) => [path[0], message]))
  }
  return {}
}

describe('An empty environment', () => {
  test('is a gateway of the documented defaults', () => {
    expect(readConfig({})).toEqual({
      port: 3100,
      host: '127.0.0.1',
      mode: 'enforce',
      databaseUrl: 'sqlite:.meshguard/meshguard.db',
      policiesDir: undefined,
      dataDir: '.meshguard',
      signingKeyFile: '.meshguard/keys/signing-keys.json',
      adminToken: undefined,
      jwtSecret: undefined,
      jwtExpiresInMs: 86_400_000,
      proxy: {
        target: undefined,
        routes: undefined,
        headers: {},
        forwardHeaders: undefined,
        forwardAuthorization: false,
        timeoutMs: 30_000,
        maxBody: 10_485_760,
      },
      auditMode: 'durable',
      auditRetentionDays: 90,
      rateLimitRpm: 600,
      deniedRpm: 600,
      corsOrigin: undefined,
      logLevel: 'info',
      trustedProxies: [],
    })
  })

  test('is what empty variables are', () => {
    expect(readConfig({ PORT: '', ADMIN_TOKEN: '', DB_PATH: '', PROXY_ROUTES: '', MODE: '' })).toEqual(readConfig({}))
  })

  test('is what no options are', () => {
    expect(completeConfig({})).toEqual(readConfig({}))
  })
})

describe('A good variable', () => {
  test.each([
    ['PORT', '0', 'port', 0],
    ['HOST', '::1', 'host', '::1'],
    ['MODE', 'audit', 'mode', 'audit'],
    ['MODE', 'bypass', 'mode', 'bypass'],
    ['DATA_DIR', '/var/lib/meshguard', 'databaseUrl', `sqlite:${join('/var/lib/meshguard', 'meshguard.db')}`],
    ['DATA_DIR', '/var/lib/meshguard', 'signingKeyFile', '/var/lib/meshguard/keys/signing-keys.json'],
    ['DB_PATH', './a.db', 'databaseUrl', 'sqlite:./a.db'],
    ['GATEWAY_ID', 'meshguard-7d4b9c-x2x5z', 'gatewayId', 'meshguard-7d4b9c-x2x5z'],
    ['JWT_EXPIRES_IN', '7d', 'jwtExpiresInMs', 604_800_000],
    ['JWT_EXPIRES_IN', '3600', 'jwtExpiresInMs', 3_600_000],
    ['TRUSTED_PROXIES', '10.0.0.0/8, ::1', 'trustedProxies', ['10.0.0.0/8', '::1']],
    ['CORS_ORIGIN', 'https://a.example', 'corsOrigin', 'https://a.example'],
  ])('%s=%s', (variable, text, option, value) => {
    expect(readConfig({ [variable]: text })).toHaveProperty(option, value)
  })

  test.each([
    ['PROXY_MAX_BODY', '64KiB', 'maxBody', 65_536],
    ['PROXY_TIMEOUT_MS', '1500', 'timeoutMs', 1500],
    ['PROXY_FORWARD_HEADERS', 'Idempotency-Key, x-tenant', 'forwardHeaders', ['Idempotency-Key', 'x-tenant']],
    ['PROXY_FORWARD_AUTHORIZATION', 'TRUE', 'forwardAuthorization', true],
    ['PROXY_TARGET', 'http://127.0.0.1:8080/base', 'target', 'http://127.0.0.1:8080/base'],
    ['PROXY_HEADERS', '{"authorization":"Bearer x"}', 'headers', { authorization: 'Bearer x' }],
  ])('%s=%s', (variable, text, option, value) => {
    expect(readConfig({ [variable]: text }).proxy).toHaveProperty(option, value)
  })
})

describe('A bad variable', () => {
  test.each([
    ['PORT', '65536', '65536'],
    ['PORT', '80x', '"80x"'],
    ['PORT', '-1', '"-1"'],
    ['HOST', 'a b', '"a b"'],
    ['MODE', 'Enforce', '"Enforce"'],
    ['DATABASE_URL', 'mysql://x', 'sqlite:'],
    ['DATABASE_URL', 'sqlite:', 'sqlite:'],
    ['DATABASE_URL', 'sqlite://host/a.db', 'sqlite:'],
    ['DATABASE_URL', 'postgres://host', 'postgres://user:password@host:5432/database'],
    ['GATEWAY_ID', 'two words', '"two words"'],
    ['JWT_EXPIRES_IN', '1y', '"1y"'],
    ['JWT_EXPIRES_IN', '0', '"0"'],
    ['JWT_EXPIRES_IN', '400d', '366d'],
    ['PROXY_TARGET', 'ftp://x', 'http(s)'],
    ['PROXY_TARGET', 'http://u:p@x', 'without user'],
    ['PROXY_TARGET', 'http://x/?a', 'query'],
    ['PROXY_TARGET', 'http://x/#', 'fragment'],
    ['PROXY_HEADERS', '[]', 'JSON object'],
    ['PROXY_HEADERS', '{"x-a":1}', 'JSON object'],
    ['PROXY_HEADERS', '{"x-a":"b\\r\\nc: d"}', 'JSON object'],
    ['PROXY_HEADERS', '{"connection":"x"}', 'connection'],
    ['PROXY_HEADERS', '{"X_MeshGuard_Action":"x"}', 'X-MeshGuard'],
    ['PROXY_FORWARD_HEADERS', 'x_tenant', 'x_tenant'],
    ['PROXY_FORWARD_HEADERS', 'a,,b', 'separated by commas'],
    ['PROXY_FORWARD_HEADERS', 'X-MeshGuard-Action', 'X-MeshGuard-*'],
    ['PROXY_FORWARD_HEADERS', 'cookie', 'Cookie'],
    ['PROXY_FORWARD_HEADERS', 'transfer-encoding', 'connection'],
    ['PROXY_FORWARD_AUTHORIZATION', 'yes please', '"yes please"'],
    ['PROXY_TIMEOUT_MS', '0', '0'],
    ['PROXY_MAX_BODY', '10 potatoes', '"10 potatoes"'],
    ['AUDIT_MODE', 'sometimes', '"sometimes"'],
    ['AUDIT_RETENTION_DAYS', '0', '0'],
    ['RATE_LIMIT_RPM', '1.5', '"1.5"'],
    ['DENIED_RPM', 'many', '"many"'],
    ['CORS_ORIGIN', '*', 'not accepted'],
    ['CORS_ORIGIN', 'https://a.example/path', '"https://a.example/path"'],
    ['LOG_LEVEL', 'loud', '"loud"'],
    ['TRUSTED_PROXIES', '10.0.0.0/33', '10.0.0.0/33'],
    ['TRUSTED_PROXIES', 'loopback', 'loopback'],
    ['PROXY_ROUTES', '/no/such/file.json', '/no/such/file.json'],
  ])('%s=%s is named, with what was given or expected', (variable, text, named) => {
    const issues = issuesOf({ [variable]: text })
    expect(Object.keys(issues)).toEqual([variable])
    expect(issues[variable]).toContain(`${variable}: `)
    expect(issues[variable]).toContain(named)
  })

  test('is named with every other one at once', () => {
    const issues = issuesOf({ PORT: 'x', MODE: 'y', LOG_LEVEL: 'z', ADMIN_TOKEN: 'short', JWT_SECRET: 'short' })
    expect(Object.keys(issues).sort()).toEqual(['ADMIN_TOKEN', 'JWT_SECRET', 'LOG_LEVEL', 'MODE', 'PORT'])
  })

  test.each([
    ['ADMIN_TOKEN', 'hunter2'],
    ['JWT_SECRET', 'hunter2'],
    ['PROXY_HEADERS', 'hunter2'],
    ['DATABASE_URL', 'mysql://root:hunter2@x'],
    ['PROXY_TARGET', 'http://root:hunter2@x'],
  ])('%s is a secret and is not repeated', (variable, text) => {
    const issues = issuesOf({ [variable]: text })
    expect(Object.keys(issues)).toEqual([variable])
    expect(JSON.stringify(issues)).not.toContain('hunter2')
  })

  test('is an admin token that is the JWT secret too, or shorter than 32 characters', () => {
    expect(issuesOf({ ADMIN_TOKEN: SECRET, JWT_SECRET: SECRET })).toHaveProperty('ADMIN_TOKEN')
    expect(issuesOf({ ADMIN_TOKEN: SECRET.slice(0, 31) })).toHaveProperty('ADMIN_TOKEN')
    expect(issuesOf({ ADMIN_TOKEN: SECRET, JWT_SECRET: `${SECRET}!` })).toEqual({})
  })

  test('is a JWT secret of less than 32 bytes, or the text of a key file', () => {
    expect(issuesOf({ JWT_SECRET: 'x'.repeat(31) })).toHaveProperty('JWT_SECRET')
    expect(issuesOf({ JWT_SECRET: 'é'.repeat(16) })).toEqual({})
    expect(issuesOf({ JWT_SECRET: `-----BEGIN PUBLIC KEY-----\n${'A'.repeat(64)}` })).toHaveProperty('JWT_SECRET')
  })

  test.each(['0.0.0.0', '::', '10.0.0.1', 'gateway.example'])('is MODE=bypass where HOST is %s', (HOST) => {
    expect(issuesOf({ MODE: 'bypass', HOST })).toHaveProperty('MODE')
  })

  test.each(['127.0.0.1', '127.9.9.9', '::1', 'localhost', '::ffff:127.0.0.1'])(
    'is not MODE=bypass where HOST is %s',
    (HOST) => {
      expect(issuesOf({ MODE: 'bypass', HOST })).toEqual({})
    },
  )

  test('is a PostgreSQL without a key file that all replicas share', () => {
    expect(issuesOf({ DATABASE_URL: 'postgres://db/meshguard' })).toHaveProperty('SIGNING_KEY_FILE')
    expect(issuesOf({ DATABASE_URL: 'postgres://db/meshguard', SIGNING_KEY_FILE: '/keys.json' })).toEqual({})
  })

  test('is a DB_PATH that names another database than DATABASE_URL', () => {
    expect(issuesOf({ DATABASE_URL: 'sqlite:a.db', DB_PATH: 'b.db' })).toHaveProperty('DB_PATH')
    expect(issuesOf({ DATABASE_URL: 'sqlite:a.db', DB_PATH: 'a.db' })).toEqual({})
  })
})

describe('PROXY_ROUTES', () => {
  let folder: string
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'meshguard-config-'))
  })
  afterAll(() => rm(folder, { recursive: true }))
  const read = async (text: string) => {
    const file = join(folder, 'routes.json')
    await writeFile(file, text)
    return { config: () => readConfig({ PROXY_ROUTES: file }), issues: issuesOf({ PROXY_ROUTES: file }) }
  }

  test('is read into a map', async () => {
    const { config } = await read('{"POST /api/emails": "write:email", "GET /api/contacts/:id": "read:contacts"}')
    expect([...(config().proxy.routes ?? [])]).toEqual([
      ['POST /api/emails', 'write:email'],
      ['GET /api/contacts/:id', 'read:contacts'],
    ])
  })

  test.each([
    ['not JSON', 'cannot be read'],
    ['[]', 'JSON object'],
    ['{"FETCH /x": "read:x"}', 'must begin with one of'],
    ['{"HEAD /x": "read:x"}', 'must begin with one of'],
    ['{"/x": "read:x"}', 'must begin with one of'],
    ['{"GET x": "read:x"}', 'from "/"'],
    ['{"GET /x": "read"}', 'an action like'],
    ['{"GET /x": "read:*"}', 'an action like'],
    ['{"GET /x": 1}', 'an action like'],
    ['{"GET /a//b": "read:x"}', 'a segment ""'],
    ['{"GET /a/": "read:x"}', 'a segment ""'],
    ['{"GET /a/../b": "read:x"}', 'dots'],
    ['{"GET /a/%41": "read:x"}', 'a segment "%41"'],
    ['{"GET /a/*rest/b": "read:x"}', 'not at the end'],
    ['{"GET /:a/:a": "read:x"}', 'two parameters'],
    ['{"GET /a/:x": "read:x", "GET /a/:y": "read:y"}', 'the same paths'],
    ['{"GET /a(b)?": "read:x"}', 'a segment'],
  ])('%s is refused', async (text, named) => {
    const { issues } = await read(text)
    expect(issues['PROXY_ROUTES']).toContain(named)
  })
})

describe('Options of createGateway', () => {
  test('are refused by name, all at once, and nothing is opened', async () => {
    const options = { port: 'x', colour: 'red', proxy: { target: 'nowhere', speed: 9, routes: { 'GET /': 'x' } } }
    const error = await createGateway(options as never).catch((reason: unknown) => reason)
    expect(error).toBeInstanceOf(ValidationError)
    const names = (error as ValidationError).issues.map(({ path }) => path[0])
    expect(names).toEqual(['port', 'colour', 'proxy.target', 'proxy.speed', 'proxy.routes'])
  })

  test.each([
    ['proxy', null],
    ['proxy', []],
    ['trustedProxies', '10.0.0.1'],
    ['port', undefined],
  ])('%s: %j', (name, value) => {
    const complete = () => completeConfig({ [name]: value } as never)
    if (value === undefined) expect(complete()).toEqual(completeConfig({}))
    else expect(complete).toThrow(ValidationError)
  })

  test('are copied and frozen', () => {
    const headers = { 'x-a': 'b' }
    const trustedProxies = ['10.0.0.1']
    const config = completeConfig({ proxy: { headers, routes: { 'GET /': 'read:x' } }, trustedProxies })
    headers['x-a'] = 'c'
    trustedProxies.push('10.0.0.2')
    expect(config.proxy.headers).toEqual({ 'x-a': 'b' })
    expect(config.trustedProxies).toEqual(['10.0.0.1'])
    for (const part of [config, config.proxy, config.proxy.headers, config.trustedProxies])
      expect(Object.isFrozen(part)).toBe(true)
  })

  test('are what readConfig answers', () => {
    const env = { PORT: '1', PROXY_TARGET: 'http://x', TRUSTED_PROXIES: '::1', ADMIN_TOKEN: SECRET, JWT_EXPIRES_IN: '2h' }
    expect(completeConfig(readConfig(env))).toEqual(readConfig(env))
  })
})

describe('Times and sizes', () => {
  test.each([
    ['500ms', 500],
    ['90s', 90_000],
    ['30m', 1_800_000],
    ['24h', 86_400_000],
    ['2w', 1_209_600_000],
    [60, 60_000],
    [1.5, 1500],
    ['1.5h', undefined],
    ['', undefined],
    ['-1s', undefined],
    [0, undefined],
    [Number.NaN, undefined],
    [null, undefined],
    ['1e3', undefined],
    ['12 h', undefined],
  ])('%j is %j ms', (text, ms) => {
    expect(parseDuration(text)).toBe(ms)
  })

  test.each([
    ['10MiB', 10_485_760],
    ['10mb', 10_000_000],
    ['7', 7],
    ['7b', 7],
    ['1 MB', undefined],
    ['0', undefined],
    ['999999999999999gib', undefined],
  ])('%j is %j bytes', (text, bytes) => {
    expect(parseSize(text)).toBe(bytes)
  })
})

test('Whatever is in the environment, it is a configuration or a list of what is wrong', () => {
  const names = Object.keys({ PORT: 1, HOST: 1, MODE: 1, DATABASE_URL: 1, JWT_SECRET: 1, PROXY_TARGET: 1, PROXY_HEADERS: 1 })
  const text = fc.oneof(fc.string(), fc.string({ unit: 'binary' }), fc.json(), fc.webUrl(), fc.integer().map(String))
  fc.assert(
    fc.property(fc.dictionary(fc.constantFrom(...names, 'TRUSTED_PROXIES', 'JWT_EXPIRES_IN', 'CORS_ORIGIN'), text), (env) => {
      const issues = issuesOf(env)
      for (const name of Object.keys(issues)) expect(Object.keys(env).concat('SIGNING_KEY_FILE')).toContain(name)
    }),
    { numRuns: Number(process.env['MESHGUARD_RUNS'] ?? 500), interruptAfterTimeLimit: 5000 },
  )
})
