import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'
import { Miniflare } from 'miniflare'
import { describeRuntime } from './describe-runtime.js'
import { lacks } from './lacks.js'
import type { Outcome } from './suites.js'

describeRuntime({ name: 'workerd', lacks: lacks.workerd }, { skipped: 6 }, async (stage) => {
  const { outputFiles } = await build({
    entryPoints: [fileURLToPath(new URL('./worker.ts', import.meta.url))],
    bundle: true,
    write: false,
    format: 'esm',
    target: 'es2022',
    conditions: ['meshguard:source', 'workerd', 'worker', 'browser'],
    mainFields: ['browser', 'module', 'main'],
  })
  const workerd = new Miniflare({
    modules: true,
    script: outputFiles[0]?.text ?? '',
    compatibilityDate: '2026-04-01',
    bindings: { STAGE: stage },
  })
  await workerd.ready
  return {
    async outcome({ suite, title }) {
      const body = JSON.stringify({ suite, title })
      return (await (await workerd.dispatchFetch('https://worker.example/', { method: 'POST', body })).json()) as Outcome
    },
    close: () => workerd.dispose(),
  }
})
