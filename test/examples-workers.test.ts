/** The second variant of examples/hono-workers: in workerd, with a real gateway, which then goes away. */
import { readFileSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { build as bundle } from 'esbuild'
import { Miniflare } from 'miniflare'
import ts from 'typescript'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { build, ROOT } from './e2e/build.js'
import { startGateway, type World, type WorldAgent } from './gateway/gateway-world.js'

const EXAMPLE = join(ROOT, 'examples/hono-workers')
const { config } = ts.parseConfigFileTextToJson('wrangler.jsonc', readFileSync(join(EXAMPLE, 'wrangler.jsonc'), 'utf8'))
const policies = [{ name: 'readers', rules: [{ effect: 'allow', actions: ['read:shipments'] }] }]

let gateway: World | undefined
let [nova, rook]: [WorldAgent, WorldAgent] = [] as never
let folder: string
let script: string
let bindings: Record<string, string>

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'meshguard-kv-'))
  const started = await startGateway({ policies })
  gateway = started
  ;[nova, rook] = [await started.createAgent(), await started.createAgent()]
  const token = await started.createService('bundle', 'audit:write')
  const { keys } = (await (await started.fetch('/.well-known/jwks.json')).json()) as { keys: { typ: string }[] }
  const key = keys.find(({ typ }) => typ === 'meshguard-bundle+jws')
  bindings = { ...config.env.bundle.vars, GATEWAY_URL: started.url, GATEWAY_TOKEN: token, BUNDLE_KEY: JSON.stringify(key) }
  await build()
  const { outputFiles } = await bundle({
    entryPoints: [join(EXAMPLE, config.env.bundle.main.replace(/^src(.*)ts$/, 'dist$1js'))],
    bundle: true,
    write: false,
    format: 'esm',
    target: 'es2022',
    conditions: ['workerd', 'worker'],
  })
  script = outputFiles[0]?.text ?? ''
}, 180_000)

afterAll(async () => {
  await gateway?.close()
  await rm(folder, { recursive: true, force: true })
})

/** The part of Miniflare's KV that is used. */
interface Kept {
  get(key: string): Promise<string | null>
}

/** A new isolate, with the KV of those before it. */
async function inIsolate(
  run: (call: (send: string, token?: string) => Promise<{ status: number }>, kept: () => Promise<unknown>) => Promise<void>,
) {
  const kvNamespaces = Object.fromEntries(config.env.bundle.kv_namespaces.map(({ binding, id }: never) => [binding, id]))
  const compatibilityDate: string = config.compatibility_date
  const worker = new Miniflare({ modules: true, script, compatibilityDate, bindings, kvNamespaces, kvPersist: folder })
  const kept = async () => ((await worker.getKVNamespace('BUNDLES')) as unknown as Kept).get('meshguard-bundle')
  try {
    await run((send, token) => {
      const [method = '', path = ''] = send.split(' ')
      const headers: Record<string, string> = token === undefined ? {} : { authorization: `Bearer ${token}` }
      return worker.dispatchFetch(`https://shipments.example${path}`, { method, headers })
    }, kept)
  } finally {
    await worker.dispose()
  }
}

/** What the gateway's audit log says of the Worker's decisions, in the order of their resources. */
async function recorded(): Promise<string[]> {
  const answer = await (gateway as World).admin('GET', '/admin/audit')
  const { entries } = (await answer.json()) as { entries: { resource?: string; code: string; source: string }[] }
  return entries.map(({ resource, code, source }) => `${resource} ${code} by ${source}`).sort()
}

describe('hono-workers by a bundle, in workerd', () => {
  it('decides by what the gateway published, and records every decision there', async () => {
    await inIsolate(async (call) => {
      expect((await call('GET /health')).status).toBe(200)
      expect((await call('GET /shipments/1')).status).toBe(401)
      const answers = await Promise.all([2, 3, 4, 5, 6].map((id) => call(`GET /shipments/${id}`, nova.token)))
      expect(answers.map(({ status }) => status)).toEqual([200, 200, 200, 200, 200])
      expect((await call('DELETE /shipments/7', nova.token)).status).toBe(403)
      await expect.poll(async () => (await recorded()).length, { timeout: 5000 }).toBe(7)
    })
    expect(await recorded()).toEqual([
      ...[2, 3, 4, 5, 6].map((id) => `shipments/${id} allowed by bundle`),
      'shipments/7 no_match by bundle',
      'undefined unauthenticated by bundle',
    ])
  })

  it('lets a revoked agent in nowhere, and goes on in a new isolate when the gateway is gone', async () => {
    await gateway?.admin('DELETE', `/admin/agents/${rook.id}`)
    await inIsolate(async (call, kept) => {
      const before = await kept()
      expect((await call('GET /shipments/1', rook.token)).status).toBe(401)
      await expect.poll(kept).not.toBe(before)
    })
    await gateway?.close()
    gateway = undefined
    await inIsolate(async (call) => {
      expect((await call('GET /shipments/1', nova.token)).status).toBe(200)
      expect((await call('DELETE /shipments/1', nova.token)).status).toBe(403)
      expect((await call('GET /shipments/1', rook.token)).status).toBe(401)
      expect((await call('GET /shipments/1')).status).toBe(401)
    })
  })

  it('decides nothing in an isolate that has neither gateway nor KV', async () => {
    await rm(folder, { recursive: true, force: true })
    await inIsolate(async (call) => expect((await call('GET /shipments/1', nova.token)).status).toBe(503))
  })
})
