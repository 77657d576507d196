import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmod, mkdir, readdir, readFile, writeFile } from 'node:fs/promises'
import { createServer, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { build } from '../e2e/build.js'
import { type Running, stop } from '../e2e/process.js'
import { startGateway, type World } from '../gateway/gateway-world.js'
import { BIN, openFolder, runCommand, startCommand } from './command.js'

const run = promisify(execFile)
let world: World
let folder: string
let close: () => Promise<void>
const started: Running[] = []
const servers: Server[] = []

beforeAll(async () => {
  await build()
  world = await startGateway()
  const opened = await openFolder()
  folder = opened.folder
  close = opened.close
}, 180_000)
afterEach(async () => {
  await Promise.all(started.splice(0).map(stop))
  for (const server of servers.splice(0)) {
    server.closeAllConnections()
    server.close()
  }
})
afterAll(async () => {
  await world.close()
  await close()
})

const env = () => ({ MESHGUARD_GATEWAY_URL: world.url, MESHGUARD_ADMIN_TOKEN: world.adminToken })
function start(args: string[], more: NodeJS.ProcessEnv = {}, cwd = folder): Running {
  const running = startCommand(args, cwd, { ...env(), ...more })
  started.push(running)
  return running
}

/** Something in the place of a gateway. */
async function answer(
  listener: (headers: Record<string, unknown>, response: ServerResponse) => void,
  port = 0,
): Promise<string> {
  const server = createServer(({ headers }, response) => listener(headers, response)).listen(port, '127.0.0.1')
  servers.push(server)
  await once(server, 'listening')
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
}

/** A gateway that has sent a half of its log, and then sends nothing. */
function halfExport(): Promise<string> {
  return answer((_headers, response) => {
    response.writeHead(200, { 'content-type': 'application/x-ndjson', 'x-meshguard-trace-id': 'half-export' })
    response.write('{"half":true}\n')
  })
}

/** Waits until an export is under way in a folder. */
async function begun(target: string): Promise<void> {
  const temporary = async () => (await readdir(target)).find((name) => name.endsWith('.part'))
  await expect.poll(temporary, { timeout: 10_000, interval: 20 }).toBeDefined()
  await expect
    .poll(async () => readFile(join(target, (await temporary()) ?? ''), 'utf8'), { timeout: 10_000 })
    .toContain('half')
}

describe('an export that does not come to its end', () => {
  it.each([
    ['SIGKILL', null],
    ['SIGTERM', 143],
    ['SIGINT', 130],
  ] as const)('by %s leaves what was there before, and no half of a file', async (signal, code) => {
    const target = join(folder, signal)
    await mkdir(target)
    await writeFile(join(target, 'audit.jsonl'), 'before')
    const running = start(['audit', 'export', '--output', 'audit.jsonl'], { MESHGUARD_GATEWAY_URL: await halfExport() }, target)
    await begun(target)
    running.child.kill(signal)
    expect(await running.ended).toMatchObject({ code, stdout: '', stderr: '' })
    expect(await readFile(join(target, 'audit.jsonl'), 'utf8')).toBe('before')
    if (signal !== 'SIGKILL') expect(await readdir(target)).toEqual(['audit.jsonl'])
  })

  it('because the gateway went away, ends with 3 and leaves nothing', async () => {
    const target = join(folder, 'gone')
    await mkdir(target)
    const url = await halfExport()
    const running = start(['audit', 'export', '--output', 'audit.jsonl'], { MESHGUARD_GATEWAY_URL: url }, target)
    await begun(target)
    servers[0]?.closeAllConnections()
    const { code, stderr } = await running.ended
    expect([code, stderr]).toEqual([3, expect.stringMatching(/the gateway went away|does not answer/)])
    expect(await readdir(target)).toEqual([])
  })
})

describe('tail -f', () => {
  it.each(['SIGINT', 'SIGTERM'] as const)('prints what comes, and ends with 0 and without a word on %s', async (signal) => {
    const { token } = await world.createAgent({ name: `follower-${signal}` })
    const check = () =>
      world.fetch('/proxy/check', { headers: { authorization: `Bearer ${token}`, 'x-meshguard-action': 'read:followed' } })
    await check()
    const running = start(['audit', 'tail', '-f', '-n', '1', '--json'])
    await running.printed(/"action":"read:followed".*\n/)
    await check()
    await running.printed(/"action":"read:followed".*\n.*"action":"read:followed".*\n/)
    running.child.kill(signal)
    const { code, stdout, stderr } = await running.ended
    expect([code, stderr, stdout.trim().split('\n').length]).toEqual([0, '', 2])
  })
})

it('ends without a word when its reader has read enough', async () => {
  const { token } = await world.createAgent()
  const headers = { authorization: `Bearer ${token}`, 'x-meshguard-action': 'read:piped' }
  await Promise.all(Array.from({ length: 60 }, () => world.fetch('/proxy/check', { headers })))
  const line = `"$NODE" "$BIN" audit tail -n 50000 --json 2>err | head -n 1; cat err`
  const { stdout } = await run('bash', ['-o', 'pipefail', '-c', line], {
    cwd: folder,
    env: { ...process.env, ...env(), NODE: process.execPath, BIN },
  })
  expect(stdout.trim().split('\n')).toHaveLength(1)
})

describe('on a terminal', () => {
  /** `script` of util-linux runs a command on a pseudo-terminal. */
  async function onTerminal(command: string, more: NodeJS.ProcessEnv = {}): Promise<{ code: number | null; shown: string }> {
    const { NO_COLOR: _no, FORCE_COLOR: _force, CI: _ci, ...plain } = process.env
    const variables = { ...plain, ...env(), TERM: 'xterm-256color', NODE: process.execPath, BIN, ...more }
    const child = spawn('script', ['-qec', command, '/dev/null'], {
      cwd: folder,
      env: variables,
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    let shown = ''
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      shown += text
    })
    const failed = once(child, 'error').then(([error]) => {
      throw new Error('This test needs "script" of util-linux', { cause: error })
    })
    const [code] = await Promise.race([once(child, 'close'), failed])
    return { code, shown }
  }

  it('prints colours, and a progress line that it takes away again', async () => {
    const { code, shown } = await onTerminal('"$NODE" "$BIN" audit verify')
    expect(code).toBe(0)
    expect(shown).toContain('\r\u001b[KVerifying the audit log…\r\u001b[K')
    expect(shown).toContain('\u001b[32mThe audit log is intact\u001b[39m: ')
  })

  it('prints no colours with NO_COLOR, and elsewhere prints them with FORCE_COLOR', async () => {
    const { shown } = await onTerminal('"$NODE" "$BIN" status', { NO_COLOR: '1' })
    expect(shown).toMatch(/is healthy/)
    expect(shown).not.toContain('\u001b')
    const forced = await runCommand(['status'], folder, { ...env(), FORCE_COLOR: '1' })
    expect(forced.stdout).toContain('\u001b[32mhealthy')
    expect((await runCommand(['status'], folder, env())).stdout).not.toContain('\u001b')
  })
})

describe('the admin token that a gateway left in its data folder', () => {
  it('is used by its owner alone, and is not sent to a gateway that was named', async () => {
    const data = join(folder, 'kept')
    await mkdir(data)
    const file = join(data, 'admin-token')
    await writeFile(file, `${world.adminToken}\n`, { mode: 0o644 })
    await chmod(file, 0o644)
    const plain = { MESHGUARD_GATEWAY_URL: '', MESHGUARD_ADMIN_TOKEN: '', DATA_DIR: data }
    const open = await start(['agent', 'list'], plain).ended
    expect([open.code, open.stderr]).toEqual([2, expect.stringMatching(/can be read by others, so it is not used/)])

    await chmod(file, 0o600)
    const named = await start(['agent', 'list', '--gateway', world.url], plain).ended
    expect([named.code, named.stderr]).toEqual([2, expect.stringMatching(/^There is no admin token/)])
    // Whatever listens on the default port of this machine, or nothing: the token was found.
    const found = await start(['agent', 'list'], plain).ended
    expect(found.stderr).not.toMatch(/There is no admin token/)
  })
})
