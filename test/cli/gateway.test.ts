import { mkdir, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { build } from '../e2e/build.js'
import { startGateway, type World } from '../gateway/gateway-world.js'
import { openFolder, runCommand } from './command.js'

let world: World
let folder: string
let close: () => Promise<void>

beforeAll(async () => {
  await build()
  world = await startGateway()
  const opened = await openFolder()
  folder = opened.folder
  close = opened.close
}, 180_000)
afterAll(async () => {
  await world.close()
  await close()
})

const env = () => ({ MESHGUARD_GATEWAY_URL: world.url, MESHGUARD_ADMIN_TOKEN: world.adminToken })
const run = (...args: string[]) => runCommand(args, folder, env())
const json = async (...args: string[]) => {
  const { code, stdout, stderr } = await run(...args, '--json')
  expect([code, stderr], args.join(' ')).toEqual([0, ''])
  return JSON.parse(stdout)
}
const check = (token: string, action: string) =>
  world.fetch('/proxy/check', { headers: { authorization: `Bearer ${token}`, 'x-meshguard-action': action } })

it('status says how the gateway is', async () => {
  const { code, stdout } = await run('status')
  expect(code).toBe(0)
  expect(stdout).toMatch(new RegExp(`^Gateway at ${world.url} is healthy\nversion +0\\.1\\.0\nmode +enforce\n`))
  expect(await json('status')).toMatchObject({ status: 'healthy', mode: 'enforce' })
})

it('takes the flags over the environment', async () => {
  const args = ['agent', 'list', '--json', '--gateway', world.url, '--admin-token', world.adminToken]
  const wrong = { MESHGUARD_GATEWAY_URL: 'http://127.0.0.1:9', MESHGUARD_ADMIN_TOKEN: 'wrong' }
  expect((await runCommand(args, folder, wrong)).code).toBe(0)
})

it('ends with 2, not with 1, when the gateway does not take the admin token', async () => {
  const { code, stderr } = await runCommand(['policy', 'test', '--trust', 'basic', '--action', 'a:b'], folder, {
    ...env(),
    MESHGUARD_ADMIN_TOKEN: 'x'.repeat(40),
  })
  expect(code).toBe(2)
  expect(stderr).toMatch(/does not take this admin token .*--admin-token or MESHGUARD_ADMIN_TOKEN\n$/)
  expect(stderr).not.toContain('xxx')
})

describe('agents', () => {
  it('are made, shown, changed, listed and revoked', async () => {
    const made = await run('agent', 'create', 'scout', '--trust', 'basic', '--tags', 'sales, eu', '--metadata', '{"team":"a"}')
    const [, id = ''] = /^Created scout \(verified\): (agent_\w+)$/m.exec(made.stdout) ?? []
    const [, token = ''] = /^Token, shown this once:\n(\S+)$/m.exec(made.stdout) ?? []
    expect((await check(token, 'read:x')).status).toBe(200)
    expect(await json('agent', 'show', id)).toMatchObject({ name: 'scout', tags: ['sales', 'eu'], metadata: { team: 'a' } })
    expect(await json('agent', 'update', id, '--trust', 'trusted', '--tags', '')).toMatchObject({
      trustTier: 'trusted',
      tags: [],
    })
    expect((await run('agent', 'list', '--trust', 'trusted')).stdout).toMatch(
      new RegExp(`^ID +NAME +TRUST +TAGS +STATUS +LAST SEEN\n${id} +scout +trusted +- +active`),
    )
    expect((await run('agent', 'revoke', id)).stdout).toBe(`Revoked ${id}\n`)
    expect((await check(token, 'read:x')).status).toBe(401)
    expect((await json('agent', 'list', '--status', 'revoked')).agents).toMatchObject([{ id }])
    expect((await run('agent', 'token', id)).code).toBe(2)
  })

  it('have their token in a file that nobody else can read, and nowhere else', async () => {
    const file = join(folder, 'scout.token')
    const made = await json('agent', 'create', 'quiet', '--output', file)
    const token = (await readFile(file, 'utf8')).trim()
    expect((await stat(file)).mode & 0o777).toBe(0o600)
    expect((await check(token, 'read:x')).status).toBe(200)
    expect(JSON.stringify(made)).not.toContain(token)
    const issued = await run('agent', 'token', made.id, '--expires-in', '1h', '--revoke-previous')
    expect(issued.stdout).toMatch(/^Issued a token for agent_\w+, good until \d{4}-/)
    expect((await check(token, 'read:x')).status).toBe(401)
  })

  it('are not made when there is no place for the token', async () => {
    await writeFile(join(folder, 'taken'), 'x')
    const before = (await json('agent', 'list')).agents.length
    expect(await run('agent', 'create', 'x', '--output', 'taken')).toEqual({
      code: 2,
      stdout: '',
      stderr: 'taken is there already. Remove it, or name another file\n',
    })
    expect((await run('agent', 'create', 'x', '--output', 'no/such')).stderr).toMatch(/its folder does not exist/)
    expect((await json('agent', 'list')).agents).toHaveLength(before)
    expect(await readFile(join(folder, 'taken'), 'utf8')).toBe('x')
  })

  it('that nobody knows are named', async () => {
    const { code, stderr } = await run('agent', 'show', 'agent_none')
    expect([code, stderr]).toEqual([2, expect.stringContaining('agent_none')])
  })

  it('do nothing to a terminal, whatever their names hold', async () => {
    await world.createAgent({ name: 'a\u001b[31m\u202e\nb' })
    const { stdout } = await run('agent', 'list')
    expect(stdout).toContain('a\\u001b[31m\\u202e\\nb')
    expect(stdout).not.toContain('\u001b')
  })
})

describe('policies', () => {
  const write = (name: string, effect: string) =>
    `name: ${name}\nrules:\n  - effect: ${effect}\n    actions: ["write:${name}"]\n    rateLimit: { requests: 5, per: 1m }\n`

  it('are applied from a folder, shown, tested and deleted', async () => {
    const policies = join(folder, 'some')
    await mkdir(policies)
    await writeFile(join(policies, 'a.yaml'), `${write('one', 'allow')}---\n${write('two', 'allow')}`)
    expect(await run('policy', 'apply', policies)).toEqual({ code: 0, stdout: 'Applied one, two\n', stderr: '' })
    expect((await run('policy', 'list')).stdout).toMatch(/^one +1 +api[\s\S]*^test +2 +file/m)
    const shown = await run('policy', 'show', 'one')
    await writeFile(join(folder, 'again.json'), shown.stdout)
    expect((await run('policy', 'apply', join(folder, 'again.json'))).code).toBe(0)
    expect((await run('policy', 'test', '--trust', 'basic', '--action', 'write:one')).code).toBe(0)
    expect((await run('policy', 'test', '--trust', 'basic', '--action', 'write:one', '--policy', 'two')).code).toBe(1)
    expect((await run('policy', 'delete', 'one')).stdout).toBe('Deleted one\n')
    expect((await run('policy', 'show', 'one')).code).toBe(2)
  })

  it('of a folder that went bad are named with their place, and the last good ones are listed', async () => {
    expect((await json('policy', 'list')).problem).toBeUndefined()
    const { policiesDir = '' } = world.gateway.config
    const bad = join(policiesDir, 'bad.yaml')
    await writeFile(bad, 'name: bad\nrules:\n  - effect: alow\n    actions: ["read:*"]\n')
    await expect.poll(async () => (await run('status')).code, { timeout: 10_000 }).toBe(1)
    expect((await run('status')).stderr).toBe('Why the policies are not in force: meshguard policy list\n')
    const { code, stdout, stderr } = await run('policy', 'list')
    expect([code, stdout]).toEqual([0, expect.stringMatching(/^test +2 +file/m)])
    expect(stderr).toMatch(/^Not in force, so the last good policies are: .*bad\.yaml:3:13: .*Did you mean "allow"\?\n$/)
    await rm(bad)
    await expect.poll(async () => (await run('status')).code, { timeout: 10_000 }).toBe(0)
  })

  it('of files are refused before anything is applied', async () => {
    await writeFile(join(folder, 'mixed.yaml'), `${write('fresh', 'allow')}---\n${write('test', 'allow')}`)
    const { code, stderr } = await run('policy', 'apply', 'mixed.yaml')
    expect([code, stderr]).toEqual([2, expect.stringMatching(/^Nothing was applied: test belongs to a file/)])
    expect((await run('policy', 'show', 'fresh')).code).toBe(2)
  })

  it('are asked for registered agents, one by one and by file', async () => {
    const { id } = await world.createAgent()
    expect((await run('policy', 'test', '--agent', id, '--action', 'read:x')).code).toBe(0)
    await writeFile(
      join(folder, 'tests.yaml'),
      `tests:\n  - { name: reads, agent: ${id}, action: "read:x", expect: allow }\n  - { name: fails, agent: ${id}, action: "read:x", expect: deny }\n`,
    )
    const { code, stdout } = await run('policy', 'test', '--file', 'tests.yaml', '--json')
    expect([code, JSON.parse(stdout).summary]).toEqual([1, { total: 2, passed: 1, failed: 1 }])
    expect((await run('policy', 'test', '--agent', 'agent_none', '--action', 'read:x')).code).toBe(2)
  })
})

describe('the audit log', () => {
  it('is read by its latest entries, by query, by trace and in sum', async () => {
    const { token, id } = await world.createAgent({ name: 'audited' })
    const denied = await check(token, 'write:audited')
    await check(token, 'read:audited')
    const trace = denied.headers.get('x-meshguard-trace-id') as string
    expect((await run('audit', 'tail', '-n', '2')).stdout).toMatch(
      /^\S+Z DENY {2}audited write:audited no_match .*\n\S+Z ALLOW audited read:audited allowed by test\/"allow read:\*" trace \S+\n$/,
    )
    expect((await json('audit', 'query', '--agent', id, '--decision', 'deny')).entries).toMatchObject([{ traceId: trace }])
    expect((await json('audit', 'query', '--action', 'write:aud*', '--from', '1h', '--limit', '1')).entries).toHaveLength(1)
    await run('agent', 'update', id, '--tags', 'seen')
    expect((await run('audit', 'query', '--action', 'admin:*', '--limit', '1')).stdout).toMatch(
      /^\S+Z ALLOW \(admin token\) admin:agents\/update agents\/\S+ administered trace \S+\n$/,
    )
    expect((await run('audit', 'query', '--to', '2020-01-01')).stderr).toBe('No entry fits.\n')
    expect((await json('audit', 'trace', trace)).entries).toMatchObject([{ action: 'write:audited' }])
    expect(await json('audit', 'stats', '--period', '1h')).toMatchObject({ period: '1h', total: expect.any(Number) })
    expect((await run('audit', 'stats')).stdout).toMatch(/^denied +\d+$/m)
    expect((await run('audit', 'verify')).stdout).toMatch(/^The audit log is intact: \d+ entries\n$/)
  })

  it('is exported whole, to stdout and into a file that it replaces', async () => {
    const { stdout } = await run('audit', 'export')
    const lines = stdout
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line))
    expect(lines.length).toBeGreaterThan(1)
    await writeFile(join(folder, 'audit.csv'), 'old')
    expect((await run('audit', 'export', '--format', 'csv', '--output', 'audit.csv')).stdout).toMatch(
      /^Wrote [\d.]+ k?B to audit\.csv\n$/,
    )
    expect(await readFile(join(folder, 'audit.csv'), 'utf8')).toMatch(/^id,timestamp,/)
    expect((await readdir(folder)).filter((name) => name.endsWith('.part'))).toEqual([])
    expect((await run('audit', 'export', '--output', '.')).stderr).toBe('. is a folder. Name a file in it\n')
  })
})

describe('tokens and delegations', () => {
  it('are made, listed and revoked', async () => {
    const made = await json('token', 'create', 'orders', '--scopes', 'decide', 'audit:read', '--expires-in', '1h')
    expect(made).toMatchObject({ token: expect.stringMatching(/^msvc_/), scopes: ['decide', 'audit:read'] })
    const commas = await json('token', 'create', 'commas', '--scopes', 'decide,audit:write', 'bundle')
    expect(commas.scopes).toEqual(['decide', 'audit:write', 'bundle'])
    const wrong = await run('token', 'create', 'wrong', '--scopes', 'decide,audit')
    expect([wrong.code, wrong.stderr]).toEqual([2, expect.stringContaining('Allowed choices are decide, bundle,')])
    await run('token', 'revoke', commas.id)
    expect((await run('token', 'list')).stdout).toMatch(/^ID .*\n\S+ +orders +decide, audit:read/)
    expect((await run('token', 'revoke', made.id)).code).toBe(0)
    expect((await run('token', 'revoke', made.id)).code).toBe(2)
  })

  it('let one agent act for another, until they are revoked', async () => {
    const [from, to] = [await world.createAgent(), await world.createAgent()]
    const args = ['--from', from.id, '--to', to.id, '--actions', 'read:*', '--expires-in', '1h']
    const made = await json('delegation', 'create', ...args)
    expect((await check(made.token, 'read:x')).status).toBe(200)
    expect((await run('delegation', 'list')).stdout).toMatch(new RegExp(`${made.id} +${from.id} +${to.id} +read:\\*`))
    expect((await run('delegation', 'revoke', made.id)).code).toBe(0)
    expect((await check(made.token, 'read:x')).status).toBe(401)
  })
})
