/** Bundles in workerd: polls behind answers, requests that go away, and KV as cache. */
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'
import { Miniflare } from 'miniflare'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { type Publisher, startPublisher } from './publisher.js'

const agent = { id: 'agent_nova', trustTier: 'verified' }
/** The part of Miniflare's KV that is used. */
interface Kept {
  get(key: string): Promise<string | null>
  put(key: string, value: string): Promise<void>
}

let publisher: Publisher
let workerd: Miniflare
let script: string
let token: string
let url: URL

beforeEach(async () => {
  publisher = await startPublisher()
  const { outputFiles } = await build({
    entryPoints: [fileURLToPath(new URL('./worker.ts', import.meta.url))],
    ...{ bundle: true, write: false, format: 'esm', target: 'es2022' },
    conditions: ['meshguard:source', 'workerd', 'worker', 'browser'],
    define: {
      GATEWAY: JSON.stringify(publisher.url),
      BUNDLE_KEY: JSON.stringify(JSON.stringify(publisher.signer.bundles.publicKey)),
    },
  } as const)
  script = outputFiles[0]?.text ?? ''
  workerd = new Miniflare(options())
  url = await workerd.ready
  token = await publisher.signer.mint(agent)
})
afterEach(async () => {
  await workerd.dispose()
  await publisher.close()
})

const options = () => ({
  modules: true as const,
  script,
  compatibilityDate: '2026-04-01',
  kvNamespaces: ['BUNDLES'],
  port: 0,
  host: '127.0.0.1',
})
const ask = async (init: RequestInit = {}) => {
  const response = await fetch(url, { headers: { authorization: `Bearer ${token}` }, ...init })
  return (await response.json()) as { code: string; version?: number }
}

it('decides by bundles, follows their changes, and begins from KV while the gateway is gone', async () => {
  await publisher.publish()
  expect(await ask()).toEqual({ code: 'allowed', version: 1 })
  await publisher.publish({ agents: { [agent.id]: { revoked: true } } })
  await expect.poll(ask, { timeout: 5000 }).toEqual({ code: 'unauthenticated', version: 2 })
  await publisher.publish()
  await expect.poll(ask, { timeout: 5000 }).toEqual({ code: 'allowed', version: 3 })
  const kv = (await workerd.getKVNamespace('BUNDLES')) as unknown as Kept
  await expect.poll(async () => (await kv.get('meshguard-bundle'))?.length).toBeGreaterThan(100)
  await publisher.close()
  for (let i = 0; i < 5; i++) expect(await ask()).toEqual({ code: 'allowed', version: 3 })
  await workerd.setOptions(options())
  url = await workerd.ready
  const after = (await workerd.getKVNamespace('BUNDLES')) as unknown as Kept
  await after.put('meshguard-bundle', await publisher.signer.sign({ version: 9, policies: [] }))
  expect(await ask()).toEqual({ code: 'no_match', version: 9 })
  await publisher.reopen()
})

it('is not held up by requests that went away while they waited for the first bundle', async () => {
  await publisher.publish()
  publisher.fail(() => undefined)
  for (let i = 0; i < 3; i++) {
    const gone = new AbortController()
    const left = ask({ signal: gone.signal }).catch(() => undefined)
    await expect.poll(() => publisher.asked.length).toBeGreaterThan(0)
    gone.abort()
    await left
  }
  publisher.fail()
  await expect.poll(ask, { timeout: 10_000, interval: 200 }).toEqual({ code: 'allowed', version: 1 })
}, 20_000)
