import { once } from 'node:events'
import { existsSync, readFileSync } from 'node:fs'
import { cp, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { type AddressInfo, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { departure, readPage } from '../docs/markdown.js'
import { build, ROOT } from './build.js'
import { type Ended, type Running, runShell, startNode, stop } from './process.js'

const MINUTES_3 = 180_000
const BOOK = join(ROOT, 'examples/contact-book')
const BAD_POLICY = 'name: readers\nrules:\n  - effect: alow\n    actions: ["read:*"]\n'

let folder: string
const started: Running[] = []

beforeAll(async () => {
  await build()
  folder = await mkdtemp(join(tmpdir(), 'meshguard-book-'))
}, MINUTES_3)
afterEach(() => Promise.all(started.splice(0).map(stop)))
afterAll(() => rm(folder, { recursive: true, force: true }))

function start(env: NodeJS.ProcessEnv = {}): Running {
  const data = { DATA_DIR: join(folder, `data-${started.length}-${Math.random().toString(36).slice(2)}`) }
  const running = startNode([join(BOOK, 'dist/main.js')], { PORT: '0', GATEWAY_PORT: '0', ...data, ...env }, ROOT)
  started.push(running)
  return running
}

interface Book {
  readonly running: Running
  /** Where the contact book itself listens. */
  readonly origin: string
  readonly gateway: string
  /** The calls that it printed, to be pasted. */
  readonly curls: readonly string[]
  readonly policies: string
  call(agent: string, send: string, json?: unknown): Promise<Response>
}

/** Starts the contact book with policies of its own. */
async function open(env: NodeJS.ProcessEnv = {}): Promise<Book> {
  const policies = await mkdtemp(join(folder, 'policies-'))
  await cp(join(BOOK, 'policies'), policies, { recursive: true })
  const running = start({ POLICIES_DIR: policies, ...env })
  const [welcome] = await running.printed(/The gateway listens[\s\S]*Ctrl-C stops\./)
  const [gateway = '', origin = ''] = welcome.match(/http:\/\/127\.0\.0\.1:\d+/g) ?? []
  const tokens = new Map([...welcome.matchAll(/^ {2}(\w+) \(\w+\)\n {4}(\S+)$/gm)].map(([, name, token]) => [name, token]))
  const curls = [...welcome.matchAll(/^ {4}(curl .+)$/gm)].map(([, line]) => line as string)
  const call = (agent: string, send: string, json?: unknown) => {
    const [method = '', path = ''] = send.split(' ')
    const headers = { authorization: `Bearer ${tokens.get(agent)}`, 'content-type': 'application/json' }
    return fetch(`${origin}${path}`, json === undefined ? { method, headers } : { method, headers, body: JSON.stringify(json) })
  }
  return { running, origin, gateway, curls, policies, call }
}

function traceOf({ stdout }: Ended): string | undefined {
  return /^x-meshguard-trace-id: (\S+)\r$/im.exec(stdout)?.[1]
}

function statusesOf({ stdout }: Ended): number[] {
  return [...stdout.matchAll(/^HTTP\/1\.1 (\d+)/gm)].map(([, status]) => Number(status))
}

describe('the contact book', () => {
  it('prints what the README shows of it', async () => {
    const DATA_DIR = join(folder, 'shown')
    const { running, curls, origin, gateway } = await open({ DATA_DIR })
    await inTurn(curls.slice(0, 2))
    await running.printed(/DENY .*\n/)
    const blocks = readPage('README.md', readFileSync(join(ROOT, 'README.md'), 'utf8')).flatMap((program) => program.blocks)
    const shown = blocks.find(({ code }) => code.startsWith('The gateway')) ?? { code: 'no such block' }
    const places = [
      [origin, 'http://127.0.0.1:3000'],
      [gateway, 'http://127.0.0.1:3100'],
      [DATA_DIR, '.meshguard'],
    ] as const
    const printed = places.reduce((text, [here, there]) => text.replaceAll(here, there), running.output())
    expect(departure(shown.code, printed)).toBeUndefined()
  })

  it('answers each printed call, executed as it is printed, as it says: the guarded API, and the one behind the proxy', async () => {
    const { curls, running, gateway } = await open()
    expect(curls).toHaveLength(8)
    const ended = (await inTurn(curls)) as [Ended, Ended, Ended, Ended, Ended, Ended, Ended, Ended]
    for (const [allowed, denied, anonymous, limited] of [ended.slice(0, 4), ended.slice(4)] as [Ended, Ended, Ended, Ended][]) {
      expect(statusesOf(allowed)).toEqual([200])
      expect(allowed.stdout).toMatch(/\{"id":42,"name":"[^"]+"/)

      expect(statusesOf(denied)).toEqual([403])
      expect(denied.stdout).toContain('"message":"Ask a person with administration rights","action":"delete:contacts"')
      expect(denied.stdout).toContain(`"traceId":"${traceOf(denied)}"}`)

      expect(statusesOf(anonymous)).toEqual([401])
      expect(anonymous.stdout).toMatch(/^www-authenticate: Bearer realm="meshguard"\r$/im)

      expect(statusesOf(limited)).toEqual([202, 202, 202, 429])
      expect(limited.stdout).toMatch(/^retry-after: [1-9]\d*\r$/im)
    }
    expect(curls[4]).toContain(`${gateway}/proxy/contacts/42`)

    await running.printed(/steward \S+ \S+ rate_limited/)
    const decisions = running.output().match(/^\d{4}-\d\d-\d\dT\S+ (?:ALLOW|DENY ) .*$/gm) ?? []
    expect(decisions).toHaveLength(14)
    expect(decisions[0]).toMatch(/ALLOW scout read:contacts contacts\/42 allowed by readers\/"allow read:contacts" trace \S+$/)
    for (const denied of [ended[1], ended[5]]) {
      const line = `DENY {2}scout delete:contacts contacts/42 denied by administration/people-only "[^"]+" trace ${traceOf(denied)}$`
      expect(decisions.filter((decision) => new RegExp(line).test(decision))).toHaveLength(1)
    }
    expect(decisions.join('\n')).toMatch(/DENY {2}nova write:emails emails rate_limited by writers\/send-email .*trace \S+$/m)
  })

  it('keeps agents and the audit log when it is started again, and shows the admin token once', async () => {
    const DATA_DIR = join(folder, 'kept')
    const first = await open({ DATA_DIR })
    const [, adminToken = ''] = /shown this once:\n {2}(msat_\S+)\n/.exec(first.running.output()) ?? []
    const denied = await first.call('scout', 'DELETE /contacts/1')
    first.running.child.kill('SIGINT')
    await first.running.ended

    const second = await open({ DATA_DIR })
    expect(second.running.output()).not.toContain('admin token')
    const ask = async (path: string) =>
      (await fetch(`${second.gateway}/admin/${path}`, { headers: { 'x-admin-token': adminToken } })).json()
    expect(await ask('agents')).toMatchObject({ agents: [{ name: 'scout' }, { name: 'nova' }, { name: 'steward' }] })
    const trace = denied.headers.get('x-meshguard-trace-id')
    expect(await ask(`audit/traces/${trace}`)).toMatchObject({ entries: [{ action: 'delete:contacts', decision: 'deny' }] })
    expect(await ask('audit/verify')).toMatchObject({ valid: true })
  })

  it('says what to do when its tokens for a gateway are lost, and takes it over with the admin token', async () => {
    const DATA_DIR = join(folder, 'lost')
    const first = await open({ DATA_DIR })
    const [, ADMIN_TOKEN = ''] = /shown this once:\n {2}(msat_\S+)\n/.exec(first.running.output()) ?? []
    first.running.child.kill('SIGINT')
    await first.running.ended
    await rm(join(DATA_DIR, 'contact-book.json'))

    const { code, stderr } = await start({ DATA_DIR }).ended
    expect(code).toBe(1)
    expect(stderr).toMatch(/Say ADMIN_TOKEN=… as it was shown on the first start, or start anew/)
    const second = await open({ DATA_DIR, ADMIN_TOKEN })
    expect((await second.call('scout', 'GET /contacts/1')).status).toBe(200)
  })

  it('serves every route to those who may', async () => {
    const { call, origin } = await open()
    const ada = { name: 'Ada', email: 'ada@example.com', company: 'Acme' }
    const statuses = [
      await fetch(`${origin}/health`),
      await call('scout', 'GET /contacts?search=grace'),
      await call('nova', 'POST /contacts', ada),
      await call('nova', 'POST /contacts', { name: 'Ada' }),
      await call('nova', 'PATCH /contacts/301', { company: 'Globex' }),
      await call('scout', 'GET /contacts/301/emails'),
      await call('scout', 'GET /contacts/9999'),
      await call('steward', 'DELETE /contacts/301'),
      await call('steward', 'GET /admin/users'),
      await call('nova', 'GET /admin/users'),
      await call('nova', 'DELETE /contacts/1'),
      await call('scout', 'POST /emails', { to: 'a@b.example', subject: 'Hi' }),
    ].map(({ status }) => status)
    expect(statuses).toEqual([200, 200, 201, 400, 200, 200, 404, 204, 200, 403, 403, 403])
  })

  it('takes an edited policy over while it runs, and keeps the last good set when one is broken', async () => {
    const { call, policies, running } = await open()
    const file = join(policies, 'readers.yaml')
    const status = async () => (await call('scout', 'GET /contacts/1')).status
    expect(await status()).toBe(200)

    await writeFile(file, 'name: readers\nrules:\n  - effect: deny\n    actions: ["read:*"]\n')
    await expect.poll(status, { timeout: 10_000, interval: 50 }).toBe(403)

    await writeFile(file, BAD_POLICY)
    await running.printed(/readers\.yaml:3:13: rules\[0\]\.effect: expected one of "allow", "deny", not "alow"/)
    expect(await status()).toBe(403)

    await cp(join(BOOK, 'policies/readers.yaml'), file)
    await expect.poll(status, { timeout: 10_000, interval: 50 }).toBe(200)
    expect(running.output().match(/readers\.yaml:3:13/g)).toHaveLength(1)
  })

  it.each(['SIGINT', 'SIGTERM'] as const)('ends with exit code 0 on %s, and frees its port', async (signal) => {
    const { running, origin, call } = await open()
    await call('scout', 'GET /contacts/1')
    running.child.kill(signal)
    const { code, stdout } = await running.ended
    expect(code).toBe(0)
    expect(stdout).toMatch(/\nStopping\.\n$/)
    await take(Number(new URL(origin).port))
  })
})

describe('a contact book that cannot start', () => {
  it.each(['PORT', 'GATEWAY_PORT'])('names the port that is taken, and that %s chooses another', async (name) => {
    const taken = await take(0)
    const { port } = taken.address() as AddressInfo
    const DATA_DIR = join(folder, `taken-${name}`)
    const { code, stdout, stderr } = await start({ DATA_DIR, [name]: String(port) }).ended
    expect([code, stdout, existsSync(DATA_DIR)]).toEqual([1, '', false])
    expect(stderr).toBe(`Port ${port} is taken. Choose another: ${name}=${port + 1} npm start\n`)
  })

  it.each(['abc', '65536', '-1', '3000.5', '0x10'])('says what a port is when PORT is %s', async (PORT) => {
    const { code, stdout, stderr } = await start({ PORT }).ended
    expect([code, stdout]).toEqual([1, ''])
    expect(stderr).toBe(`PORT must be a number from 0 to 65535, not "${PORT}"\n`)
  })

  it('names file, line and column of a bad policy', async () => {
    const policies = await mkdtemp(join(folder, 'bad-'))
    await writeFile(join(policies, 'readers.yaml'), BAD_POLICY)
    const { code, stderr } = await start({ POLICIES_DIR: policies }).ended
    expect(code).toBe(1)
    expect(stderr).toMatch(/^.*readers\.yaml:3:13: .*Did you mean "allow"\?\n$/)
  })

  it('names a folder that is not there', async () => {
    const missing = join(folder, 'missing')
    const { code, stderr } = await start({ POLICIES_DIR: missing }).ended
    expect(code).toBe(1)
    expect(stderr).toBe(`${missing}: no such file or folder\n`)
  })
})

it('names a data folder that cannot be made', async () => {
  const DATA_DIR = join(BOOK, 'package.json')
  const { code, stderr } = await start({ DATA_DIR }).ended
  expect([code, stderr]).toEqual([1, expect.stringMatching(/^DATA_DIR: cannot make the folder .*package\.json: EEXIST/)])
})

it('is what npm start runs', () => {
  const { scripts } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8'))
  expect(scripts.start).toBe('tsc -b examples/contact-book packages/cli && node examples/contact-book/dist/main.js')
})

async function inTurn(lines: readonly string[]): Promise<Ended[]> {
  const ended: Ended[] = []
  for (const line of lines) ended.push(await runShell(line))
  return ended
}

/** Listens on a port, or fails if it is not free. */
async function take(port: number) {
  const server = createServer().listen(port, '127.0.0.1')
  await once(server, 'listening')
  server.unref()
  return server
}
