import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type BundleDocument, verifyBundle } from '@meshguard/core/bundle'
import { decodeProtectedHeader } from 'jose'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { nextVersion } from '../../packages/gateway/src/bundle/bundle-version.js'
import { createBundles } from '../../packages/gateway/src/bundle/create-bundles.js'
import { ADMIN_TOKEN, POLICY, startGateway, type World, type WorldOptions } from './gateway-world.js'

const HOUR_MS = 3_600_000
const RULES = [{ effect: 'allow', actions: ['write:reports'] }]
let world: World
let service: string
let now: number

const start = async (options: WorldOptions = {}) => {
  world = await startGateway({ clock: () => now, ...options })
  service = await world.createService('bundle')
}
beforeEach(async () => {
  now = Date.now()
  await start()
})
afterEach(() => world.close())

const request = (headers: Record<string, string> = {}, path = '/v1/bundle') =>
  world.fetch(path, { headers: { authorization: `Bearer ${service}`, 'accept-encoding': 'identity', ...headers } })

/** Fetches the bundle and verifies it with the published keys, as a guard does. */
async function fetched(): Promise<BundleDocument> {
  const response = await request()
  expect(response.status).toBe(200)
  const jwks = await (await world.fetch('/.well-known/jwks.json')).json()
  return (await verifyBundle(await response.text(), { jwks }, { now })).document
}

/** What an admin call answers. */
async function made<T>(method: string, path: string, body?: unknown): Promise<T> {
  const response = await world.admin(method, path, body)
  expect([path, response.status < 300]).toEqual([path, true])
  return (await response.json()) as T
}

describe('a bundle', () => {
  it('holds policies, token keys and times, is signed with a key of its own, and is answered as it is in memory', async () => {
    const response = await request()
    expect(response.status).toBe(200)
    expect(response.headers.get('content-type')).toBe('application/jose')
    expect(response.headers.get('cache-control')).toBe('no-store')
    const jws = await response.text()
    expect(response.headers.get('content-length')).toBe(String(jws.length))
    const header = decodeProtectedHeader(jws)
    const published = world.services.keys.published().keys
    expect(header).toEqual({ alg: 'EdDSA', typ: 'meshguard-bundle+jws', kid: published[1]?.kid })
    expect(published.map(({ typ }) => typ)).toEqual(['JWT', 'meshguard-bundle+jws'])
    const { document } = await verifyBundle(jws, { jwks: { keys: published } }, { now })
    expect(document).toEqual({
      version: Math.floor(now / 1000),
      issuedAt: new Date(now).toISOString(),
      expiresAt: new Date(now + 24 * HOUR_MS).toISOString(),
      policies: [expect.objectContaining({ name: POLICY.name })],
      agents: {},
      delegations: [],
      jwks: world.services.keys.jwks(),
    })
    expect(document.jwks.keys.map(({ kid }) => kid)).not.toContain(header.kid)
    expect(await (await request()).text()).toBe(jws)
  })

  it('is signed by no key that signs tokens: such a bundle, or one of the checkpoint key, is refused', async () => {
    const jws = await (await request()).text()
    const [token] = world.services.keys.published().keys
    await expect(verifyBundle(jws, { publicKeys: [token as never] }, { now })).rejects.toThrow()
    const checkpoint = await world.services.keys.signCheckpoint({ version: 1 })
    await expect(verifyBundle(checkpoint, { jwks: world.services.keys.published() }, { now })).rejects.toThrow()
  })

  it('names agents whose tokens say something else by now, and leaves the others out', async () => {
    const [same, tier, gen, gone, seen] = await Promise.all(
      ['same', 'tier', 'gen', 'gone', 'seen'].map((id) => world.createAgent({ id, tags: ['t'] })),
    )
    now += 1000
    await world.services.store.agents.update(seen?.id as string, { lastSeenAt: now }, now)
    await made('PATCH', `/admin/agents/${tier?.id}`, { trustTier: 'trusted', tags: ['x'] })
    await made('POST', `/admin/agents/${gen?.id}/token`, { revokePrevious: true })
    await made('DELETE', `/admin/agents/${gone?.id}`)
    const { agents } = await fetched()
    expect(agents).toEqual({
      gen: { tier: 'verified', tags: ['t'], gen: 1, name: 'gen' },
      gone: { tier: 'verified', tags: ['t'], gen: 0, revoked: true },
      tier: { tier: 'trusted', tags: ['x'], gen: 0, name: 'tier' },
    })
    expect(same?.id).toBe('same')
  })

  it('names a changed agent for as long as a token of before may live, and a restart changes nothing', async () => {
    const { id } = await world.createAgent()
    await made('DELETE', `/admin/agents/${id}`)
    const first = await fetched()
    now += 24 * HOUR_MS + 9 * 60_000 // and ten minutes more, for guards whose clocks are behind
    expect(Object.keys((await fetched()).agents)).toEqual([id])
    now += HOUR_MS
    const last = await fetched()
    expect(last.agents).toEqual({})
    expect(last.version).toBeGreaterThan(first.version)
  })

  it('names the agents of live delegations, and all that have metadata where a policy asks for it', async () => {
    const [root, actor, other] = await Promise.all([
      world.createAgent({ id: 'root', metadata: { team: 'a' } }),
      world.createAgent({ id: 'actor' }),
      world.createAgent({ id: 'other', metadata: { team: 'b' } }),
    ])
    const { id } = await made<{ id: string }>('POST', '/admin/delegations', {
      from: root.id,
      to: actor.id,
      actions: ['read:*'],
      expiresIn: '1h',
    })
    const delegating = await fetched()
    expect(delegating.delegations).toEqual([
      { id, from: 'root', to: 'actor', actions: ['read:*'], depth: 1, expiresAt: new Date(now + HOUR_MS).toISOString() },
    ])
    expect(delegating.agents).toEqual({
      actor: { tier: 'verified', tags: [], gen: 0, name: 'actor' },
      root: { tier: 'verified', tags: [], gen: 0, name: 'root', metadata: { team: 'a' } },
    })
    await made('DELETE', `/admin/delegations/${id}`)
    expect(await fetched()).toMatchObject({ agents: {}, delegations: [] })
    const rule = { effect: 'deny', actions: ['*'], conditions: { 'agent.metadata.team': 'b' } }
    await made('PUT', '/admin/policies/teams', { name: 'teams', rules: [rule] })
    expect(Object.keys((await fetched()).agents)).toEqual(['other', 'root'])
    const late = await made<{ id: string }>('POST', '/admin/agents', { name: 'late', metadata: { team: 'b' } })
    expect((await fetched()).agents[late.id]).toMatchObject({ metadata: { team: 'b' } })
    expect(other.id).toBe('other')
  })

  it('leaves an expired delegation out of the next one', async () => {
    await Promise.all([world.createAgent({ id: 'a' }), world.createAgent({ id: 'b' })])
    await made('POST', '/admin/delegations', { from: 'a', to: 'b', actions: ['read:*'], expiresIn: '30m' })
    expect((await fetched()).delegations).toHaveLength(1)
    now += HOUR_MS
    expect((await fetched()).delegations).toEqual([])
  })
})

describe('who may read it', () => {
  it('is a service token with the scope bundle: 403 for another scope, 401 for anything else', async () => {
    const { token } = await world.createAgent()
    for (const path of ['/v1/bundle', '/v1/bundle/stream']) {
      for (const scope of ['decide', 'audit:write', 'audit:read', 'admin'] as const) {
        const response = await request({ authorization: `Bearer ${await world.createService(scope)}` }, path)
        expect([path, scope, response.status]).toEqual([path, scope, 403])
        expect(response.headers.get('www-authenticate')).toContain('scope="bundle"')
      }
      for (const authorization of ['', 'Bearer x', `Bearer ${token}`, `Bearer ${ADMIN_TOKEN}`, `Basic ${service}`]) {
        expect([authorization, (await request({ authorization }, path)).status]).toEqual([authorization, 401])
      }
      expect((await world.fetch(path, { headers: { 'x-admin-token': ADMIN_TOKEN } })).status).toBe(401)
    }
  })

  it('is nobody with JWT_SECRET, as whoever verifies with it can sign with it', async () => {
    await world.close()
    await start({ jwtSecret: 'a secret of the gateway, 32 bytes or more' })
    for (const path of ['/v1/bundle', '/v1/bundle/stream']) {
      expect((await request({}, path)).status).toBe(409)
      expect((await request({ authorization: 'Bearer msvc_x' }, path)).status).toBe(401)
    }
    expect(await (await world.fetch('/.well-known/jwks.json')).json()).toEqual({ keys: [] })
  })
})

describe('ETag and version', () => {
  it('answer 304 to who has the bundle, by weak comparison, and 200 after a change', async () => {
    const etag = (await request()).headers.get('etag') as string
    for (const known of [etag, `W/${etag}`, `"x", ${etag}`, '*']) {
      const response = await request({ 'if-none-match': known })
      expect([known, response.status, response.headers.get('etag')]).toEqual([known, 304, etag])
      expect(await response.text()).toBe('')
    }
    for (const unknown of ['', '"x"', etag.slice(1, -1)]) {
      expect([unknown, (await request({ 'if-none-match': unknown })).status]).toEqual([unknown, 200])
    }
    await made('PUT', '/admin/policies/more', { name: 'more', rules: RULES })
    const changed = await request({ 'if-none-match': etag })
    expect([changed.status, changed.headers.get('etag') === etag]).toEqual([200, false])
    const head = await world.fetch('/v1/bundle', { method: 'HEAD', headers: { authorization: `Bearer ${service}` } })
    expect([head.status, await head.text()]).toEqual([200, ''])
  })

  it('grow with every change that a bundle tells, and with no other', async () => {
    const { id } = await world.createAgent()
    const versions = [(await fetched()).version]
    const changes = [
      () => made('PUT', '/admin/policies/p', { name: 'p', rules: RULES }),
      () => made('PUT', '/admin/policies/p', { name: 'p', rules: [{ effect: 'deny', actions: ['*'] }] }),
      () => made('PATCH', `/admin/agents/${id}`, { trustTier: 'trusted' }),
      () => made('POST', `/admin/agents/${id}/token`, { revokePrevious: true }),
      () => made('DELETE', `/admin/agents/${id}`),
      () => world.admin('DELETE', '/admin/policies/p'),
      () => made('POST', '/admin/keys/rotate'),
      () => made('POST', '/admin/keys/rotate', { key: 'bundle' }),
    ]
    for (const change of changes) {
      await change()
      versions.push((await fetched()).version)
    }
    expect(versions).toEqual([...new Set(versions)].sort((a, b) => a - b))
    await made('POST', '/admin/agents', { name: 'new' })
    await made('POST', '/admin/tokens', { name: 'new', scopes: ['decide'] })
    expect((await fetched()).version).toBe(versions.at(-1))
  })

  it('stay with a bundle that is signed anew after an hour, whose time goes on', async () => {
    const first = await fetched()
    const etag = (await request()).headers.get('etag') as string
    now += HOUR_MS - 1
    expect((await request({ 'if-none-match': etag })).status).toBe(304)
    now += 1
    expect((await request({ 'if-none-match': etag })).status).toBe(200)
    const anew = await fetched()
    expect(anew.version).toBe(first.version)
    expect(anew.issuedAt).toBe(new Date(now).toISOString())
  })

  it('are the same in another process over the same store, and go on growing there', async () => {
    const before = (await request()).headers.get('etag')
    const { store, keys, policies, metrics, log } = world.services
    const other = createBundles({ store, keys, policies, metrics, log, now: () => now })
    expect((await other.current()).etag).toBe(before)
    await store.policies.put({ name: 'p', rules: [] } as never, now)
    await store.agents.insert({ ...(await world.createAgent()).record, id: 'moved' })
    await store.agents.update('moved', { status: 'revoked', revokedAt: now }, now)
    other.changed('moved')
    world.services.bundles.changed('moved')
    const [one, two] = await Promise.all([other.current(), world.services.bundles.current()])
    expect(one.etag).toBe(two.etag)
    expect(Buffer.from(one.bytes)).toEqual(Buffer.from(two.bytes))
    await other.close()
  })

  it('never give a smaller version to a newer state, whatever the order of replicas and clocks', async () => {
    let kept: string | undefined
    let state = 0
    const settings = {
      get: async () => kept,
      set: async () => {},
      swap: async (_key: string, expected: string | undefined, value: string) => {
        if (kept !== expected) return false
        kept = value
        return true
      },
    }
    const seen: { version: number; state: number }[] = []
    const pass = async (ticks: number) => {
      for (let tick = 0; tick < ticks; tick++) await new Promise((resolve) => setImmediate(resolve))
    }
    const replica = async (clock: number, reading: number) => {
      for (let i = 0; i < 30; i++) {
        await pass(10 + ((i * reading) % 7))
        state++
        let read = 0
        const digestOf = async () => {
          read = state
          await pass(reading)
          return `state ${read}`
        }
        const { version } = await nextVersion(settings, digestOf, () => clock)
        seen.push({ version, state: read })
      }
    }
    await Promise.all([replica(1_000_000, 3), replica(5_000_000, 1), replica(0, 5)])
    for (const a of seen) for (const b of seen) if (a.version < b.version) expect(a.state).toBeLessThanOrEqual(b.state)
    expect(Math.min(...seen.map(({ version }) => version))).toBeGreaterThan(0)
  })

  it('are refused where the record in the database is none', async () => {
    await fetched()
    await world.services.store.settings.set('bundle', '{"version":"many"}')
    await made('PUT', '/admin/policies/p', { name: 'p', rules: RULES })
    expect((await request()).status).toBe(500)
  })
})

describe('the key of bundles', () => {
  it('is rotated by itself; bundles of the old key are verified by what is published for as long as they are valid', async () => {
    const old = await (await request()).text()
    await made('POST', '/admin/keys/rotate', { key: 'bundle' })
    const young = await (await request()).text()
    expect(decodeProtectedHeader(young).kid).not.toBe(decodeProtectedHeader(old).kid)
    const { keys } = world.services
    expect(keys.published().keys.map(({ typ }) => typ)).toEqual(['JWT', 'meshguard-bundle+jws', 'meshguard-bundle+jws'])
    for (const jws of [old, young]) await verifyBundle(jws, { jwks: keys.published() }, { now })
    now += 25 * HOUR_MS
    expect(keys.published().keys).toHaveLength(2)
    expect((await world.admin('POST', '/admin/keys/rotate', { key: 'checkpoint' })).status).toBe(400)
  })

  it('is made for a key file of a release that signed no bundles, and kept', async () => {
    const file = join(world.folder, 'data/keys/signing-keys.json')
    const { bundle: _, retiredBundles: __, ...older } = JSON.parse(await readFile(file, 'utf8'))
    const folder = await mkdtemp(join(tmpdir(), 'meshguard-keys-'))
    const copy = join(folder, 'keys.json')
    await writeFile(copy, JSON.stringify(older), { mode: 0o600 })
    const kids: (string | undefined)[] = []
    for (let i = 0; i < 2; i++) {
      const other = await startGateway({ signingKeyFile: copy })
      kids.push(other.services.keys.bundleKid())
      expect(other.services.keys.jwks()).toEqual(world.services.keys.jwks())
      await other.close()
    }
    await rm(folder, { recursive: true })
    expect(kids[0]).toBe(kids[1])
    expect(kids[0]).not.toBe(world.services.keys.bundleKid())
  })
})
