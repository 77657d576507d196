import { existsSync } from 'node:fs'
import { readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { AuthenticationError, mintAgentToken } from '@meshguard/core'
import { afterEach, describe, expect, test, vi } from 'vitest'
import type { DelegationRecord } from '../../packages/gateway/src/store/store.js'
import { ADMIN_TOKEN, startGateway, type World, type WorldAgent, type WorldOptions } from './gateway-world.js'

let worlds: World[] = []
afterEach(async () => {
  for (const world of worlds) await world.close()
  worlds = []
})
const start = async (options?: WorldOptions): Promise<World> => {
  const world = await startGateway(options)
  worlds.push(world)
  return world
}
const agentOf = async ({ services }: World, token: string) => services.identity.agentOf(token)
const refusal = async (world: World, token: string) => {
  const error = await agentOf(world, token).catch((reason: unknown) => reason)
  expect(error).toBeInstanceOf(AuthenticationError)
  return (error as Error).message
}
const update = async ({ services }: World, id: string, change: object) => {
  await services.store.agents.update(id, change, services.now())
  services.identity.forget(id)
}

describe('An agent', () => {
  test('is the same object for as long as its record stays the same', async () => {
    const world = await start()
    const { token } = await world.createAgent({ id: 'bot', tags: ['a'] })
    const { agent, chain } = await agentOf(world, token)
    expect(agent).toMatchObject({ id: 'bot', trustTier: 'verified', tags: ['a'] })
    expect(chain).toBeUndefined()
    const again = world.services.identity.agentOf(token)
    expect(again).not.toBeInstanceOf(Promise)
    expect((await again).agent).toBe(agent)
  })

  test('has the tier and tags of the registry, not those of its token', async () => {
    const world = await start()
    const { token } = await world.createAgent({ id: 'bot', trustTier: 'privileged', tags: ['a'] })
    await update(world, 'bot', { trustTier: 'unverified', tags: ['b'] })
    expect((await agentOf(world, token)).agent).toMatchObject({ trustTier: 'unverified', tags: ['b'] })
  })

  test('that is revoked is refused at the next request, remembered as it was', async () => {
    const world = await start()
    const { token } = await world.createAgent({ id: 'bot' })
    await agentOf(world, token)
    await update(world, 'bot', { status: 'revoked', revokedAt: 1 })
    expect(await refusal(world, token)).toContain('revoked')
    expect(await world.services.identity.agentById('bot')).toBeUndefined()
  })

  test('whose tokens were revoked is refused with an old one and served with a new one', async () => {
    const world = await start()
    const { token, record } = await world.createAgent({ id: 'bot' })
    await agentOf(world, token)
    await update(world, 'bot', { generation: 1 })
    expect(await refusal(world, token)).toContain('revoked')
    const { token: next } = await world.services.keys.mint({ ...record, generation: 1 })
    expect((await agentOf(world, next)).agent.id).toBe('bot')
  })

  test('that is not in the registry is refused, however well its token is signed', async () => {
    const secret = 'a secret that somebody else signs with too'
    const world = await start({ jwtSecret: secret })
    const token = await mintAgentToken({ id: 'stranger', key: secret })
    expect(await refusal(world, token)).toContain('not in the registry')
    await world.createAgent({ id: 'stranger' })
    expect((await agentOf(world, token)).agent.id).toBe('stranger')
  })

  test('that changes while it is looked up is not remembered as it was', async () => {
    const world = await start()
    const { token, record } = await world.createAgent({ id: 'bot' })
    const { store, identity } = world.services
    let answer: (() => void) | undefined
    const waiting = new Promise<void>((resolve) => {
      answer = resolve
    })
    const get = vi.spyOn(store.agents, 'get').mockImplementationOnce(async () => {
      await waiting
      return record
    })
    const early = agentOf(world, token)
    await vi.waitFor(() => expect(get).toHaveBeenCalled())
    await update(world, 'bot', { status: 'revoked' })
    answer?.()
    await early
    expect(await identity.agentById('bot')).toBeUndefined()
    expect(await refusal(world, token)).toContain('revoked')
  })

  test('is seen at most once in five minutes', async () => {
    let now = Date.now()
    const world = await start({ clock: () => now })
    const { token } = await world.createAgent({ id: 'bot' })
    const seen = async () => (await world.services.store.agents.get('bot'))?.lastSeenAt
    await agentOf(world, token)
    const first = now
    await vi.waitFor(async () => expect(await seen()).toBe(first))
    now += 60_000
    await agentOf(world, token)
    now += 240_000
    await agentOf(world, token)
    await vi.waitFor(async () => expect(await seen()).toBe(first + 300_000))
  })

  test('whose registry cannot be read is unavailable, not unauthenticated', async () => {
    const world = await start()
    const { token } = await world.createAgent()
    vi.spyOn(world.services.store.agents, 'get').mockRejectedValueOnce(new Error('disk'))
    await expect(agentOf(world, token)).rejects.not.toBeInstanceOf(AuthenticationError)
    expect((await agentOf(world, token)).agent).toBeDefined()
  })
})

describe('A delegation', () => {
  const HOUR_MS = 3_600_000
  async function chainOf(world: World, ...ids: string[]): Promise<{ agents: WorldAgent[]; chain: DelegationRecord[] }> {
    const agents = await Promise.all(ids.map((id) => world.createAgent({ id })))
    const chain = ids.slice(1).map((to, i): DelegationRecord => {
      const parent = i === 0 ? undefined : `d${i}`
      const times = { createdAt: world.services.now(), expiresAt: world.services.now() + HOUR_MS }
      return {
        id: `d${i + 1}`,
        from: ids[i] as string,
        to,
        actions: ['read:*'],
        depth: i + 1,
        ...times,
        ...(parent && { parent }),
      }
    })
    for (const delegation of chain) await world.services.store.delegations.insert(delegation)
    return { agents, chain }
  }
  const tokenOf = async (world: World, { agents, chain }: Awaited<ReturnType<typeof chainOf>>) =>
    (await world.services.keys.mint((agents.at(-1) as WorldAgent).record, { chain })).token

  test('makes the leaf act, with every hop from the root on', async () => {
    const world = await start()
    const made = await chainOf(world, 'root', 'middle', 'leaf')
    const { agent, chain } = await agentOf(world, await tokenOf(world, made))
    expect(agent.id).toBe('leaf')
    expect(chain?.map(({ from, delegation }) => [from.id, delegation.id, delegation.to])).toEqual([
      ['root', 'd1', 'middle'],
      ['middle', 'd2', 'leaf'],
    ])
  })

  test.each(['root', 'middle', 'leaf'])('is over at once when %s is revoked', async (id) => {
    const world = await start()
    const token = await tokenOf(world, await chainOf(world, 'root', 'middle', 'leaf'))
    await agentOf(world, token)
    await update(world, id, { status: 'revoked' })
    expect(await refusal(world, token)).toContain('revoked')
  })

  test.each(['d1', 'd2'])('is over at once when %s is revoked', async (id) => {
    const world = await start()
    const token = await tokenOf(world, await chainOf(world, 'root', 'middle', 'leaf'))
    await agentOf(world, token)
    await world.services.store.delegations.revoke(id, world.services.now())
    expect(await refusal(world, token)).toContain('revoked')
  })

  test('is over when a hop expires, although its token has not', async () => {
    let now = Date.now()
    const world = await start({ clock: () => now })
    const token = await tokenOf(world, await chainOf(world, 'root', 'leaf'))
    now += HOUR_MS - 1
    await agentOf(world, token)
    now += 1
    expect(await refusal(world, token)).toContain('expired')
  })

  test('is over when the tokens of the leaf are revoked', async () => {
    const world = await start()
    const token = await tokenOf(world, await chainOf(world, 'root', 'leaf'))
    await update(world, 'leaf', { generation: 1 })
    expect(await refusal(world, token)).toContain('revoked')
  })

  test('of five hops is served, of six refused', async () => {
    const world = await start()
    const ids = ['a', 'b', 'c', 'd', 'e', 'f', 'g']
    const made = await chainOf(world, ...ids)
    const five = { agents: made.agents.slice(0, 6), chain: made.chain.slice(0, 5) }
    expect((await agentOf(world, await tokenOf(world, five))).agent.id).toBe('f')
    expect(await refusal(world, await tokenOf(world, made))).toContain('more than 5')
  })

  test('in which an agent occurs twice is refused', async () => {
    const world = await start()
    const { agents, chain } = await chainOf(world, 'a', 'b')
    const times = { createdAt: 0, expiresAt: world.services.now() + HOUR_MS }
    const back = { id: 'd2', from: 'b', to: 'a', actions: ['*'], depth: 2, parent: 'd1', ...times }
    await world.services.store.delegations.insert(back)
    expect(await refusal(world, await tokenOf(world, { agents: agents.slice(0, 1), chain: [...chain, back] }))).toContain(
      'twice',
    )
  })

  const secret = 'a secret that somebody else signs with too'
  test.each([
    ['of another root', { delegation: [{ id: 'd2' }], act: { sub: 'c' } }],
    ['that leaves a hop out', { delegation: [{ id: 'd2' }], act: { sub: 'c', act: { sub: 'b' } } }],
    ['in another order', { delegation: [{ id: 'd2' }, { id: 'd1' }], act: { sub: 'c', act: { sub: 'b' } } }],
    ['with another actor', { delegation: [{ id: 'd1' }], act: { sub: 'c' } }],
    ['with an actor too many', { delegation: [{ id: 'd1' }], act: { sub: 'b', act: { sub: 'c' } } }],
    ['without actors', { delegation: [{ id: 'd1' }] }],
    ['without hops', { act: { sub: 'b' } }],
    ['with an empty list', { delegation: [], act: { sub: 'b' } }],
    ['that is no list', { delegation: { id: 'd1' }, act: { sub: 'b' } }],
    ['with a hop of null', { delegation: [null], act: { sub: 'b' } }],
    ['that is unknown', { delegation: [{ id: 'd9' }], act: { sub: 'b' } }],
    ['that may be made', { may_act: { sub: 'b' } }],
    ['and another that may be made', { delegation: [{ id: 'd1' }], act: { sub: 'b' }, may_act: { sub: 'c' } }],
    ['that is null', { delegation: null }],
  ])('%s is refused, however well it is signed', async (_, claims) => {
    const world = await start({ jwtSecret: secret })
    await chainOf(world, 'a', 'b', 'c')
    await refusal(world, await mintAgentToken({ id: 'a', key: secret, claims }))
  })
})

describe('A service', () => {
  test('is known by its token, with its scopes', async () => {
    const world = await start()
    const token = await world.createService('decide', 'audit:read')
    expect(await world.services.identity.serviceOf(token)).toMatchObject({ name: 'test', scopes: ['decide', 'audit:read'] })
  })

  test('is refused once its token is deleted, and with any other', async () => {
    const world = await start()
    const { identity, store } = world.services
    const token = await world.createService('decide')
    const [record] = await store.tokens.list()
    for (const bad of [`${token}x`, token.slice(0, -1), 'msvc_', '', `msvc_${'x'.repeat(10_000)}`, 'f'.repeat(64)]) {
      await expect(identity.serviceOf(bad), bad).rejects.toBeInstanceOf(AuthenticationError)
    }
    await store.tokens.delete(record?.id as string)
    await expect(identity.serviceOf(token)).rejects.toBeInstanceOf(AuthenticationError)
  })

  test('whose token expires is refused from that moment on', async () => {
    let now = Date.now()
    const world = await start({ clock: () => now })
    const { identity, store } = world.services
    const token = await world.createService('decide')
    const [record] = await store.tokens.list()
    await store.tokens.delete(record?.id as string)
    await store.tokens.insert({ ...(record as object), expiresAt: now + 1000 } as never)
    expect(await identity.serviceOf(token)).toBeDefined()
    now += 1000
    await expect(identity.serviceOf(token)).rejects.toBeInstanceOf(AuthenticationError)
  })
})

describe('An operator', () => {
  test.each([
    ['the admin token', { 'x-admin-token': ADMIN_TOKEN }, true],
    ['the admin token as a bearer, which has not its form', { authorization: `Bearer ${ADMIN_TOKEN}` }, false],
    ['the admin token and one character more', { 'x-admin-token': `${ADMIN_TOKEN}x` }, false],
    ['the admin token without its last character', { 'x-admin-token': ADMIN_TOKEN.slice(0, -1) }, false],
    ['nothing', {}, false],
    ['an empty token', { 'x-admin-token': '' }, false],
    ['"undefined"', { 'x-admin-token': 'undefined', authorization: 'Bearer undefined' }, false],
    ['a very long token', { 'x-admin-token': 'x'.repeat(5000) }, false],
    ['the API key of other clients', { 'x-meshguard-api-key': ADMIN_TOKEN }, false],
  ])('with %s', async (_, headers, expected) => {
    const world = await start()
    expect(await world.services.identity.isOperator(new Headers(headers as Record<string, string>))).toBe(expected)
  })

  test('can be a service with the scope admin, and no other', async () => {
    const world = await start()
    const { isOperator } = world.services.identity
    const [admin, other] = [await world.createService('admin'), await world.createService('decide', 'audit:write')]
    expect(await isOperator(new Headers({ authorization: `Bearer ${admin}` }))).toBe(true)
    expect(await isOperator(new Headers({ 'x-admin-token': admin }))).toBe(true)
    expect(await isOperator(new Headers({ authorization: `Bearer ${other}` }))).toBe(false)
    expect(await isOperator(new Headers({ 'x-admin-token': other }))).toBe(false)
  })
})

describe('The admin token that nobody configured', () => {
  test('is made on the first start, told, and kept hashed', async () => {
    const told: string[] = []
    const options = { adminToken: undefined, onAdminToken: (token: string) => void told.push(token) }
    const world = await start(options)
    expect(told).toEqual([world.gateway.adminToken])
    expect(told[0]).toMatch(/^msat_[\w-]{43}$/)
    expect((await world.admin('GET', '/health')).status).toBe(200)
    const { isOperator } = world.services.identity
    expect(await isOperator(new Headers({ 'x-admin-token': told[0] as string }))).toBe(true)
    expect(await isOperator(new Headers({ authorization: `Bearer ${told[0]}` }))).toBe(true)
    const database = await readFile(join(world.folder, 'data', 'meshguard.db'), 'latin1')
    expect(database).not.toContain(told[0])
    await world.gateway.close()

    const { dataDir, databaseUrl, signingKeyFile } = world.gateway.config
    const again = await start({ ...options, dataDir, databaseUrl, signingKeyFile })
    expect(again.gateway.adminToken).toBeUndefined()
    expect(told).toHaveLength(1)
    expect(await again.services.identity.isOperator(new Headers({ 'x-admin-token': told[0] as string }))).toBe(true)
  })

  test('is written to a file of its owner where there is no terminal', async () => {
    const print = vi.spyOn(process.stdout, 'write').mockReturnValue(true)
    const isTTY = process.stdout.isTTY
    process.stdout.isTTY = false
    try {
      const world = await start({ adminToken: undefined })
      const file = join(world.folder, 'data', 'admin-token')
      expect(await readFile(file, 'utf8')).toBe(`${world.gateway.adminToken}\n`)
      expect((await stat(file)).mode & 0o777).toBe(0o600)
      const printed = print.mock.calls.map(([text]) => String(text)).join('')
      expect(printed).toContain(file)
      expect(printed).not.toContain(world.gateway.adminToken)
    } finally {
      process.stdout.isTTY = isTTY
      print.mockRestore()
    }
  })

  test('is shown on a terminal, and in no file', async () => {
    const print = vi.spyOn(process.stdout, 'write').mockReturnValue(true)
    const isTTY = process.stdout.isTTY
    process.stdout.isTTY = true
    try {
      const world = await start({ adminToken: undefined })
      expect(print.mock.calls.map(([text]) => String(text)).join('')).toContain(world.gateway.adminToken)
      expect(existsSync(join(world.folder, 'data', 'admin-token'))).toBe(false)
    } finally {
      process.stdout.isTTY = isTTY
      print.mockRestore()
    }
  })

  test('does not count where one is configured', async () => {
    const world = await start({ adminToken: undefined, onAdminToken: () => {} })
    const made = world.gateway.adminToken as string
    await world.gateway.close()
    const configured = await start({ dataDir: join(world.folder, 'data') })
    expect(await configured.services.identity.isOperator(new Headers({ 'x-admin-token': made }))).toBe(false)
    expect(await configured.services.identity.isOperator(new Headers({ 'x-admin-token': ADMIN_TOKEN }))).toBe(true)
  })
})
