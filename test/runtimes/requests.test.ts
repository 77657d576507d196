/**
 * In workerd a fetch or a timer belongs to the request that began it, and is dropped with it without a word. What requests share
 * must not wait for such a thing.
 */
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'
import { Miniflare } from 'miniflare'
import { afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { type Asked, allowing, type Reply, type ScriptedGateway, scriptGateway } from '../sources/scripted-gateway.js'

let script: string
let gateway: ScriptedGateway
let worker: Miniflare
let url: URL
/** What the gateway does with checks and with audit entries. */
let onCheck: (asked: Asked) => Reply | undefined
let onAudit: (asked: Asked) => Reply | undefined

beforeAll(async () => {
  const { outputFiles } = await build({
    entryPoints: [fileURLToPath(new URL('./requests-worker.ts', import.meta.url))],
    bundle: true,
    write: false,
    format: 'esm',
    target: 'es2022',
    conditions: ['meshguard:source', 'workerd', 'worker', 'browser'],
  })
  script = outputFiles[0]?.text ?? ''
})

beforeEach(async () => {
  onCheck = allowing
  onAudit = () => ({ status: 202, body: { accepted: 1 } })
  gateway = await scriptGateway((asked) => (asked.path === '/v1/audit' ? onAudit(asked) : onCheck(asked)))
  const bindings = { GATEWAY: gateway.url }
  worker = new Miniflare({ modules: true, script, compatibilityDate: '2026-04-01', bindings, port: 0, host: '127.0.0.1' })
  url = await worker.ready
})
afterEach(async () => {
  await worker.dispose()
  await gateway.close()
})

const headers = { authorization: 'Bearer agent-token' }
const get = (id: string | number, init: RequestInit = {}) => fetch(new URL(`/contacts/${id}`, url), { headers, ...init })

/** The resources of the audit entries that were taken, in the order in which they came. */
const recorded = () =>
  gateway.asked
    .filter(({ path }) => path === '/v1/audit')
    .flatMap(({ body }) => (JSON.parse(body) as { entries: { resource: string }[] }).entries.map(({ resource }) => resource))

/** A request whose client goes away while its check is under way. */
async function leave(id: string): Promise<void> {
  const before = gateway.asked.length
  const gone = new AbortController()
  const left = get(id, { signal: gone.signal }).catch(() => undefined)
  await expect.poll(() => gateway.asked.length).toBeGreaterThan(before)
  gone.abort()
  await left
}

describe('requests of one isolate', () => {
  it('are decided after others went away while they asked', async () => {
    onCheck = () => undefined
    for (const id of ['a', 'b', 'c', 'd']) await leave(id)
    onCheck = allowing
    const answers = await Promise.all([1, 2, 3].map(async (id) => (await get(id)).status))
    expect(answers).toEqual([200, 200, 200])
  })

  it('are recorded, each, although their answers do not wait for that', async () => {
    const answers = await Promise.all(Array.from({ length: 20 }, async (_, id) => (await get(id)).status))
    expect(new Set(answers)).toEqual(new Set([200]))
    await expect.poll(() => recorded().length).toBe(20)
    expect(new Set(recorded()).size).toBe(20)
  })

  it('are recorded after others went away while they were recorded', async () => {
    let held = 0
    onAudit = () => {
      held++
      return undefined
    }
    const gone = new AbortController()
    const first = await get('first', { signal: gone.signal })
    await expect.poll(() => held).toBe(1)
    gone.abort()
    await first.body?.cancel().catch(() => undefined)
    onAudit = () => ({ status: 202, body: { accepted: 1 } })
    expect((await get('second')).status).toBe(200)
    await expect.poll(() => recorded().includes('contacts/second'), { timeout: 4000 }).toBe(true)
  })

  it('are recorded once the gateway takes entries again', async () => {
    onAudit = () => ({ status: 503, body: '' })
    expect((await get('early')).status).toBe(200)
    await expect.poll(() => recorded().length).toBeGreaterThan(0)
    onAudit = () => ({ status: 202, body: { accepted: 1 } })
    const refused = gateway.asked.filter(({ path }) => path === '/v1/audit').length
    expect((await get('late')).status).toBe(200)
    const taken = () => recorded().slice(refused)
    await expect.poll(() => ['early', 'late'].every((id) => taken().includes(`contacts/${id}`)), { timeout: 8000 }).toBe(true)
  })
})
