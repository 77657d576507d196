import { execFile, spawn } from 'node:child_process'
import { copyFile, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'

const run = promisify(execFile)
const ROOT = resolve(import.meta.dirname, '../..')
const PACKAGES = ['core', 'express', 'koa', 'hono', 'fastify', 'client', 'gateway', 'cli', 'langchain']
const MINUTES_5 = 300_000

let folder: string
const tarballs = new Map<string, string>()

beforeAll(async () => {
  await run('npx', ['tsc', '-b'], { cwd: ROOT })
  folder = await mkdtemp(join(tmpdir(), 'meshguard-packed-'))
  for (const name of PACKAGES) {
    const { stdout } = await run('npm', ['pack', '--json', '--pack-destination', folder, '-w', `packages/${name}`], {
      cwd: ROOT,
    })
    tarballs.set(name, join(folder, Object.values<{ filename: string }>(JSON.parse(stdout))[0]?.filename ?? ''))
  }
}, MINUTES_5)

afterAll(() => rm(folder, { recursive: true, force: true }))

describe.each(PACKAGES)('the packed @meshguard/%s', (name) => {
  it(
    'has nothing that publint complains of',
    async () => {
      const { stdout } = await run('npx', ['publint', '--strict', tarballs.get(name) as string], { cwd: ROOT })
      expect(stdout).toMatch(/All good/)
    },
    MINUTES_5,
  )

  it(
    'resolves with its types for ESM and for require(esm)',
    async () => {
      const { stdout } = await run('npx', ['attw', tarballs.get(name) as string, '--profile', 'esm-only', '--no-emoji'], {
        cwd: ROOT,
      })
      expect(stdout).toMatch(/node16 \(from ESM\).*OK \(ESM\)/)
    },
    MINUTES_5,
  )

  it('holds its licence and README, and no tests or build leftovers', async () => {
    const { stdout } = await run('tar', ['tzf', tarballs.get(name) as string])
    const files = stdout.trim().split('\n')
    expect(files).toContain('package/README.md')
    expect(files).toContain('package/LICENSE')
    expect(files.filter((file) => /tsbuildinfo|\.test\./.test(file))).toEqual([])
  })
})

describe('the tarballs in an empty folder', () => {
  let app: string

  beforeAll(async () => {
    app = await mkdtemp(join(tmpdir(), 'meshguard-installed-'))
    await writeFile(join(app, 'package.json'), JSON.stringify({ name: 'app', private: true }))
    const peers = [
      'express@5.3.0',
      'koa@3.3.0',
      '@koa/router@15.7.0',
      'hono@4.13.19',
      'fastify@5.12.8',
      '@langchain/core@1',
      'langchain@1',
    ]
    await run('npm', ['install', '--no-audit', '--no-fund', '--prefer-offline', ...tarballs.values(), ...peers], { cwd: app })
  }, MINUTES_5)

  afterAll(() => rm(app, { recursive: true, force: true }))

  it('install @meshguard/core once', async () => {
    expect((await readdir(join(app, 'node_modules/@meshguard'))).sort()).toEqual([...PACKAGES].sort())
  })

  const program = `
    const policies = [{ name: 'readers', rules: [{ effect: 'allow', actions: ['read:contacts'] }] }]
    async function main() {
      const { privateKey, publicKey } = await generateKeys()
      const token = await mintAgentToken({ id: 'agent_1', key: privateKey })
      const guard = createGuard({ source: fromPolicies(policies), authenticate: agentTokens({ publicKey }) })
      const app = createProtect(guard)(express())
      app.get('/contacts', (req, res) => res.json({ contacts: [], agent: decisionOf(req).agentId }))
      app.delete('/contacts/:id', (req, res) => res.json({ deleted: true }))
      const server = app.listen(0, '127.0.0.1', async () => {
        const origin = 'http://127.0.0.1:' + server.address().port
        const headers = { authorization: 'Bearer ' + token }
        const listed = await fetch(origin + '/contacts', { headers })
        const deleted = await fetch(origin + '/contacts/1', { method: 'DELETE', headers })
        const nobody = await fetch(origin + '/contacts')
        console.log(JSON.stringify([listed.status, await listed.json(), deleted.status, nobody.status]))
        server.close()
      })
    }
    main()`

  it.each([
    [
      'ESM',
      'app.mjs',
      `import { agentTokens, createGuard, fromPolicies, generateKeys, mintAgentToken } from '@meshguard/core'
       import { createProtect, decisionOf } from '@meshguard/express'
       import express from 'express'`,
    ],
    [
      'CommonJS',
      'app.cjs',
      `const { agentTokens, createGuard, fromPolicies, generateKeys, mintAgentToken } = require('@meshguard/core')
       const { createProtect, decisionOf } = require('@meshguard/express')
       const express = require('express')`,
    ],
  ])(
    'run an application written in %s',
    async (_kind, file, imports) => {
      await writeFile(join(app, file), imports + program)
      const { stdout } = await run('node', [file], { cwd: app })
      expect(JSON.parse(stdout)).toEqual([200, { contacts: [], agent: 'agent_1' }, 403, 401])
    },
    MINUTES_5,
  )

  it.each(['koa-api', 'fastify-api', 'express-decorators'])(
    'run examples/%s as it is compiled',
    async (example) => {
      await copyFile(join(ROOT, 'examples', example, 'dist/index.js'), join(app, `${example}.mjs`))
      const child = spawn('node', [`${example}.mjs`], { cwd: app, env: { ...process.env, PORT: '0' } })
      try {
        const call = await new Promise<string>((resolve, reject) => {
          let printed = ''
          child.stdout.on('data', (chunk) => {
            printed += chunk
            const line = printed.split('\n').find((one) => one.startsWith('curl') && printed.includes(`${one}\n`))
            if (line !== undefined) resolve(line)
          })
          child.once('exit', (code) => reject(new Error(`${example} ended with ${code}: ${printed}`)))
        })
        const { stdout } = await run('sh', ['-c', `${call} -s -o /dev/null -w '%{http_code}'`])
        expect(stdout).toBe('200')
      } finally {
        child.kill()
      }
    },
    30_000,
  )

  it.each([
    ['koa', 'createProtect'],
    ['hono', 'createProtect'],
    ['fastify', 'createProtect'],
    ['client', 'MeshGuardClient'],
    ['gateway', 'createGateway'],
    ['langchain', 'governedTool'],
  ])('let CommonJS require @meshguard/%s', async (name, exported) => {
    const { stdout } = await run('node', ['-e', `console.log(typeof require('@meshguard/${name}').${exported})`], {
      cwd: app,
    })
    expect(stdout.trim()).toBe('function')
  })

  it('put the meshguard command on the path', async () => {
    const { stdout } = await run(join(app, 'node_modules/.bin/meshguard'), ['--version'])
    expect(stdout).toMatch(/^\d+\.\d+\.\d+\n$/)
  })
})
