/** What is signed when, seen from inside a gateway. */
import { verifyBundle } from '@meshguard/core/bundle'
import { decodeProtectedHeader } from 'jose'
import { afterEach, beforeEach, describe, expect, it, onTestFinished, vi } from 'vitest'
import { nextVersion } from '../../packages/gateway/src/bundle/bundle-version.js'
import type { Bundles, SignedBundle } from '../../packages/gateway/src/bundle/bundles.js'
import { createBundles } from '../../packages/gateway/src/bundle/create-bundles.js'
import { createKeys } from '../../packages/gateway/src/identity/create-keys.js'
import type { ChangeListener, Changes, SettingsStore, Store, StoreChange } from '../../packages/gateway/src/store/store.js'
import { startGateway, type World } from './gateway-world.js'

let world: World
beforeEach(async () => {
  world = await startGateway()
})
afterEach(() => world.close())

/** Another replica on the store of the gateway, some parts of which are its own. */
function replica(parts: Partial<Store> = {}): Bundles {
  const { store, keys, policies, metrics, log, now } = world.services
  const bundles = createBundles({ store: { ...store, ...parts }, keys, policies, metrics, log, now })
  onTestFinished(() => bundles.close())
  return bundles
}

async function saysOf({ bytes }: SignedBundle) {
  return (await verifyBundle(new TextDecoder().decode(bytes), { jwks: world.services.keys.published() })).document
}

async function revoke(id: string): Promise<void> {
  const now = Date.now()
  await world.services.store.agents.update(id, { status: 'revoked', revokedAt: now }, now)
}

describe('a bundle that is asked for after a change', () => {
  it.each(['what', 'no more than that something'])(
    'holds it, where a replica is told late %s another one changed',
    async (told) => {
      const listeners = new Set<ChangeListener>()
      let untold: readonly StoreChange[] | undefined = []
      const changes: Changes = {
        subscribe(listener) {
          listeners.add(listener)
          return () => void listeners.delete(listener)
        },
        async catchUp() {
          for (const listener of listeners) await listener(untold)
          untold = []
        },
      }
      const behind = replica({ changes })
      await behind.current()
      const { id } = await world.createAgent()
      await revoke(id)
      world.services.bundles.changed(id)
      untold = told === 'what' ? [{ kind: 'agents', key: id }] : undefined
      const { version } = await world.services.bundles.current()
      behind.changed()
      expect(await saysOf(await behind.current())).toMatchObject({ version, agents: { [id]: { revoked: true } } })
    },
  )

  it('holds it, although another one is being signed already', async () => {
    const { settings } = world.services.store
    const { id } = await world.createAgent()
    let second: Promise<SignedBundle> | undefined
    const swap: SettingsStore['swap'] = async (...record) => {
      if (second === undefined) {
        await revoke(id)
        bundles.changed(id)
        second = bundles.current()
      }
      return settings.swap(...record)
    }
    const bundles = replica({ settings: { ...settings, swap } })
    const first = await saysOf(await bundles.current())
    expect(first.agents[id]).toBeUndefined()
    const { version, agents } = await saysOf((await second) as unknown as SignedBundle)
    expect([version > first.version, agents[id]]).toEqual([true, expect.objectContaining({ revoked: true })])
  })

  it('holds it, or is refused, although signing one has failed since', async () => {
    const { delegations } = world.services.store
    let isFailing = false
    const list = async () => {
      if (isFailing) throw new Error('no database')
      return delegations.list()
    }
    const bundles = replica({ delegations: { ...delegations, list } })
    await bundles.current()
    const { id } = await world.createAgent()
    await revoke(id)
    bundles.changed(id)
    isFailing = true
    await expect(bundles.current()).rejects.toThrow('no database')
    await expect(bundles.current()).rejects.toThrow('no database')
    isFailing = false
    expect((await saysOf(await bundles.current())).agents[id]).toMatchObject({ revoked: true })
  })
})

describe('the time of a bundle', () => {
  /** The record that comes after one of another replica, with the same content. */
  async function following(issuedAt: number, now: number) {
    let kept = JSON.stringify({ version: 7, digest: 'same', issuedAt })
    const swap: SettingsStore['swap'] = async (_key, _expected, value) => {
      kept = value
      return true
    }
    const next = await nextVersion(
      { get: async () => kept, set: async () => {}, swap },
      async () => 'same',
      () => now,
    )
    expect(JSON.parse(kept)).toEqual(next)
    return next
  }

  it('may be a minute ahead of the clock here', async () => {
    expect(await following(60_000, 0)).toMatchObject({ version: 7, issuedAt: 60_000 })
  })

  it('is corrected with a new version where another clock was further ahead, as guards refuse what comes from the future', async () => {
    expect(await following(60_001, 0)).toMatchObject({ version: 8, issuedAt: 0 })
  })
})

it('a delegation that another replica made, and one that it revoked, are signed when that is told', async () => {
  const listeners = new Set<ChangeListener>()
  const changes: Changes = {
    subscribe(listener) {
      listeners.add(listener)
      return () => void listeners.delete(listener)
    },
    catchUp: async () => {},
  }
  await Promise.all([world.createAgent({ id: 'a' }), world.createAgent({ id: 'b' })])
  const bundles = replica({ changes })
  const held = async () => (await saysOf(await bundles.current())).delegations.length
  expect(await held()).toBe(0)
  const body = { from: 'a', to: 'b', actions: ['read:*'], expiresIn: '1h' }
  const { id } = (await (await world.admin('POST', '/admin/delegations', body)).json()) as { id: string }
  for (const listener of listeners) await listener([{ kind: 'delegations', key: id }])
  expect(await held()).toBe(1)
  await world.admin('DELETE', `/admin/delegations/${id}`)
  for (const listener of listeners) await listener([{ kind: 'delegations', key: id }])
  expect(await held()).toBe(0)
})

it('holds the keys that another gateway has made', async () => {
  const { config, log, now, bundles } = world.services
  await bundles.current()
  const other = await createKeys({ config, log, now })
  await other.rotate('token')
  await other.rotate('bundle')
  bundles.changed()
  const bundle = await bundles.current()
  expect((await saysOf(bundle)).jwks.keys).toHaveLength(2)
  expect(decodeProtectedHeader(new TextDecoder().decode(bundle.bytes)).kid).toBe(other.bundleKid())
})

it('keys that another gateway has made are noticed, and guards are woken', async () => {
  vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval'] })
  onTestFinished(() => void vi.useRealTimers())
  const bundles = replica()
  const told: number[] = []
  const { version } = await bundles.current()
  bundles.subscribe((bundle) => told.push(bundle.version))
  const { config, log, now } = world.services
  await (await createKeys({ config, log, now })).rotate('token')
  vi.advanceTimersByTime(60_000)
  await expect.poll(() => told, { timeout: 10_000 }).toHaveLength(1)
  expect(told[0]).toBeGreaterThan(version)
  expect((await saysOf(await bundles.current())).jwks.keys).toHaveLength(2)
})
