/** One agent's failures never touch another: many agents share a guard, and so an address, in front of one gateway. */
import { createGuard, type Decision, fromGateway, type Guard } from '@meshguard/core'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { startGateway, type World, type WorldAgent } from '../gateway/gateway-world.js'

const DENIED_RPM = 40
const FLOOD = 1000
const AT_ONCE = 50

const policies = [
  {
    name: 'shared',
    rules: [
      { name: 'look', effect: 'allow', actions: ['read:*'] },
      { name: 'send', effect: 'allow', actions: ['write:email'], rateLimit: { requests: 5, per: '1h' } },
    ],
  },
]

let gateway: World
let good: WorldAgent
let service: string
const guards: Guard[] = []

beforeAll(async () => {
  gateway = await startGateway({ policies, deniedRpm: DENIED_RPM, rateLimitRpm: 60 })
  good = await gateway.createAgent()
  service = await gateway.createService('decide')
})
afterAll(async () => {
  for (const guard of guards) await guard.close()
  await gateway.close()
})

function guardOf(token: string | undefined): Guard {
  const guard = createGuard({ source: fromGateway({ url: gateway.url, token, timeoutMs: 10_000 }), timeoutMs: 20_000 })
  guards.push(guard)
  return guard
}

/** Does the same many times, some at once, and meanwhile asks for the good agent again and again: it must be served each time. */
async function flood(guard: Guard, ask: (i: number) => Promise<Decision>): Promise<Map<string, number>> {
  const codes = new Map<string, number>()
  for (let i = 0; i < FLOOD; i += AT_ONCE) {
    const asked = Array.from({ length: AT_ONCE }, (_, j) => ask(i + j))
    const served = await guard.check('read:contacts', { token: good.token })
    expect(served, `after ${i}`).toMatchObject({ allowed: true, code: 'allowed', agentId: good.id })
    for (const { code } of await Promise.all(asked)) codes.set(code, (codes.get(code) ?? 0) + 1)
  }
  return codes
}

async function entries(filter: string): Promise<number> {
  const response = await gateway.admin('GET', `/admin/audit?limit=1000&${filter}`)
  return ((await response.json()) as { entries: unknown[] }).entries.length
}

describe.each([
  ['asking on its own', () => undefined],
  ['asking with a service token', () => service],
])('behind a guard %s, the others are served while one agent', (_way, tokenOf) => {
  it('sends garbage for a token', async () => {
    const guard = guardOf(tokenOf())
    const codes = await flood(guard, (i) =>
      guard.check('read:contacts', { token: i % 2 === 0 ? `garbage-${i}` : `${good.token.slice(0, -4)}${1000 + i}` }),
    )
    expect([...codes.keys()].every((code) => code === 'unauthenticated' || code === 'unavailable')).toBe(true)
    expect(codes.get('unauthenticated')).toBeGreaterThan(0)
  })

  it('is denied again and again; the audit log does not grow with it', async () => {
    const guard = guardOf(tokenOf())
    const bad = await gateway.createAgent()
    const codes = await flood(guard, () => guard.check('delete:contacts', { token: bad.token }))
    expect(codes.get('allowed')).toBeUndefined()
    expect(codes.get('unavailable')).toBeGreaterThan(0)
    const recorded = await entries(`agentId=${bad.id}&decision=deny`)
    expect(recorded).toBeGreaterThan(0)
    expect(recorded).toBeLessThanOrEqual(4 * DENIED_RPM)
  })

  it('exhausts its rate limit', async () => {
    const guard = guardOf(tokenOf())
    const greedy = await gateway.createAgent()
    const codes = await flood(guard, () => guard.check('write:email', { token: greedy.token }))
    expect(codes.get('allowed')).toBe(5)
    const modest = await gateway.createAgent()
    expect((await guard.check('write:email', { token: modest.token })).allowed).toBe(true)
  })

  it('sends contexts that nobody can read', async () => {
    const guard = guardOf(tokenOf())
    const bad = await gateway.createAgent()
    let deep: Record<string, unknown> = {}
    for (let i = 0; i < 40; i++) deep = { deep }
    const contexts = [deep, { n: 1n }, { text: 'x'.repeat(100_000) }, JSON.parse('{"__proto__":{"a":1}}'), []]
    const codes = await flood(guard, (i) =>
      guard.check('read:contacts', { token: bad.token, context: contexts[i % contexts.length] as Record<string, unknown> }),
    )
    expect([...codes.keys()]).toEqual(['unavailable'])
  })
})

it('the chain of the audit log verifies after all of it', async () => {
  const response = await gateway.admin('GET', '/admin/audit/verify')
  expect(await response.json()).toMatchObject({ valid: true })
})
