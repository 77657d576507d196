import { type BundleDocument, verifyBundle } from '@meshguard/core/bundle'
import { afterEach, beforeEach, describe, expect, it, onTestFinished, vi } from 'vitest'
import { BundleStreams, MAX_UNREAD, type StreamLimits } from '../../packages/gateway/src/bundle/bundle-streams.js'
import type { SignedBundle } from '../../packages/gateway/src/bundle/bundles.js'
import type { AgentRecord } from '../../packages/gateway/src/store/store.js'
import { EventBlocks, fieldOf } from './event-blocks.js'
import { startGateway, type World } from './gateway-world.js'

let world: World
let service: string
const open = new Set<AbortController>()

beforeEach(async () => {
  world = await startGateway()
  service = await world.createService('bundle')
})
afterEach(async () => {
  for (const controller of open) controller.abort()
  open.clear()
  await world.close()
})

/** The events of a stream. */
class Events extends EventBlocks {
  /** The version that the next event names. */
  async version(): Promise<number> {
    const data = fieldOf((await this.next()) ?? '', 'data')
    return (JSON.parse(data as string) as { version: number }).version
  }
}

async function stream(): Promise<Events> {
  const controller = new AbortController()
  open.add(controller)
  const headers = { authorization: `Bearer ${service}` }
  const response = await world.fetch('/v1/bundle/stream', { headers, signal: controller.signal })
  expect(response.status).toBe(200)
  expect(response.headers.get('content-type')).toBe('text/event-stream; charset=utf-8')
  return new Events(response.body)
}

const metric = async (name: string): Promise<number> => {
  const text = await (await world.fetch('/metrics')).text()
  return Number(new RegExp(`^${name} (.*)$`, 'm').exec(text)?.[1])
}

const putPolicy = (i: number) =>
  world.admin('PUT', '/admin/policies/p', { name: 'p', rules: [{ effect: 'allow', actions: [`write:${i}`] }] })

describe('the stream of bundle events', () => {
  it('begins with the newest bundle and names its ETag, version and time', async () => {
    const headers = { authorization: `Bearer ${service}`, 'accept-encoding': 'identity' }
    const response = await world.fetch('/v1/bundle', { headers })
    const { document } = await verifyBundle(await response.text(), { jwks: world.services.keys.published() })
    const data = JSON.stringify({ version: document.version, issuedAt: document.issuedAt })
    const etag = response.headers.get('etag')?.slice(1, -1)
    expect(await (await stream()).next()).toBe(`event: bundle\nid: ${etag}\ndata: ${data}`)
  })

  it('wakes every reader after a revocation, a change of tier, a policy, a delegation and a new key', async () => {
    const agents = await Promise.all(['a', 'b', 'c'].map((id) => world.createAgent({ id })))
    const readers = await Promise.all([stream(), stream()])
    let last = Math.max(...(await Promise.all(readers.map((reader) => reader.version()))))
    const changes = [
      () => world.admin('DELETE', `/admin/agents/${agents[0]?.id}`),
      () => world.admin('PATCH', `/admin/agents/${agents[1]?.id}`, { trustTier: 'trusted' }),
      () => putPolicy(1),
      () => world.admin('POST', '/admin/delegations', { from: 'b', to: 'c', actions: ['read:*'], expiresIn: '1h' }),
      () => world.admin('POST', '/admin/keys/rotate', { key: 'bundle' }),
    ]
    for (const change of changes) {
      expect((await change()).status).toBeLessThan(300)
      const versions = await Promise.all(readers.map((reader) => reader.version()))
      expect(versions).toEqual([versions[0], versions[0]])
      expect(versions[0]).toBeGreaterThan(last)
      last = versions[0] as number
    }
  })

  it('puts a burst of changes together: few are signed, and the last one holds them all', async () => {
    const reader = await stream()
    await reader.version()
    const before = await metric('meshguard_bundle_sign_seconds_count')
    const burst = 60
    const created = await Promise.all(
      Array.from({ length: burst }, async (_, i) => {
        await putPolicy(i)
        const answer = await world.admin('POST', '/admin/agents', { name: `agent ${i}` })
        const { id } = (await answer.json()) as { id: string }
        await world.admin('DELETE', `/admin/agents/${id}`)
        return id
      }),
    )
    const headers = { authorization: `Bearer ${service}` }
    const jws = await (await world.fetch('/v1/bundle', { headers })).text()
    const { document } = await verifyBundle(jws, { jwks: world.services.keys.published() })
    expect(Object.keys(document.agents).sort()).toEqual(created.sort())
    while ((await reader.version()) < document.version);
    expect((await metric('meshguard_bundle_sign_seconds_count')) - before).toBeLessThan(burst)
  })

  it('is counted while it is open, and forgotten once its reader is gone', async () => {
    const readers = await Promise.all([stream(), stream(), stream()])
    await Promise.all(readers.map((reader) => reader.version()))
    expect(await metric('meshguard_bundle_streams')).toBe(3)
    for (const controller of open) controller.abort()
    while ((await metric('meshguard_bundle_streams')) > 0) await putPolicy(2)
  })

  it('ends at the next sign of life once its token is revoked', async () => {
    const { token, id } = (await (
      await world.admin('POST', '/admin/tokens', { name: 'guard', scopes: ['bundle'] })
    ).json()) as { token: string; id: string }
    vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval'] })
    onTestFinished(() => void vi.useRealTimers())
    const response = await world.fetch('/v1/bundle/stream', { headers: { authorization: `Bearer ${token}` } })
    const reader = new Events(response.body)
    await reader.version()
    await vi.advanceTimersByTimeAsync(15_000)
    expect(await reader.next()).toBe(': ')
    await world.admin('DELETE', `/admin/tokens/${id}`)
    await vi.advanceTimersByTimeAsync(15_000)
    expect(await reader.next()).toBeUndefined()
  })

  it('ends when the gateway closes', async () => {
    const reader = await stream()
    await reader.version()
    const closing = world.gateway.close()
    expect(await reader.next()).toBeUndefined()
    await closing
  })
})

/** Streams of bundles that a test hands out itself. */
function streamsOf(limits: StreamLimits = {}, refused: () => Error | undefined = () => undefined) {
  const closing = new AbortController()
  const listeners = new Set<(bundle: SignedBundle) => void>()
  const bundle = (version: number): SignedBundle => ({ version, issuedAt: 0, etag: `"${version}"`, bytes: new Uint8Array() })
  const bundles = {
    ...world.services.bundles,
    current: async () => bundle(1),
    subscribe(listener: (bundle: SignedBundle) => void) {
      listeners.add(listener)
      return () => void listeners.delete(listener)
    },
  }
  const streams = new BundleStreams({ ...world.services, bundles, closing: closing.signal }, limits)
  const dropped: number[] = []
  return {
    closing,
    dropped,
    listening: () => listeners.size,
    tell(version: number) {
      for (const listener of listeners) listener(bundle(version))
    },
    async open(id: string, number = 0): Promise<Events> {
      const stillMay = async () => {
        const error = refused()
        if (error !== undefined) throw error
      }
      const outgoing = { destroy: () => void dropped.push(number) as never }
      return new Events(await streams.open({ caller: { id, name: id, scopes: ['bundle'] }, stillMay, outgoing }))
    },
  }
}

describe('many streams', () => {
  it('are bounded for each token by itself', async () => {
    const streams = streamsOf({ maxStreams: 2 })
    const [first] = await Promise.all([streams.open('one'), streams.open('one')])
    await expect(streams.open('one')).rejects.toMatchObject({ status: 429, details: { code: 'too_many_requests' } })
    await streams.open('other')
    await first?.cancel()
    await streams.open('one')
    streams.closing.abort()
  })

  it('share one subscription, which ends with the last of them', async () => {
    const streams = streamsOf()
    const readers = [await streams.open('one'), await streams.open('two')]
    expect(streams.listening()).toBe(1)
    await readers[0]?.cancel()
    expect(streams.listening()).toBe(1)
    await readers[1]?.cancel()
    expect(streams.listening()).toBe(0)
  })

  it('lose the reader that does not read, with its connection, and no other', async () => {
    const streams = streamsOf()
    const reader = await streams.open('one', 1)
    await streams.open('one', 2)
    for (let version = 2; version < MAX_UNREAD + 4; version++) {
      streams.tell(version)
      await reader.version()
    }
    expect(streams.dropped).toEqual([2])
    streams.tell(100)
    while ((await reader.version()) !== 100);
    streams.closing.abort()
    expect(await reader.next()).toBeUndefined()
  })

  it('give signs of life, go on while the store cannot be asked, and end once the token is revoked', async () => {
    const { UnavailableError, AuthenticationError } = await import('@meshguard/core')
    const answers: (Error | undefined)[] = [undefined, new UnavailableError('The database is gone'), undefined]
    const revoked = new AuthenticationError('The service token is revoked')
    const streams = streamsOf({ heartbeatMs: 5 }, () => (answers.length > 0 ? answers.shift() : revoked))
    const reader = await streams.open('one')
    const blocks: string[] = []
    for (let block = await reader.next(); block !== undefined; block = await reader.next()) blocks.push(block)
    expect(blocks).toEqual([expect.stringContaining('event: bundle'), ': ', ': ', ': '])
    expect(streams.listening()).toBe(0)
  })

  it('end for a token that was deleted through the API', async () => {
    const { token, id } = (await (
      await world.admin('POST', '/admin/tokens', { name: 'guard', scopes: ['bundle'] })
    ).json()) as { token: string; id: string }
    const streams = new BundleStreams(world.services, { heartbeatMs: 5 })
    const caller = await world.services.identity.serviceOf(token)
    expect(caller.id).toBe(id)
    const stillMay = () => world.services.identity.serviceOf(token)
    const reader = new Events(await streams.open({ caller, stillMay, outgoing: { destroy: () => undefined as never } }))
    await reader.version()
    await world.admin('DELETE', `/admin/tokens/${id}`)
    let block = await reader.next()
    while (block !== undefined) block = await reader.next()
  })
})

describe('a large bundle', () => {
  it('of 10 000 rules and 100 000 revocations is signed, verified and kept up to date one agent at a time', async () => {
    const rules = Array.from({ length: 10_000 }, (_, i) => ({ name: `r${i}`, effect: 'allow', actions: [`read:objects/${i}`] }))
    expect((await world.admin('PUT', '/admin/policies/many', { name: 'many', rules })).status).toBe(201)
    const at = Date.now()
    const revoked = Array.from(
      { length: 100_000 },
      (_, i): AgentRecord => ({
        id: `agent_${i}`,
        name: `agent ${i}`,
        trustTier: 'verified',
        tags: [],
        metadata: {},
        status: 'revoked',
        generation: 0,
        createdAt: at - 1000,
        updatedAt: at,
        revokedAt: at,
      }),
    )
    const { store, bundles } = world.services
    const pages = { ...store.agents, changedSince: pagesOf(revoked) }
    const { createBundles } = await import('../../packages/gateway/src/bundle/create-bundles.js')
    const many = createBundles({ ...world.services, store: { ...store, agents: pages } })
    const { bytes } = await many.current()
    const verified = await verifyBundle(new TextDecoder().decode(bytes), { jwks: world.services.keys.published() })
    expect(Object.keys(verified.document.agents)).toHaveLength(100_000)
    expect(verified.policies.policies.find(({ name }) => name === 'many')?.rules).toHaveLength(10_000)
    expect(verified.document.agents['agent_99999']).toEqual({ tier: 'verified', tags: [], gen: 0, revoked: true })

    const { id } = await world.createAgent()
    await store.agents.update(id, { status: 'revoked', revokedAt: at }, Date.now())
    many.changed(id)
    const next = await many.current()
    expect(next.version).toBeGreaterThan(verified.document.version)
    const [, payload = ''] = new TextDecoder().decode(next.bytes).split('.')
    const document = JSON.parse(Buffer.from(payload, 'base64url').toString()) as BundleDocument
    expect(document.agents[id]).toMatchObject({ revoked: true })
    expect(pages.changedSince.asked).toBe(100)
    await many.close()
    await bundles.close()
  })

  function pagesOf(agents: readonly AgentRecord[]) {
    const changedSince = async (_since: number, { cursor = '0' }: { cursor?: string | undefined } = {}) => {
      changedSince.asked++
      const to = Number(cursor) + 1000
      return { items: agents.slice(Number(cursor), to), ...(to < agents.length && { nextCursor: String(to) }) }
    }
    changedSince.asked = 0
    return changedSince
  }
})
