import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { build } from '../e2e/build.js'
import { openFolder, runCommand } from './command.js'

const POLICY = `name: readers
rules:
  - effect: deny
    actions: ["*:secrets"]
    reason: Secrets are for people
  - effect: allow
    actions: ["read:*"]
`
let folder: string
let close: () => Promise<void>

beforeAll(async () => {
  await build()
  const opened = await openFolder()
  folder = opened.folder
  close = opened.close
  await writeFile(join(folder, 'readers.yaml'), POLICY)
}, 180_000)
afterAll(() => close())

const run = (...args: string[]) => runCommand(args, folder)

describe('wrong use ends with 2 and says what is right', () => {
  it.each([
    [['agnt'], /^error: unknown command 'agnt'\n\(Did you mean agent\?\)/],
    [['agent', 'crate'], /\(Did you mean create\?\)\nSee: meshguard agent --help\n$/],
    [['status', '--jsn'], /^error: unknown option '--jsn'\n\(Did you mean --json\?\)/],
    [['agent', 'create'], /missing required argument 'name'\nSee: meshguard agent create --help\n$/],
    [['agent', 'create', 'x', '--trust', 'much'], /Allowed choices are unverified, verified/],
    [['agent', 'update', 'agent_1'], /^Nothing to change\. Give --name/],
    [['audit', 'query', '--from', 'yesterday'], /Expected a date like 2026-01-31/],
    [['audit', 'tail', '-n', '-1'], /Expected a whole number from 0 on/],
    [['policy', 'test', '--action', 'read:x', '--policies', 'readers.yaml'], /^Who asks\? Give --agent/],
    [['policy', 'test', '--trust', 'basic'], /^What is asked\?/],
    [['policy', 'test', '--trust', 'basic', '--action', 'x:y', '--context', '[]'], /Expected a JSON object/],
    [['status', '--gateway', 'nowhere'], /^--gateway must be a URL like https:\/\/gateway\.example\n$/],
    [['agent', 'list'], /^There is no admin token\. .*set MESHGUARD_ADMIN_TOKEN/],
  ])('%j', async (args, stderr) => {
    const ended = await run(...args)
    expect([ended.code, ended.stdout]).toEqual([2, ''])
    expect(ended.stderr).toMatch(stderr)
  })

  it('prints help to who asks for it, and to who names no command', async () => {
    const [asked, bare] = await Promise.all([run('policy', '--help'), run()])
    expect([asked.code, asked.stderr, bare.code, bare.stdout]).toEqual([0, '', 2, ''])
    expect(asked.stdout).toMatch(/^Usage: meshguard policy/)
    expect(bare.stderr).toMatch(/Exit codes:/)
  })

  it('prints its version', async () => {
    expect(await run('--version')).toEqual({ code: 0, stdout: '0.1.0\n', stderr: '' })
  })
})

describe('a gateway that does not answer', () => {
  it('ends the command with 3 and says how to start one', async () => {
    const { code, stdout, stderr } = await run('status', '--gateway', 'http://127.0.0.1:9')
    expect([code, stdout]).toEqual([3, ''])
    expect(stderr).toBe('Gateway at http://127.0.0.1:9 does not answer. Is it running? Start one with: meshguard serve\n')
  })

  it('is told as JSON to who asked for JSON', async () => {
    const { code, stderr } = await run(
      'agent',
      'list',
      '--json',
      '--gateway',
      'http://127.0.0.1:9',
      '--admin-token',
      'x'.repeat(40),
    )
    expect([code, JSON.parse(stderr).error]).toEqual([3, 'connection'])
  })
})

describe('policy validate', () => {
  it('accepts a good folder, and says what is in it', async () => {
    expect(await run('policy', 'validate', 'readers.yaml')).toEqual({
      code: 0,
      stdout: 'Valid: 1 policy in 1 file\n',
      stderr: '',
    })
    const { stdout } = await run('policy', 'validate', 'readers.yaml', '--json')
    expect(JSON.parse(stdout)).toEqual({ valid: true, policies: ['readers'], files: ['readers.yaml'], warnings: [] })
  })

  it('names file, line and column of what is wrong', async () => {
    await writeFile(join(folder, 'bad.json'), '{"name": "x", "rules": [{"effect": "alow", "actions": ["read:*"]}]}')
    const { code, stdout, stderr } = await run('policy', 'validate', 'bad.json')
    expect([code, stdout]).toEqual([2, ''])
    expect(stderr).toMatch(/^bad\.json:1:36: rules\[0\]\.effect: .*Did you mean "allow"\?\n$/)
    const json = JSON.parse((await run('policy', 'validate', 'bad.json', '--json')).stderr)
    expect(json).toMatchObject({ error: 'validation', issues: [{ file: 'bad.json', line: 1, column: 36 }] })
  })

  it('warns, and counts warnings as failures only when it is told to', async () => {
    await writeFile(
      join(folder, 'wide.yaml'),
      'name: wide\nrules:\n  - effect: allow\n    actions: ["*"]\n  - effect: deny\n    actions: ["admin:*"]\n',
    )
    const { code, stdout } = await run('policy', 'validate', 'wide.yaml')
    expect(code).toBe(0)
    expect(stdout).toMatch(/^wide\.yaml:4:15: warning: Rule "allow \*" .* allows every action/)
    expect(stdout).toMatch(
      /wide\.yaml:5:5: warning: Rule "deny admin:\*" .* never decides.*\(pre-empted\)\nValid: 1 policy in 1 file, 2 warnings\n$/,
    )
    expect((await run('policy', 'validate', 'wide.yaml', '--strict')).code).toBe(1)
  })

  it('warns of rules that no route reaches', async () => {
    await writeFile(join(folder, 'routes.json'), JSON.stringify([{ method: 'POST', pattern: '/x', action: 'write:x' }]))
    const { stdout } = await run('policy', 'validate', 'readers.yaml', '--routes', 'routes.json', '--json')
    expect(JSON.parse(stdout).warnings).toMatchObject([{ kind: 'unreachable-rule' }, { kind: 'unreachable-rule' }])
    expect(await run('policy', 'validate', 'readers.yaml', '--routes', 'readers.yaml')).toMatchObject({ code: 2, stdout: '' })
  })
})

describe('policy test on files', () => {
  const test = (...args: string[]) => run('policy', 'test', '--policies', 'readers.yaml', ...args)

  it('ends with 0 for an allow and 1 for a deny', async () => {
    expect(await test('--trust', 'basic', '--action', 'read:x')).toEqual({
      code: 0,
      stdout: 'ALLOW read:x by readers/"allow read:*"\n',
      stderr: '',
    })
    expect(await test('--trust', 'basic', '--action', 'read:secrets')).toMatchObject({
      code: 1,
      stdout: 'DENY  read:secrets by readers/"deny *:secrets" - Secrets are for people\n',
    })
  })

  it('ends with 2 for what is no action', async () => {
    expect((await test('--trust', 'basic', '--action', 'read:*')).code).toBe(2)
  })

  it('explains every rule with --verbose, and as JSON', async () => {
    const { stdout } = await test('--trust', 'basic', '--action', 'read:x', '--verbose')
    expect(stdout).toMatch(/=> allow read:\*: read:\* covers it/)
    const json = JSON.parse((await test('--trust', 'basic', '--action', 'read:x', '--json')).stdout)
    expect(json).toMatchObject({ decision: 'allow', rule: 'allow read:*', steps: [{ policy: 'readers', applies: true }] })
  })

  it('says that nothing is known of an agent by its id alone', async () => {
    const { code, stderr } = await test('--agent', 'agent_1', '--action', 'read:x')
    expect(code).toBe(0)
    expect(stderr).toMatch(/^Nothing is known of agent_1 here: it is taken for unverified/)
  })

  it('runs a file of tests, and prints what the others expect of it', async () => {
    await writeFile(
      join(folder, 'tests.yaml'),
      `tests:
  - name: reads
    agent: { trustTier: verified, tags: [sales] }
    action: read:contacts
    resource: contacts/42
    context: { amount: 1 }
    expect: allow
    rule: allow read:*
  - { name: writes, agent: agent_1, action: "write:x", expect: deny }
`,
    )
    const good = await test('--file', 'tests.yaml')
    expect([good.code, good.stdout]).toEqual([0, '2 of 2 tests passed\n'])
    const { stdout } = await test('--file', 'tests.yaml', '--json')
    expect(JSON.parse(stdout)).toEqual({
      summary: { total: 2, passed: 2, failed: 0 },
      results: [
        { name: 'reads', passed: true, decision: 'allow', expected: 'allow', policy: 'readers', rule: 'allow read:*' },
        { name: 'writes', passed: true, decision: 'deny', expected: 'deny', reason: 'No rule covers this action' },
      ],
    })
  })

  it('ends with 1 when a test fails, and says how', async () => {
    await writeFile(
      join(folder, 'failing.yaml'),
      'tests:\n  - { name: a, agent: {}, action: "read:secrets", expect: allow }\n  - { name: b, agent: {}, action: "read:x", expect: allow, rule: other }\n',
    )
    const { code, stdout } = await test('--file', 'failing.yaml')
    expect(code).toBe(1)
    expect(stdout).toBe(
      'FAIL a: expected allow, got deny by readers/"deny *:secrets" - Secrets are for people\n' +
        'FAIL b: expected allow by other, got allow by readers/"allow read:*"\n0 of 2 tests passed, 2 failed\n',
    )
  })

  it.each([
    [
      'tests:\n  - { name: a, agent: {}, action: "read:x", expects: allow }\n',
      /bad-tests\.yaml:2:\d+: .*"expect" is missing[\s\S]*Unknown key "expects"\. Did you mean "expect"\?|Unknown key "expects"\. Did you mean "expect"\?[\s\S]*"expect" is missing/,
    ],
    [
      'tests:\n  - name: a\n    agent: {}\n    action: read\n    expect: allow\n',
      /^bad-tests\.yaml:4:13: tests\[0\]\.action: expected an action like "read:contacts"\n$/,
    ],
    [
      'tests:\n  - name: a\n    agent: { trustTier: much }\n    action: read:x\n    expect: allow\n',
      /^bad-tests\.yaml:3:25: tests\[0\]\.agent\.trustTier: expected one of/,
    ],
    ['tests: []\n', /^bad-tests\.yaml:1:8: tests: expected/],
    ['tests: [\n', /^bad-tests\.yaml:2:1: /],
  ])('refuses a bad file of tests: %j', async (text, stderr) => {
    await writeFile(join(folder, 'bad-tests.yaml'), text)
    const ended = await test('--file', 'bad-tests.yaml')
    expect([ended.code, ended.stdout]).toEqual([2, ''])
    expect(ended.stderr).toMatch(stderr)
  })

  it('refuses a file that is not there', async () => {
    expect(await test('--file', 'none.yaml')).toEqual({ code: 2, stdout: '', stderr: 'none.yaml: no such file\n' })
  })
})
