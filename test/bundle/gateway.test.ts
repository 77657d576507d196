/** An application that decides by the bundles of a real gateway. */
import { auditToGateway, createGuard, type FromBundleOptions, fromBundle, type Guard } from '@meshguard/core'
import { afterEach, beforeEach, expect, it, vi } from 'vitest'
import { startGateway, type World } from '../gateway/gateway-world.js'

let world: World
let guard: Guard
let source: ReturnType<typeof fromBundle>
let log: ReturnType<typeof vi.spyOn>

beforeEach(async () => {
  log = vi.spyOn(console, 'error').mockImplementation(() => undefined)
  world = await startGateway({ policies: [] })
  await put('readers', [{ effect: 'allow', actions: ['read:*'] }])
  const options: FromBundleOptions = {
    ...{ url: world.url, token: await world.createService('bundle'), jwks: `${world.url}/.well-known/jwks.json` },
    ...{ stream: true, pollMs: 3_600_000 },
  }
  source = fromBundle(options)
  const audit = auditToGateway({ url: world.url, token: await world.createService('audit:write') })
  guard = createGuard({ source, audit })
  await source.refresh()
})
afterEach(async () => {
  await guard.close()
  await world.close()
  log.mockRestore()
})

async function put(name: string, rules: readonly object[]): Promise<void> {
  expect((await world.admin('PUT', `/admin/policies/${name}`, { name, rules })).status).toBeLessThan(300)
}
const codeOf = async (token: string, action = 'read:contacts') => (await guard.check(action, { token })).code
/** What the audit log says of a trace. */
async function entryOf(traceId: string | null): Promise<Record<string, unknown> | undefined> {
  const response = await world.admin('GET', `/admin/audit?traceId=${traceId}`)
  return ((await response.json()) as { entries: Record<string, unknown>[] }).entries[0]
}
const until = (holds: () => Promise<unknown>) =>
  vi.waitFor(async () => expect(await holds()).toBe(true), { timeout: 5000, interval: 20 })

it('knows of a policy, a tier, a revocation and new keys as soon as the gateway has them', async () => {
  const [nova, rook] = [await world.createAgent({ name: 'nova' }), await world.createAgent({ name: 'rook' })]
  await until(async () => (await codeOf(nova.token)) === 'allowed')
  await put('trusted', [{ effect: 'allow', actions: ['write:*'], conditions: { 'agent.trustTier': 'trusted' } }])
  expect((await world.admin('PATCH', `/admin/agents/${nova.id}`, { trustTier: 'trusted' })).status).toBe(200)
  await until(async () => (await codeOf(nova.token, 'write:contacts')) === 'allowed')
  expect(await codeOf(rook.token, 'write:contacts')).toBe('no_match')
  expect((await world.admin('DELETE', `/admin/agents/${nova.id}`)).status).toBeLessThan(300)
  await until(async () => (await codeOf(nova.token)) === 'unauthenticated')
  expect(await codeOf(rook.token)).toBe('allowed')
  expect((await world.admin('POST', '/admin/keys/rotate', {})).status).toBeLessThan(300)
  const made = await world.createAgent({ name: 'made' })
  await until(async () => (await codeOf(made.token)) === 'allowed')
  expect(await codeOf(rook.token), 'the old key goes on').toBe('allowed')
})

it('evaluates delegations as the gateway does', async () => {
  const [root, leaf] = [await world.createAgent({ name: 'root' }), await world.createAgent({ name: 'leaf' })]
  await put('writers', [{ effect: 'allow', actions: ['write:*'] }])
  const response = await world.admin('POST', '/admin/delegations', {
    ...{ from: root.id, to: leaf.id, actions: ['read:*'], expiresIn: '1h' },
  })
  const { id, token } = (await response.json()) as { id: string; token: string }
  await until(async () => (await codeOf(token)) === 'allowed')
  for (const action of ['read:contacts', 'write:contacts']) {
    const asked = await world.fetch('/proxy/check', {
      headers: { authorization: `Bearer ${token}`, 'x-meshguard-action': action },
    })
    const here = await guard.check(action, { token })
    expect([here.allowed, here.agentId], action).toEqual([asked.status === 200, leaf.id])
    const own = asked.headers.get('x-meshguard-trace-id')
    await until(async () => (await entryOf(here.traceId)) !== undefined)
    const { chain, onBehalfOf } = (await entryOf(own)) ?? {}
    expect(await entryOf(here.traceId), action).toMatchObject({ source: 'bundle', onBehalfOf: root.id, chain })
    expect(onBehalfOf).toBe(root.id)
  }
  await world.admin('DELETE', `/admin/delegations/${id}`)
  await until(async () => (await codeOf(token)) === 'unauthenticated')
})

it('decides while the gateway is gone, and records all of it when it is back', async () => {
  const { id, token } = await world.createAgent()
  await until(async () => (await codeOf(token)) === 'allowed')
  await guard.check('read:before', { token })
  const { port } = world
  await world.gateway.close()
  for (let i = 0; i < 20; i++) expect((await guard.check(`read:while-${i}`, { token })).allowed).toBe(true)
  const again = await reopen(world, port)
  try {
    const found = async () => {
      const response = await fetch(`${world.url}/admin/audit?limit=1000&agentId=${id}`, {
        headers: { 'x-admin-token': world.adminToken },
      })
      const { entries } = (await response.json()) as { entries: { action: string; source: string }[] }
      return entries.filter(({ source }) => source === 'bundle').map(({ action }) => action)
    }
    await until(async () => (await found()).includes('read:while-19'))
    const actions = await found()
    for (let i = 0; i < 20; i++) expect(actions.filter((one) => one === `read:while-${i}`)).toHaveLength(1)
  } finally {
    await again.close()
  }
})

/** The same gateway in another process, as it were: the same data on the same port. */
async function reopen({ gateway: _, services }: World, port: number) {
  const { createGateway } = await import('@meshguard/gateway')
  const gateway = await createGateway({ ...services.config, port } as never)
  await gateway.listen()
  return gateway
}
