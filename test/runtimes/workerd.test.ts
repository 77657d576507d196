import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'
import { Miniflare } from 'miniflare'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { kit } from '../adapters/hono.js'
import { casesFor } from '../contracts/adapter.js'

let workerd: Miniflare

beforeAll(async () => {
  const { outputFiles } = await build({
    entryPoints: [fileURLToPath(new URL('./hono-worker.ts', import.meta.url))],
    bundle: true,
    write: false,
    format: 'esm',
    target: 'es2022',
    conditions: ['meshguard:source', 'workerd', 'worker', 'browser'],
    mainFields: ['browser', 'module', 'main'],
  })
  workerd = new Miniflare({ modules: true, script: outputFiles[0]?.text ?? '', compatibilityDate: '2026-04-01' })
  await workerd.ready
})
afterAll(() => workerd.dispose())

const refuse = () => Promise.reject(new Error('The cases run in the worker'))

for (const [theme, cases] of casesFor({ kit, features: [], serve: refuse })) {
  describe(`Hono in workerd: ${theme}`, () => {
    for (const { title } of cases) {
      it(title, async () => {
        const response = await workerd.dispatchFetch(`https://worker.example/${encodeURIComponent(title)}`)
        expect(((await response.json()) as { error?: string }).error).toBeUndefined()
      })
    }
  })
}
