import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { verifyBundle } from '@meshguard/core/bundle'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type PostgresServer, usePostgres } from '../postgres/server.js'
import { startGateway, type World } from './gateway-world.js'

let server: PostgresServer
let databaseUrl: string
let folder: string
const worlds: World[] = []
let service: string

beforeAll(async () => {
  server = await usePostgres()
  databaseUrl = await server.createDatabase()
  folder = await mkdtemp(join(tmpdir(), 'meshguard-keys-'))
  for (let i = 0; i < 3; i++) worlds.push(await startGateway({ databaseUrl, signingKeyFile: join(folder, 'keys.json') }))
  service = await (worlds[0] as World).createService('bundle')
}, 60_000)
afterAll(async () => {
  for (const world of worlds.reverse()) await world.close()
  await server.close()
  await rm(folder, { recursive: true })
})

const headers = () => ({ authorization: `Bearer ${service}` })

/** The bundle of each gateway: its ETag, its bytes, and what it says. */
const bundles = () =>
  Promise.all(
    worlds.map(async (world) => {
      const response = await world.fetch('/v1/bundle', { headers: headers() })
      const jws = await response.text()
      const { document } = await verifyBundle(jws, { jwks: world.services.keys.published() })
      return { etag: response.headers.get('etag'), jws, document }
    }),
  )

/** Asks until all gateways answer the same bundle, of which something holds; and answers that one. */
async function agreed(holds: (document: Awaited<ReturnType<typeof bundles>>[number]['document']) => boolean) {
  for (;;) {
    const [first, ...others] = await bundles()
    if (
      first !== undefined &&
      holds(first.document) &&
      others.every(({ jws, etag }) => jws === first.jws && etag === first.etag)
    ) {
      return first.document
    }
  }
}

describe('gateways on one database', () => {
  it('serve the same bytes under the same ETag, so that a guard may ask any of them', async () => {
    const { version } = await agreed(() => true)
    const [first] = await bundles()
    for (const world of worlds) {
      const known = await world.fetch('/v1/bundle', { headers: { ...headers(), 'if-none-match': first?.etag as string } })
      expect(known.status).toBe(304)
    }
    expect(version).toBeGreaterThan(0)
  })

  it('wake the guards of all of them after a change at one, and agree on its version', async () => {
    const aborting = new AbortController()
    const streams = await Promise.all(
      worlds.map(async (world) => {
        const { body } = await world.fetch('/v1/bundle/stream', { headers: headers(), signal: aborting.signal })
        const reader = (body as ReadableStream<Uint8Array>).pipeThrough<string>(new TextDecoderStream() as never).getReader()
        await reader.read()
        return reader
      }),
    )
    const { id } = await (worlds[0] as World).createAgent()
    await (worlds[1] as World).admin('DELETE', `/admin/agents/${id}`)
    for (const reader of streams) expect((await reader.read()).value).toContain('event: bundle')
    expect((await agreed(({ agents }) => agents[id]?.revoked === true)).agents[id]).toMatchObject({ revoked: true })
    aborting.abort()
  })

  it('come to one version after changes at all of them at once, and none goes back behind what was seen', async () => {
    const seen = worlds.map(() => 0)
    const watching = { isOver: false }
    const watch = async () => {
      while (!watching.isOver) {
        for (const [i, { document }] of (await bundles()).entries()) {
          expect(document.version).toBeGreaterThanOrEqual(seen[i] as number)
          seen[i] = document.version
        }
      }
    }
    const watched = watch()
    const revoked = await Promise.all(
      Array.from({ length: 24 }, async (_, i) => {
        const world = worlds[i % worlds.length] as World
        const rules = [{ effect: 'allow', actions: [`write:${i}`] }]
        await world.admin('PUT', `/admin/policies/p${i}`, { name: `p${i}`, rules })
        const { id } = await world.createAgent()
        await world.admin('DELETE', `/admin/agents/${id}`)
        return id
      }),
    )
    const document = await agreed(({ policies }) => policies.length === 25)
    watching.isOver = true
    await watched
    for (const id of revoked) expect(document.agents[id]).toMatchObject({ revoked: true })
  })

  it('sign with the key that one of them has made', async () => {
    const [one, two] = worlds as [World, World]
    await one.admin('POST', '/admin/keys/rotate', { key: 'bundle' })
    await two.admin('PUT', '/admin/policies/after', { name: 'after', rules: [{ effect: 'allow', actions: ['read:after'] }] })
    await agreed(({ policies }) => policies.some(({ name }) => name === 'after'))
    expect(new Set(worlds.map(({ services }) => services.keys.bundleKid())).size).toBe(1)
  })

  it('trust nothing that they remember after a change of which they could not learn what it was', async () => {
    const [one] = worlds as [World, World]
    const { id, token } = await one.createAgent()
    const headers = { authorization: `Bearer ${token}`, 'x-meshguard-action': 'read:x' }
    const statuses = () => Promise.all(worlds.map(async (world) => (await world.fetch('/proxy/check', { headers })).status))
    expect(await statuses()).toEqual([200, 200, 200])
    await agreed(({ agents }) => agents[id] === undefined)
    const unnoticed = { name: 'unnoticed', rules: [{ effect: 'allow', actions: ['write:unnoticed'] }] }
    await server.query(
      `begin; alter table agents disable trigger note_change; alter table policies disable trigger note_change;
      update agents set status = 'revoked', updated_at = updated_at + 1 where id = '${id}';
      insert into policies values ('unnoticed', '${JSON.stringify(unnoticed)}', 1, 1);
      alter table agents enable trigger note_change; alter table policies enable trigger note_change;
      update change_clock set version = version + 2; commit`,
      databaseUrl,
    )
    await expect.poll(statuses, { timeout: 10_000 }).toEqual([401, 401, 401])
    const document = await agreed(({ policies }) => policies.some(({ name }) => name === 'unnoticed'))
    expect(document.agents[id]).toMatchObject({ revoked: true })
  })
})
