import { once } from 'node:events'
import { readFileSync } from 'node:fs'
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
  const running = startNode([join(BOOK, 'dist/main.js')], { PORT: '0', ...env }, ROOT)
  started.push(running)
  return running
}

interface Book {
  readonly running: Running
  readonly origin: string
  /** The calls that it printed, to be pasted. */
  readonly curls: readonly string[]
  readonly policies: string
  call(agent: string, send: string, json?: unknown): Promise<Response>
}

/** Starts the contact book with policies of its own. */
async function open(): Promise<Book> {
  const policies = await mkdtemp(join(folder, 'policies-'))
  await cp(join(BOOK, 'policies'), policies, { recursive: true })
  const running = start({ POLICIES_DIR: policies })
  const [welcome] = await running.printed(/^The contact book listens[\s\S]*Ctrl-C stops\./)
  const [origin = ''] = /http:\/\/127\.0\.0\.1:\d+/.exec(welcome) ?? []
  const tokens = new Map([...welcome.matchAll(/^ {2}(\w+) \(\w+\)\n {4}(\S+)$/gm)].map(([, name, token]) => [name, token]))
  const curls = [...welcome.matchAll(/^ {4}(curl .+)$/gm)].map(([, line]) => line as string)
  const call = (agent: string, send: string, json?: unknown) => {
    const [method = '', path = ''] = send.split(' ')
    const headers = { authorization: `Bearer ${tokens.get(agent)}`, 'content-type': 'application/json' }
    return fetch(`${origin}${path}`, json === undefined ? { method, headers } : { method, headers, body: JSON.stringify(json) })
  }
  return { running, origin, curls, policies, call }
}

function statusesOf({ stdout }: Ended): number[] {
  return [...stdout.matchAll(/^HTTP\/1\.1 (\d+)/gm)].map(([, status]) => Number(status))
}

describe('the contact book', () => {
  it('prints what the README shows of it', async () => {
    const { running, curls, origin } = await open()
    await inTurn(curls.slice(0, 2))
    await running.printed(/DENY .*\n/)
    const blocks = readPage('README.md', readFileSync(join(ROOT, 'README.md'), 'utf8')).flatMap((program) => program.blocks)
    const shown = blocks.find(({ code }) => code.startsWith('The contact book')) ?? { code: 'no such block' }
    expect(departure(shown.code, running.output().replaceAll(origin, 'http://127.0.0.1:3000'))).toBeUndefined()
  })

  it('answers each printed call, executed as it is printed, as it says', async () => {
    const { curls, running } = await open()
    const [allowed, denied, anonymous, limited] = (await inTurn(curls)) as [Ended, Ended, Ended, Ended]

    expect(statusesOf(allowed)).toEqual([200])
    expect(allowed.stdout).toMatch(/\{"id":42,"name":"[^"]+"/)

    expect(statusesOf(denied)).toEqual([403])
    const [, trace] = /^x-meshguard-trace-id: (\S+)\r$/im.exec(denied.stdout) ?? []
    expect(denied.stdout).toContain(
      `{"error":"Forbidden","message":"Ask a person with administration rights","action":"delete:contacts","traceId":"${trace}"}`,
    )

    expect(statusesOf(anonymous)).toEqual([401])
    expect(anonymous.stdout).toMatch(/^www-authenticate: Bearer realm="meshguard"\r$/im)

    expect(statusesOf(limited)).toEqual([202, 202, 202, 429])
    expect(limited.stdout).toMatch(/^retry-after: [1-9]\d*\r$/im)

    await running.printed(/rate_limited/)
    const decisions = running.output().match(/^\d{4}-\d\d-\d\dT\S+ (?:ALLOW|DENY ) .*$/gm)
    expect(decisions).toHaveLength(7)
    expect(decisions?.[0]).toMatch(
      /ALLOW agent_scout read:contacts contacts\/42 allowed by readers\/"allow read:contacts" trace \S+$/,
    )
    expect(decisions?.[1]).toMatch(
      new RegExp(
        `DENY {2}agent_scout delete:contacts contacts/42 denied by administration/people-only "[^"]+" trace ${trace}$`,
      ),
    )
    expect(decisions?.[6]).toMatch(/DENY {2}agent_nova write:emails emails rate_limited by writers\/send-email .*trace \S+$/)
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
  it('names the port that is taken, and what to do', async () => {
    const taken = await take(0)
    const { port } = taken.address() as AddressInfo
    const { code, stdout, stderr } = await start({ PORT: String(port) }).ended
    expect([code, stdout]).toEqual([1, ''])
    expect(stderr).toBe(`Port ${port} is taken. Choose another: PORT=${port + 1} npm start\n`)
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
    expect(stderr).toMatch(/^The policies cannot be loaded:\n.*readers\.yaml:3:13: .*Did you mean "allow"\?\n$/)
  })

  it('names a folder that is not there', async () => {
    const missing = join(folder, 'missing')
    const { code, stderr } = await start({ POLICIES_DIR: missing }).ended
    expect(code).toBe(1)
    expect(stderr).toMatch(/^The policies cannot be loaded:\n/)
    expect(stderr).toContain(missing)
  })
})

it('is what npm start runs', () => {
  const { scripts } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8'))
  expect(scripts.start).toBe('tsc -b examples/contact-book && node examples/contact-book/dist/main.js')
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
