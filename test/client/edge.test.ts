import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'
import { Miniflare } from 'miniflare'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { allow, deny, type Scripted, startScripted } from './scripted.js'

let workerd: Miniflare
let scripted: Scripted
let warnings: readonly unknown[]

beforeAll(async () => {
  scripted = await startScripted()
  const { outputFiles, warnings: found } = await build({
    entryPoints: [fileURLToPath(new URL('./edge-worker.ts', import.meta.url))],
    bundle: true,
    write: false,
    format: 'esm',
    target: 'es2022',
    conditions: ['meshguard:source', 'workerd', 'worker', 'browser'],
    mainFields: ['browser', 'module', 'main'],
  })
  warnings = found
  workerd = new Miniflare({ modules: true, script: outputFiles[0]?.text ?? '', compatibilityDate: '2026-04-01' })
  await workerd.ready
})
afterAll(async () => {
  await workerd.dispose()
  await scripted.close()
})

const ask = async (asked: object) => {
  const response = await workerd.dispatchFetch('https://worker.example/', { method: 'POST', body: JSON.stringify(asked) })
  return response.json()
}

describe('the client in workerd, where there is no process', () => {
  it('checks, calls through the proxy and follows the audit log', async () => {
    scripted.answer(
      allow('read:contacts'),
      deny('delete:contacts'),
      { headers: { 'x-meshguard-origin': 'upstream' }, json: { id: 7 } },
      (res) => res.writeHead(200, { 'content-type': 'text/event-stream' }).write('id: e1\ndata: {"id":"e1"}\n\n'),
    )
    expect(await ask({ gatewayUrl: scripted.url })).toEqual([
      'undefined',
      true,
      'readers',
      'PolicyDeniedError',
      { id: 7 },
      'e1',
    ])
    expect(JSON.parse(scripted.received[0]?.headers['x-meshguard-context'] as string)).toEqual({ note: 'Grüße' })
    expect(scripted.received[2]).toMatchObject({ method: 'POST', body: '{"name":"Ada"}' })
    expect(warnings).toEqual([])
  })

  it('names the option when nobody says where the gateway is', async () => {
    expect(await ask({})).toEqual(['undefined', expect.stringMatching(/option "gatewayUrl" or set MESHGUARD_GATEWAY_URL/)])
  })
})
