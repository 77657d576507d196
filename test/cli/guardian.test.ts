import { once } from 'node:events'
import { mkdir, readdir, symlink, writeFile } from 'node:fs/promises'
import { createServer as createHttpServer } from 'node:http'
import { type AddressInfo, createServer } from 'node:net'
import { join } from 'node:path'
import { generateKeys, mintAgentToken } from '@meshguard/core'
import { signBundle } from '@meshguard/core/bundle'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { build } from '../e2e/build.js'
import { type Running, stop } from '../e2e/process.js'
import { ADMIN_TOKEN, type Served, serve } from '../e2e/serve.js'
import { openFolder, startCommand } from './command.js'

let folder: string
let close: () => Promise<void>
const running: Running[] = []

beforeAll(async () => {
  await build()
  const opened = await openFolder()
  folder = opened.folder
  close = opened.close
}, 180_000)
afterEach(() => Promise.all(running.splice(0).map(stop)))
afterAll(() => close())

/** A gateway as a process, with a service token for guardians and an agent's token in files. */
async function openGateway(name: string, env: NodeJS.ProcessEnv = {}) {
  const gateway = await serve(join(folder, name), env)
  running.push(gateway.running)
  const { token: service } = await gateway.admin<{ token: string }>('/tokens', {
    name: 'guard',
    scopes: ['bundle', 'audit:write'],
  })
  const agent = await gateway.admin<{ id: string; token: string }>('/agents', { name: 'scout' })
  const home = join(folder, `${name}-guardian`)
  await mkdir(home)
  await writeFile(join(home, 'service.token'), `${service}\n`)
  await writeFile(join(home, 'agent.token'), `${agent.token}\n`)
  return { gateway, agent, home, service }
}

interface Guardian {
  readonly process: Running
  readonly url: string
  enforce(action: string, token?: string, body?: object): Promise<{ status: number; body: Record<string, unknown> }>
}

async function guardian(home: string, gateway: Pick<Served, 'url'>, args: string[] = []): Promise<Guardian> {
  const process = start(home, ['--gateway', gateway.url, '--port', '0', '--token-file', 'service.token', ...args])
  const [, url = ''] = await process.printed(
    /MeshGuard guardian listens on (http:\/\/127\.0\.0\.1:\d+)[\s\S]*Ctrl-C stops it\.\n/,
  )
  return {
    process,
    url,
    async enforce(action, token, body = {}) {
      const answer = await fetch(`${url}/enforce`, {
        method: 'POST',
        headers: { 'content-type': 'application/json', ...(token !== undefined && { authorization: `Bearer ${token}` }) },
        body: JSON.stringify({ action, ...body }),
      })
      return { status: answer.status, body: (await answer.json()) as Record<string, unknown> }
    },
  }
}

function start(home: string, args: string[]): Running {
  const started = startCommand(['guardian', ...args], home, { MESHGUARD_SERVICE_TOKEN: '' })
  running.push(started)
  return started
}

/** Asks until it is so. */
async function until(isSo: () => Promise<boolean>): Promise<void> {
  while (!(await isSo())) await new Promise((resolve) => setTimeout(resolve, 20))
}

async function end({ child, ended }: Running): Promise<{ code: number | null; stdout: string }> {
  child.kill('SIGTERM')
  return ended
}

describe('guardian', () => {
  it('decides as its gateway does, hears of changes, ships what it decided, and stops with 0 on SIGTERM', async () => {
    const { gateway, agent, home } = await openGateway('agreeing')
    const { process, url, enforce } = await guardian(home, gateway)
    for (const action of ['read:contacts', 'write:contacts', 'read:secrets', 'delete:all']) {
      const headers = { authorization: `Bearer ${agent.token}`, 'x-meshguard-action': action }
      const answers = await Promise.all([url, gateway.url].map((base) => fetch(`${base}/proxy/check`, { headers })))
      const [seen, expected] = await Promise.all(
        answers.map(async (answer) => ({ ...((await answer.json()) as object), traceId: '', status: answer.status })),
      )
      expect(seen).toEqual(expected)
    }
    expect((await enforce('read:contacts')).status).toBe(401)

    const allowed = await enforce('read:contacts', agent.token)
    expect(allowed).toMatchObject({ status: 200, body: { decision: 'allow', policy: 'readers', mode: 'enforce' } })
    await fetch(`${gateway.url}/admin/agents/${agent.id}`, {
      method: 'DELETE',
      headers: { 'x-admin-token': ADMIN_TOKEN },
    })
    await until(async () => (await enforce('read:contacts', agent.token)).status === 401)

    const { code, stdout } = await end(process)
    expect([code, stdout]).toEqual([0, expect.stringMatching(/\nStopping\.\n$/)])
    const { entries } = await gateway.admin<{ entries: Record<string, unknown>[] }>(`/audit?traceId=${allowed.body['traceId']}`)
    const shipped = { action: 'read:contacts', agentId: agent.id, decision: 'allow', source: 'bundle', claimed: true }
    expect(entries).toMatchObject([shipped])
  })

  it('starts from its cache with the gateway killed, decides for the agent beside it, and ships that once the gateway is back', async () => {
    const { gateway, agent, home } = await openGateway('gone')
    const own = ['--agent-token-file', 'agent.token']
    const first = await guardian(home, gateway, own)
    const online = await first.enforce('read:contacts')
    expect(online).toMatchObject({ status: 200, body: { decision: 'allow' } })
    await stop(gateway.running)
    expect((await first.enforce('read:contacts')).body).toMatchObject({ decision: 'allow' })
    expect((await end(first.process)).code).toBe(0)
    expect(await readdir(join(home, '.meshguard'))).toEqual(['bundle.jws', 'bundle.jws.keys', 'guardian-audit'])

    const second = await guardian(home, gateway, own)
    const offline = await second.enforce('read:contacts', undefined, { agentId: agent.id })
    expect(offline).toMatchObject({ status: 200, body: { decision: 'allow', bundleVersion: online.body['bundleVersion'] } })
    expect((await second.enforce('delete:contacts')).body).toMatchObject({ decision: 'deny' })
    expect((await second.enforce('read:contacts', undefined, { agentId: 'other' })).status).toBe(401)
    expect((await fetch(`${second.url}/health`)).status).toBe(200)
    expect((await end(second.process)).code).toBe(0)

    const page = createHttpServer((_, answer) => answer.writeHead(502).end('<html>')).listen(0, '127.0.0.1')
    await once(page, 'listening')
    const behind = await guardian(home, { url: `http://127.0.0.1:${(page.address() as AddressInfo).port}` }, own)
    expect((await behind.enforce('read:contacts')).body).toMatchObject({ decision: 'allow' })
    await stop(behind.process)
    page.close()

    const waiting = await guardian(home, gateway, [...own, '--poll', '1s', '--audit-folder', 'waiting'])
    expect((await waiting.enforce('read:contacts')).body).toMatchObject({ decision: 'allow' })

    const again = await serve(join(folder, 'gone'), { PORT: new URL(gateway.url).port })
    running.push(again.running)
    await guardian(home, gateway)
    await until(async () => {
      const { entries } = await again.admin<{ entries: unknown[] }>(`/audit?traceId=${offline.body['traceId']}`)
      return entries.length === 1
    })
    await again.admin('/keys/rotate', { key: 'bundle' }) // a key that is not in the copy with which it began
    await until(async () => {
      const { body } = await waiting.enforce('read:contacts')
      return (body['bundleVersion'] as number) > (online.body['bundleVersion'] as number)
    })
  })

  it('decides by no bundle that is older than --max-staleness', async () => {
    const { publicKey, privateKey } = await generateKeys()
    const home = join(folder, 'stale')
    await mkdir(home)
    await writeFile(join(home, 'key.json'), JSON.stringify(publicKey))
    await writeFile(join(home, 'service.token'), 'msvc_nobody')
    const token = await mintAgentToken({ id: 'scout', trustTier: 'verified', key: privateKey })
    const at = (ms: number) => new Date(Date.now() + ms).toISOString()
    const policies = [{ name: 'readers', rules: [{ effect: 'allow' as const, actions: ['read:*' as const] }] }]
    const content = { version: 1, policies, agents: {}, delegations: [], jwks: { keys: [publicKey] } }
    const document = { ...content, issuedAt: at(-2 * 3_600_000), expiresAt: at(3_600_000) }
    await writeFile(join(home, 'bundle.jws'), await signBundle(document, { key: privateKey }))
    const statusWith = async (maxStaleness: string) => {
      const options = ['--public-key', 'key.json', '--cache', 'bundle.jws', '--max-staleness', maxStaleness]
      const { url, enforce, process } = await guardian(home, { url: 'http://127.0.0.1:9' }, options)
      const statuses = [(await enforce('read:contacts', token)).status, (await fetch(`${url}/health`)).status]
      await end(process)
      return statuses
    }
    expect(await statusWith('3h')).toEqual([200, 200])
    expect(await statusWith('1h')).toEqual([503, 503])
  })

  it('shares its audit folder with no other, and begins at once after one that was killed', async () => {
    const { gateway, home } = await openGateway('shared')
    const first = await guardian(home, gateway)
    const second = await start(home, ['--gateway', gateway.url, '--port', '0', '--token-file', 'service.token']).ended
    expect([second.code, second.stdout]).toEqual([2, ''])
    expect(second.stderr).toMatch(
      new RegExp(
        `^--audit-folder: cannot use the folder .*guardian-audit": process ${first.process.child.pid} .* a folder of its own`,
      ),
    )
    first.process.child.kill('SIGKILL')
    await first.process.ended
    await guardian(home, gateway)
  })

  it('waits for a gateway that is not there yet, and answers 503 meanwhile', async () => {
    const { gateway, agent, home } = await openGateway('late')
    const port = new URL(gateway.url).port
    await stop(gateway.running)
    const waiting = await guardian(home, gateway, ['--poll', '1s'])
    expect(waiting.process.output()).toContain('There is no bundle yet')
    expect((await waiting.enforce('read:contacts', agent.token)).status).toBe(503)
    running.push((await serve(join(folder, 'late'), { PORT: port })).running)
    await until(async () => (await waiting.enforce('read:contacts', agent.token)).status === 200)
  })

  it('decides although the disk of its cache is full, and says what that costs', async () => {
    const { gateway, agent, home } = await openGateway('full')
    await symlink('/dev/full', join(home, 'bundle.jws.keys'))
    const full = await guardian(home, gateway, ['--cache', 'bundle.jws'])
    expect((await full.enforce('read:contacts', agent.token)).body).toMatchObject({ decision: 'allow' })
    full.process.child.kill('SIGTERM')
    expect((await full.process.ended).stderr).toMatch(
      /^bundle\.jws\.keys cannot be written: the disk is full \(ENOSPC\).*away\n/,
    )
  })

  it('says as JSON where it listens, and records only in audit mode', async () => {
    const { gateway, agent, home } = await openGateway('json')
    const process = start(home, [
      '--gateway',
      gateway.url,
      '--port',
      '0',
      '--token-file',
      'service.token',
      '--mode',
      'audit',
      '--no-audit',
      '--json',
    ])
    const [line] = await process.printed(/^\{.*\}$/m)
    const said = JSON.parse(line)
    expect(said).toMatchObject({ gateway: gateway.url, mode: 'audit', audit: false, bundleVersion: expect.any(Number) })
    const headers = { authorization: `Bearer ${agent.token}`, 'x-meshguard-action': 'delete:all' }
    const answer = await fetch(`${said.url}/proxy/check`, { headers })
    expect([answer.status, answer.headers.get('x-meshguard-audit')]).toEqual([200, 'deny'])
  })

  it('names what is wrong with its options, and starts nothing', async () => {
    const { gateway, home, service } = await openGateway('wrong')
    const taken = createServer().listen(0, '127.0.0.1')
    await once(taken, 'listening')
    const { port } = taken.address() as AddressInfo
    const good = ['--gateway', gateway.url, '--token-file', 'service.token']
    const weak = await gateway.admin<{ token: string }>('/tokens', { name: 'weak', scopes: ['decide'] })
    await writeFile(join(home, 'weak.token'), weak.token)
    const { publicKey, privateKey } = await generateKeys()
    await writeFile(join(home, 'other.json'), JSON.stringify(publicKey))
    await writeFile(join(home, 'private.json'), JSON.stringify(privateKey))
    const wrong: [string[], RegExp][] = [
      [['--gateway', gateway.url], /^There is no service token.*--scopes bundle audit:write/],
      [[...good, '--port', '70000'], /--port.*0 to 65535/],
      [
        [...good, '--port', String(port)],
        new RegExp(`^Port ${port} is taken\\. Choose another: meshguard guardian --port \\d+\n`),
      ],
      [[...good, '--host', '192.0.2.1', '--port', '0'], /^192\.0\.2\.1 is no address of this machine/],
      [[...good, '--mode', 'bypass'], /--mode.*enforce, audit/],
      [[...good, '--poll', 'often'], /--poll.*30s/],
      [[...good, '--max-staleness', '0s'], /--max-staleness.*6h/],
      [[...good, '--agent-token-file', 'none'], /^none: no such file/],
      [[...good, '--agent-token-file', 'agent.token', '--host', '0.0.0.0'], /^--agent-token-file is for .*--host 0\.0\.0\.0/],
      [[...good, '--public-key', 'service.token'], /^service\.token holds no public key/],
      [[...good, '--public-key', 'private.json'], /^private\.json holds a private key\. Give --public-key the key that/],
      [
        [...good, '--port', '0', '--public-key', 'other.json', '--cache', 'o/b'],
        /not signed by .*--gateway and --public-key\n$/,
      ],
      [[...good, '--cache', 'service.token/x/bundle.jws'], /^--cache: the folder of/],
      [[...good, '--audit-folder', 'service.token/x'], /^--audit-folder: /],
      [['--gateway', 'nowhere', '--token-file', 'service.token'], /must be the URL of a gateway/],
      [
        ['--gateway', gateway.url, '--token-file', 'weak.token', '--port', '0', '--cache', 'weak/bundle.jws'],
        /lacks the scope "bundle"\)\. Look at --gateway and --token-file\n$/,
      ],
    ]
    const folders = (i: number) => (wrong[i]?.[0].includes('--audit-folder') ? [] : ['--audit-folder', `audit-${i}`])
    const ended = await Promise.all(wrong.map(async ([args], i) => start(home, [...args, ...folders(i)]).ended))
    taken.close()
    for (const [i, { code, stdout, stderr }] of ended.entries()) {
      const [args, message] = wrong[i] as [string[], RegExp]
      expect([args, code, stdout]).toEqual([args, 2, ''])
      expect(stderr).toMatch(message)
      expect(stderr).not.toContain(service)
    }
  })
})
