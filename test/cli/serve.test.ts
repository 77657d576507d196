import { once } from 'node:events'
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import type { AddressInfo } from 'node:net'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { build } from '../e2e/build.js'
import { type Running, stop } from '../e2e/process.js'
import { openFolder, runCommand, startCommand } from './command.js'

let folder: string
let close: () => Promise<void>
const started: Running[] = []

beforeAll(async () => {
  await build()
  const opened = await openFolder()
  folder = opened.folder
  close = opened.close
  await mkdir(join(folder, 'policies'))
  await writeFile(join(folder, 'policies/readers.yaml'), 'name: readers\nrules:\n  - effect: allow\n    actions: ["read:*"]\n')
}, 180_000)
afterEach(() => Promise.all(started.splice(0).map(stop)))
afterAll(() => close())

function serve(args: string[], env: NodeJS.ProcessEnv = {}): Running {
  const running = startCommand(['serve', ...args], folder, { LOG_LEVEL: 'silent', ...env })
  started.push(running)
  return running
}

describe('serve', () => {
  it.each(['SIGINT', 'SIGTERM'] as const)(
    'says where it listens, keeps its admin token to itself, and stops on %s',
    async (signal) => {
      const data = join(folder, signal)
      const running = serve(['--port', '0', '--policies', 'policies'], { DATA_DIR: data, MODE: 'audit' })
      const [shown, url = ''] = await running.printed(
        /MeshGuard gateway listens on (http:\/\/127\.0\.0\.1:\d+)[\s\S]*Ctrl-C stops it\.\n/,
      )
      expect(shown).toMatch(/mode +audit\n +policies +policies\n/)
      const adminToken = (await readFile(join(data, 'admin-token'), 'utf8')).trim()
      expect(running.output()).not.toContain(adminToken)
      const list = await runCommand(['policy', 'list'], folder, {
        MESHGUARD_GATEWAY_URL: url,
        MESHGUARD_ADMIN_TOKEN: adminToken,
      })
      expect(list.stdout).toMatch(/^readers +1 +file/m)
      running.child.kill(signal)
      const { code, stdout, stderr } = await running.ended
      expect([code, stderr]).toEqual([0, ''])
      expect(stdout).toMatch(/\nStopping\.\n$/)
    },
  )

  describe('that cannot start says why in a line, without a stack', () => {
    const refused = async (data: string, env: NodeJS.ProcessEnv = {}) => {
      const { code, stdout, stderr } = await serve(['--port', '0'], { DATA_DIR: join(folder, data), ...env }).ended
      expect(stdout).toBe('')
      return [code, stderr]
    }
    const key = async (data: string, text: string, mode = 0o600) => {
      await mkdir(join(folder, data, 'keys'), { recursive: true })
      await writeFile(join(folder, data, 'keys/signing-keys.json'), text, { mode })
    }

    it('a key file that is none', async () => {
      await key('bad-key', 'junk')
      const [code, stderr] = await refused('bad-key')
      expect(stderr).toMatch(/^The gateway cannot start: SIGNING_KEY_FILE: .* does not hold the keys of a gateway\..*\n$/)
      expect(code).toBe(2)
    })

    it('a key file that others can read', async () => {
      await key('open-key', '{}', 0o644)
      expect((await refused('open-key'))[1]).toMatch(/^The gateway cannot start: .* has mode 0644: .*chmod 600.*\n$/)
    })

    it('a data folder that is a file', async () => {
      await writeFile(join(folder, 'a-file'), '')
      expect(await refused('a-file')).toEqual([
        2,
        expect.stringMatching(/^The gateway cannot start: DATA_DIR: cannot make the folder .*a-file: EEXIST.*\n$/),
      ])
    })

    it('a database that is none', async () => {
      await mkdir(join(folder, 'no-database'))
      await writeFile(join(folder, 'no-database/meshguard.db'), 'x'.repeat(4096))
      const why = /^The gateway cannot start: The database is damaged: restore a backup\n$/
      expect(await refused('no-database')).toEqual([3, expect.stringMatching(why)])
    })

    it('a database that another gateway has', async () => {
      const running = serve(['--port', '0'], { DATA_DIR: join(folder, 'shared') })
      await running.printed(/Ctrl-C stops it/)
      const why = /^The gateway cannot start: Another gateway has the database open\. Stop it first, .*\n$/
      expect(await refused('shared')).toEqual([2, expect.stringMatching(why)])
    })
  })

  it('names every bad value at once, by flag or variable, and not a secret one', async () => {
    const { code, stdout, stderr } = await serve(['--port', '70000', '--mode', 'of'], { ADMIN_TOKEN: 'short', DATA_DIR: 'd' })
      .ended
    expect([code, stdout]).toEqual([2, ''])
    expect(stderr).toMatch(/^--port: expected a port number/m)
    expect(stderr).toMatch(/^--mode: expected enforce, audit or bypass/m)
    expect(stderr).toMatch(/^ADMIN_TOKEN: expected at least 32/m)
    expect(stderr).not.toContain('short')
  })

  it('says which port is taken, and what to do', async () => {
    const taken = createServer().listen(0, '127.0.0.1')
    await once(taken, 'listening')
    const { port } = taken.address() as AddressInfo
    const { code, stderr } = await serve(['--port', String(port)], { DATA_DIR: join(folder, 'taken') }).ended
    taken.close()
    expect(code).toBe(2)
    expect(stderr).toMatch(new RegExp(`^Port ${port} is taken\\. Choose another: meshguard serve --port \\d+\n$`))
  })

  it('does not start with a bad policy, and names its place', async () => {
    await mkdir(join(folder, 'bad'))
    await writeFile(join(folder, 'bad/p.yaml'), 'name: p\nrules:\n  - effect: alow\n    actions: ["read:*"]\n')
    const { code, stderr } = await serve(['--port', '0', '--policies', 'bad'], { DATA_DIR: join(folder, 'unstarted') }).ended
    expect([code, stderr]).toEqual([2, expect.stringMatching(/p\.yaml:3:13: .*Did you mean "allow"\?\n$/)])
  })
})
