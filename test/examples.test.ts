import { readdirSync, readFileSync } from 'node:fs'
import { mkdtemp, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { generateKeys, mintAgentToken } from '@meshguard/core'
import { build as bundle } from 'esbuild'
import { Miniflare } from 'miniflare'
import ts from 'typescript'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { build, ROOT } from './e2e/build.js'
import { type Running, runShell, startNode, stop } from './e2e/process.js'

const EXAMPLES = join(ROOT, 'examples')
const MINUTES_3 = 180_000

/** A call to an example: what is sent, as whom, and what must come back. */
interface Call {
  readonly title: string
  readonly send: `${string} /${string}`
  readonly json?: unknown
  readonly token?: false
  readonly status: number
  readonly body?: object
}

const PROGRAMS: Readonly<Record<string, readonly Call[]>> = {
  'express-api/dist/whole-app.js': [
    { title: 'lets a trusted agent read', send: 'GET /notes/1', status: 200, body: { text: 'Water the plants' } },
    { title: 'lets it write', send: 'POST /notes', json: { text: 'More' }, status: 201, body: { by: 'agent_demo' } },
    { title: 'denies what no rule allows', send: 'DELETE /notes/1', status: 403, body: { action: 'delete:notes' } },
    { title: 'guards a router mounted earlier', send: 'GET /admin/users', status: 403, body: { action: 'read:admin/users' } },
    { title: 'asks for a token', send: 'GET /notes/1', token: false, status: 401 },
    { title: 'leaves the probe open', send: 'GET /health', token: false, status: 200, body: { status: 'ok' } },
  ],
  'express-api/dist/per-route.js': [
    { title: 'guards the derived route', send: 'GET /reports', status: 200, body: { allowedBy: 'readers' } },
    { title: 'asks for a token there', send: 'GET /reports', token: false, status: 401 },
    { title: 'denies the declared action', send: 'DELETE /reports/1', status: 403, body: { action: 'delete:reports' } },
    { title: 'only watches in audit mode', send: 'POST /reports/1/share', status: 200, body: { wouldBe: 'deny' } },
    { title: 'leaves the other routes alone', send: 'GET /', token: false, status: 200 },
  ],
  'express-decorators/dist/index.js': [
    { title: 'lets the method run', send: 'GET /archive/1', status: 200, body: { sealed: expect.any(Boolean) } },
    { title: 'keeps this', send: 'POST /archive/1/seal', status: 200, body: { sealed: true } },
    { title: 'guards a field', send: 'DELETE /archive', status: 403, body: { action: 'burn:archive' } },
    { title: 'asks for a token', send: 'GET /archive/1', token: false, status: 401 },
  ],
  'koa-api/dist/index.js': [
    { title: 'lets an agent add to its team', send: 'PUT /teams/red/members/hedy', status: 200, body: { by: 'agent_koa' } },
    {
      title: 'denies another team',
      send: 'PUT /teams/blue/members/hedy',
      status: 403,
      body: { action: 'write:teams/members' },
    },
    { title: 'reads through the nested router', send: 'GET /teams/blue/members', status: 200, body: { team: 'blue' } },
    { title: 'denies the declared action', send: 'DELETE /teams/red', status: 403, body: { action: 'disband:teams' } },
    { title: 'asks for a token', send: 'GET /teams', token: false, status: 401 },
    { title: 'leaves the probe open', send: 'GET /health', token: false, status: 200, body: { status: 'ok' } },
  ],
  'fastify-api/dist/index.js': [
    { title: 'lets an agent read', send: 'GET /invoices', status: 200 },
    {
      title: 'allows a small payment',
      send: 'POST /invoices/1/payments',
      json: { amount: 100 },
      status: 200,
      body: { paid: 100 },
    },
    { title: 'denies a large one', send: 'POST /invoices/1/payments', json: { amount: 101 }, status: 403 },
    { title: 'denies an amount that is no number', send: 'POST /invoices/1/payments', json: { amount: '1' }, status: 403 },
    { title: 'denies no amount', send: 'POST /invoices/1/payments', json: {}, status: 403 },
    { title: 'asks for a token', send: 'POST /invoices/1/payments', json: { amount: 1 }, token: false, status: 401 },
    { title: 'leaves the probe open', send: 'GET /health', token: false, status: 200, body: { status: 'ok' } },
  ],
}

beforeAll(build, MINUTES_3)

describe.each(Object.keys(PROGRAMS))('examples/%s', (program) => {
  let running: Running
  let line: string

  beforeAll(async () => {
    running = startNode([join(EXAMPLES, program)], { PORT: '0' })
    ;[line] = await running.printed(/^curl .+$/m)
  }, MINUTES_3)
  afterAll(() => stop(running))

  it('prints a call that works when it is pasted', async () => {
    const { code, stdout } = await runShell(`${line} -sS -w '\n%{http_code}'`)
    expect([code, stdout.split('\n').at(-1)]).toEqual([0, '200'])
  })

  const calls = (PROGRAMS[program] ?? []).map((call) => [call.title, call] as const)
  it.each(calls)('%s', async (_title, { send, json, token, status, body }) => {
    const [method = '', path = ''] = send.split(' ')
    const [, bearer = ''] = /Bearer ([^']+)/.exec(line) ?? []
    const [origin] = /http:\/\/127\.0\.0\.1:\d+/.exec(line) ?? []
    const headers = {
      ...(token === false ? {} : { authorization: `Bearer ${bearer}` }),
      ...(json === undefined ? {} : { 'content-type': 'application/json' }),
    }
    const init = json === undefined ? { method, headers } : { method, headers, body: JSON.stringify(json) }
    const answer = await fetch(`${origin}${path}`, init)
    expect(answer.status).toBe(status)
    if (body !== undefined) expect(await answer.json()).toMatchObject(body)
    if (status === 403) expect(answer.headers.get('x-meshguard-trace-id')).toMatch(/^[\w-]{36}$/)
    if (status === 401) expect(answer.headers.get('www-authenticate')).toBe('Bearer realm="meshguard"')
  })
})

describe('express-decorators with legacy decorators', () => {
  const source = readFileSync(join(EXAMPLES, 'express-decorators/src/index.ts'), 'utf8')
  const field = 'burn = (_req: Request, res: Response): void => {'
  let folder: string

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'meshguard-legacy-'))
    await symlink(join(ROOT, 'node_modules'), join(folder, 'node_modules'))
    await writeFile(join(folder, 'package.json'), '{ "type": "module" }')
    await writeFile(join(folder, 'field.js'), compileLegacy(source))
    await writeFile(
      join(folder, 'methods.js'),
      compileLegacy(source.replace(field, 'burn(_req: Request, res: Response): void {')),
    )
  })
  afterAll(() => rm(folder, { recursive: true, force: true }))

  it('guards methods and keeps this', async () => {
    const running = startNode([join(folder, 'methods.js')], { PORT: '0' })
    try {
      const [line] = await running.printed(/^curl .+$/m)
      const burn = line.replace('-X POST', '-X DELETE').replace('/archive/1/seal', '/archive')
      const { stdout: sealed } = await runShell(`${line} -sS`)
      const { stdout: burnt } = await runShell(`${burn} -sS`)
      expect([JSON.parse(sealed), JSON.parse(burnt)]).toMatchObject([{ sealed: true }, { action: 'burn:archive' }])
    } finally {
      await stop(running)
    }
  })

  it('refuses a field when the class is defined', async () => {
    expect(source).toContain(field)
    const { code, stderr } = await startNode([join(folder, 'field.js')], { PORT: '0' }).ended
    expect(code).toBe(1)
    expect(stderr).toMatch(/TypeError: .*legacy decorators can only guard methods; write burn as a method/)
  })
})

describe('hono-workers, bundled, in workerd', () => {
  let worker: Miniflare
  let tokens: { plain: string; dispatch: string; foreign: string }

  const call = (send: string, token?: string) => {
    const [method = '', path = ''] = send.split(' ')
    const headers: Record<string, string> = token === undefined ? {} : { authorization: `Bearer ${token}` }
    return worker.dispatchFetch(`https://shipments.example${path}`, { method, headers })
  }

  beforeAll(async () => {
    const { outputFiles } = await bundle({
      entryPoints: [join(EXAMPLES, 'hono-workers/dist/worker.js')],
      bundle: true,
      write: false,
      format: 'esm',
      target: 'es2022',
      conditions: ['workerd', 'worker'],
    })
    const { privateKey: key, publicKey } = await generateKeys()
    const foreign = await generateKeys()
    worker = new Miniflare({
      modules: true,
      script: outputFiles[0]?.text ?? '',
      compatibilityDate: '2026-04-01',
      bindings: { AGENT_PUBLIC_KEY: JSON.stringify(publicKey) },
    })
    tokens = {
      plain: await mintAgentToken({ id: 'agent_reader', key }),
      dispatch: await mintAgentToken({ id: 'agent_dispatch', tags: ['dispatch'], key }),
      foreign: await mintAgentToken({ id: 'agent_foreign', key: foreign.privateKey }),
    }
    await worker.ready
  }, MINUTES_3)
  afterAll(() => worker.dispose())

  it('allows what a rule allows', async () => {
    const answer = await call('GET /shipments/7', tokens.plain)
    expect([answer.status, await answer.json()]).toEqual([200, { id: '7', seenBy: 'agent_reader' }])
  })

  it('denies what no rule allows, with a trace ID', async () => {
    const answer = await call('DELETE /shipments/7', tokens.plain)
    expect(answer.status).toBe(403)
    expect(await answer.json()).toMatchObject({
      action: 'delete:shipments',
      traceId: answer.headers.get('x-meshguard-trace-id'),
    })
  })

  it('denies an agent without the tag', async () => {
    expect((await call('POST /shipments/7/hold', tokens.plain)).status).toBe(403)
  })

  it('asks for a token, and takes none that another key signed', async () => {
    const answers = [await call('GET /shipments/7'), await call('GET /shipments/7', tokens.foreign)]
    expect(answers.map(({ status }) => status)).toEqual([401, 401])
  })

  it('leaves the probe open', async () => {
    expect((await call('GET /health')).status).toBe(200)
  })

  it('counts the rate limit over requests', async () => {
    const answers = []
    for (let i = 0; i < 3; i++) answers.push(await call('POST /shipments/7/hold', tokens.dispatch))
    expect(answers.map(({ status }) => status)).toEqual([200, 200, 429])
    expect(Number(answers[2]?.headers.get('retry-after'))).toBeGreaterThan(0)
  })
})

const files = readdirSync(EXAMPLES, { recursive: true, encoding: 'utf8' }).filter((file) =>
  /^[\w-]+\/(?:src|policies)\/[\w.-]+$/.test(file),
)

it.each(files)('examples/%s is short enough to be read at one go', (file) => {
  expect(readFileSync(join(EXAMPLES, file), 'utf8').split('\n').length - 1).toBeLessThan(80)
})

it('looks at the files of every example', () => {
  expect([...new Set(files.map((file) => file.split('/')[0]))].sort()).toEqual(readdirSync(EXAMPLES).sort())
})

function compileLegacy(source: string): string {
  return ts.transpileModule(source, {
    compilerOptions: { target: ts.ScriptTarget.ES2022, module: ts.ModuleKind.ESNext, experimentalDecorators: true },
  }).outputText
}
