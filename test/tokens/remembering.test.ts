import { describe, expect, test, vi } from 'vitest'
import { AuthenticationError, UnavailableError } from '../../packages/core/src/errors.js'
import { agentTokens } from '../../packages/core/src/tokens/agent-tokens.js'
import { TokenMemory, type Verified } from '../../packages/core/src/tokens/memory.js'
import type { Agent } from '../../packages/core/src/types.js'
import { hs256, kinds, NOW, NOW_S, write } from './tokens.js'

describe.each(kinds)('A remembered token ($name)', (kind) => {
  test('is answered synchronously, always with the same frozen agent', async () => {
    const authenticate = agentTokens({ ...kind.keys, clock: () => NOW })
    const token = write(kind, { payload: { name: 'Low', tier: 'trusted', tags: ['a'], metadata: { org: { id: [1] } } } })
    const first = authenticate(token)
    expect(first).toBeInstanceOf(Promise)
    const agent = await first
    expect(authenticate(token)).toBe(agent)
    expect(authenticate(`${token.slice(0, 9)}${token.slice(9)}`)).toBe(agent)
    const { org } = agent.metadata as { org: { id: number[] } }
    for (const part of [agent, agent.tags, agent.metadata, org, org.id]) expect(Object.isFrozen(part)).toBe(true)
    expect(agent).toEqual({ id: 'agent-low', name: 'Low', trustTier: 'trusted', tags: ['a'], metadata: { org: { id: [1] } } })
  })

  test('that came many times before it was verified has one agent', async () => {
    const authenticate = agentTokens({ ...kind.keys, clock: () => NOW })
    const token = write(kind)
    const agents = await Promise.all(Array.from({ length: 20 }, () => authenticate(token)))
    expect(new Set(agents).size).toBe(1)
    expect(authenticate(token)).toBe(agents[0])
  })

  test('expires', async () => {
    let now = NOW
    const authenticate = agentTokens({ ...kind.keys, clock: () => now })
    const token = write(kind)
    const agent = await authenticate(token)
    now = NOW + 604_999
    expect(authenticate(token)).toBe(agent)
    now = NOW + 605_000
    expect(() => authenticate(token)).toThrow(/expired/)
    now = NOW - 5001
    expect(() => authenticate(token)).toThrow(/not valid yet/)
  })

  test('honours nbf when the clock goes back', async () => {
    let now = NOW
    const authenticate = agentTokens({ ...kind.keys, clock: () => now })
    const token = write(kind, { payload: { iat: NOW_S - 600, nbf: NOW_S - 60 } })
    await authenticate(token)
    now = NOW - 65_001
    expect(() => authenticate(token)).toThrow(AuthenticationError)
  })

  test('is refused when the clock tells no time', async () => {
    let now = NOW
    const authenticate = agentTokens({ ...kind.keys, clock: () => now })
    const token = write(kind)
    await authenticate(token)
    now = Number.NaN
    expect(() => authenticate(token)).toThrow(AuthenticationError)
    await expect(agentTokens({ ...kind.keys, clock: () => now })(token)).rejects.toBeInstanceOf(UnavailableError)
  })
})

test('The longest life counts for remembered tokens', async () => {
  let now = NOW
  const authenticate = agentTokens({ ...hs256.keys, clock: () => now, maxTokenAgeMs: 600_000 })
  const token = write(hs256, { payload: { exp: NOW_S + 604 } })
  await authenticate(token)
  now = NOW + 605_000
  expect(() => authenticate(token)).toThrow(/expired/)
})

describe('isRevoked', () => {
  const token = write(hs256, { payload: { jti: 'j1' } })

  test('is asked on every request, with the agent and the frozen claims', async () => {
    const isRevoked = vi.fn((_agent: Agent, _claims: Readonly<Record<string, unknown>>) => false)
    const authenticate = agentTokens({ ...hs256.keys, clock: () => NOW, isRevoked })
    const agent = await authenticate(token)
    expect(authenticate(token)).toBe(agent)
    expect(isRevoked).toHaveBeenCalledTimes(2)
    const [asked, claims] = isRevoked.mock.calls[1] as [Agent, object]
    expect(asked).toBe(agent)
    expect(claims).toMatchObject({ sub: 'agent-low', jti: 'j1', iat: NOW_S })
    expect(Object.isFrozen(claims)).toBe(true)
    isRevoked.mockReturnValue(true)
    expect(() => authenticate(token)).toThrow(AuthenticationError)
    isRevoked.mockReturnValue(false)
    expect(authenticate(token)).toBe(agent)
  })

  test('may answer with a promise', async () => {
    let revoked = false
    const authenticate = agentTokens({ ...hs256.keys, clock: () => NOW, isRevoked: async () => revoked })
    const agent = await authenticate(token)
    await expect(authenticate(token)).resolves.toBe(agent)
    revoked = true
    await expect(authenticate(token)).rejects.toThrow(/revoked/)
  })

  const outage = new Error('database gone')
  test.each<[string, () => unknown]>([
    [
      'throws',
      () => {
        throw outage
      },
    ],
    ['throws a refusal of its own', () => Promise.reject(new AuthenticationError('no'))],
    ['rejects', () => Promise.reject(outage)],
    ['answers nothing', () => undefined],
    ['answers a text', () => 'false'],
    ['answers 0', () => 0],
    ['answers null', () => null],
    ['promises nothing', async () => undefined],
  ])('that %s makes it unavailable, at first and later', async (_, fail) => {
    let working = false
    const isRevoked = () => (working ? false : fail()) as boolean
    const authenticate = agentTokens({ ...hs256.keys, clock: () => NOW, isRevoked })
    const attempt = async () => authenticate(token)
    await expect(attempt()).rejects.toBeInstanceOf(UnavailableError)
    working = true
    await expect(attempt()).resolves.toHaveProperty('id')
    working = false
    await expect(attempt()).rejects.toBeInstanceOf(UnavailableError)
    await expect(attempt()).rejects.not.toBeInstanceOf(AuthenticationError)
  })
})

describe('The memory of tokens', () => {
  const verified = (): Verified<object> => ({
    value: { id: 'a', trustTier: 'verified' },
    claims: {},
    notBefore: 0,
    notAfter: Number.POSITIVE_INFINITY,
  })

  test('never holds more than its limit', () => {
    const memory = new TokenMemory<object>(100)
    let most = 0
    for (let i = 0; i < 1000; i++) {
      memory.add(`t${i}`, verified())
      memory.get(`t${Math.floor(i / 2)}`)
      most = Math.max(most, memory.size)
    }
    expect(most).toBeGreaterThan(50)
    expect(most).toBeLessThanOrEqual(100)
  })

  test('keeps what is asked for while others come and go', () => {
    const memory = new TokenMemory<object>(100)
    const kept = memory.add('kept', verified())
    for (let i = 0; i < 10_000; i++) {
      memory.add(`t${i}`, verified())
      if (i % 40 === 0) expect(memory.get('kept')).toBe(kept)
    }
    expect(memory.get('t0')).toBeUndefined()
  })

  test('keeps the first of two that were verified at once', () => {
    const memory = new TokenMemory<object>()
    const first = memory.add('t', verified())
    expect(memory.add('t', verified())).toBe(first)
  })
})

test('A flood of bad tokens evicts no good one', async () => {
  const authenticate = agentTokens({ ...hs256.keys, clock: () => NOW })
  const token = write(hs256)
  const agent = await authenticate(token)
  const forged = Array.from({ length: 11_000 }, (_, i) => `${token.slice(0, -8)}${i.toString(36).padStart(8, '0')}`)
  const outcomes = await Promise.allSettled(forged.map(async (one) => authenticate(one)))
  expect(outcomes.every(({ status }) => status === 'rejected')).toBe(true)
  expect(authenticate(token)).toBe(agent)
  const again = forged.slice(0, 5).map((one) => authenticate(one))
  expect(again.every((one) => one instanceof Promise)).toBe(true)
  await Promise.allSettled(again)
})
