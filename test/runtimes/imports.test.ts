/** Importing a package fetches nothing and begins no timer: not on Workers, where that throws, and not on Node. */
import { execFile } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { build as bundle } from 'esbuild'
import { Miniflare } from 'miniflare'
import { beforeAll, expect, it } from 'vitest'
import { build, ROOT } from '../e2e/build.js'

const run = promisify(execFile)

/** Every entry that a package exports, `@meshguard/core/http`. */
const entries = readdirSync(join(ROOT, 'packages')).flatMap((folder) => {
  const { name, exports = {} } = JSON.parse(readFileSync(join(ROOT, 'packages', folder, 'package.json'), 'utf8'))
  const paths = Object.keys(exports).filter((path) => path !== './package.json')
  return paths.map((path) => `${name}${path.slice(1)}`)
})

beforeAll(build, 180_000)

it('there are entries of all packages', () => {
  expect(entries.length).toBeGreaterThanOrEqual(13)
})

it('importing any of them on Node fetches nothing, connects to nothing and begins no timer', async () => {
  const program = `
    import net from 'node:net'
    const begun = []
    for (const name of ['fetch', 'setTimeout', 'setInterval', 'setImmediate']) {
      const real = globalThis[name]
      globalThis[name] = Object.assign((...given) => (begun.push(name + new Error().stack), real(...given)), real)
    }
    net.Socket.prototype.connect = () => begun.push('connect')
    for (const entry of ${JSON.stringify(entries)}) {
      begun.push(entry)
      await import(entry)
      await new Promise((resolve) => process.nextTick(resolve))
    }
    process.stdout.write(begun.join('\\n'))`
  const { stdout } = await run(process.execPath, ['--input-type=module', '-e', program], { cwd: ROOT, timeout: 15_000 })
  expect(stdout.split('\n')).toEqual(entries)
})

it('every entry for Workers can be imported there, and guards can be made in global scope', async () => {
  const { outputFiles } = await bundle({
    entryPoints: [join(import.meta.dirname, 'import-everything.ts')],
    bundle: true,
    write: false,
    format: 'esm',
    target: 'es2022',
    conditions: ['meshguard:source', 'workerd', 'worker', 'browser'],
  })
  const script = outputFiles[0]?.text ?? ''
  const worker = new Miniflare({ modules: true, script, compatibilityDate: '2026-04-01' })
  try {
    const response = await worker.dispatchFetch('https://worker.example/')
    const forWorkers = entries.filter(
      (entry) => /^@meshguard\/(client|core|hono)(\/|$)/.test(entry) && !entry.endsWith('/node'),
    )
    expect([response.status, await response.json()]).toEqual([200, { imported: forWorkers.sort(), made: 7, begun: [] }])
  } finally {
    await worker.dispose()
  }
})
