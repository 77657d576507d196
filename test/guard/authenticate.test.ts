import { type Agent, type Authenticate, AuthenticationError, ConnectionError, createGuard } from '@meshguard/core'
import { createHttpGuard, type Outcome } from '@meshguard/core/http'
import { mintTestAgent, recordingSource } from '@meshguard/core/testing'
import { describe, expect, it } from 'vitest'

const { agent } = mintTestAgent()
const reader = {
  method: () => 'GET',
  header: (_request: object, name: string) => (name === 'authorization' ? 'Bearer some-token' : undefined),
  params: () => ({}),
}

/** Counts how often it is asked, and gives up before it is asked for ever. */
function counting(answer: unknown, isAsync: boolean): { authenticate: Authenticate; asked: () => number } {
  let asked = 0
  const ask = () => {
    if (++asked > 10) throw new Error('asked again and again')
    return answer as Agent
  }
  return { authenticate: isAsync ? async () => ask() : ask, asked: () => asked }
}

describe('an authenticate that answers no agent', () => {
  const answers: unknown[] = [undefined, null, false, 'agent_1', {}, { id: '' }, { id: 'agent_1', tags: 'admin' }, () => agent]
  const cases = answers.flatMap((answer) => [false, true].map((isAsync) => [answer, isAsync] as const))

  it.each(cases)('%j (async: %j) is asked once, and the token is refused', async (answer, isAsync) => {
    const { authenticate, asked } = counting(answer, isAsync)
    const source = recordingSource()
    const guard = createGuard({ source, authenticate, timeoutMs: 50 })
    expect(await guard.check('read:x', { token: 't' })).toMatchObject({ allowed: false, code: 'unauthenticated' })
    expect(asked()).toBe(1)
    expect(await guard.checkMany([{ action: 'read:x' }], { token: 't' })).toMatchObject([{ code: 'unauthenticated' }])
    expect(asked()).toBe(2)
    const http = createHttpGuard<object, []>(guard, {}, reader)
    const outcome: Outcome = await http.check(http.route({ method: 'GET', pattern: '/x' }), {})
    expect(outcome).toMatchObject({ pass: false, status: 401 })
    expect(asked()).toBe(3)
    expect(source.requests).toEqual([])
  })
})

describe('checkMany', () => {
  const unreachable = () => Promise.reject(new ConnectionError('refused'))

  it('opens nothing for an agent that was handed in beside a token nobody verified', async () => {
    const authenticate = () => {
      throw new AuthenticationError('never good')
    }
    const source = { name: 'test', decide: unreachable, decideMany: unreachable }
    const guard = createGuard({ source, authenticate, onUnavailable: { allow: ['*'] } })
    const decisions = await guard.checkMany([{ action: 'read:x' }], { agent, token: 'anything' })
    expect(decisions).toMatchObject([{ allowed: false, code: 'unavailable' }])
  })

  it('shows a token that nobody verified only to a source that authenticates', async () => {
    const asked: unknown[] = []
    const source = {
      ...recordingSource(),
      decideMany: (requests: readonly unknown[]) => {
        asked.push(...requests)
        return requests.map(() => ({ allowed: true, code: 'allowed' as const }))
      },
    }
    const refused = await createGuard({ source }).checkMany([{ action: 'read:x' }], { token: 't' })
    expect(refused).toMatchObject([{ allowed: false, code: 'unauthenticated' }])
    expect(asked).toEqual([])
    const passed = await createGuard({ source: { ...source, authenticates: true } }).checkMany([{ action: 'read:x' }], {
      token: 't',
    })
    expect(passed).toMatchObject([{ allowed: true }])
    expect(asked).toMatchObject([{ token: 't' }])
  })

  it('has one time-out from the credentials to the answers', async () => {
    const late = <T>(value: T) => new Promise<T>((resolve) => setTimeout(resolve, 70, value))
    const source = {
      name: 'test',
      decide: () => late({ allowed: true, code: 'allowed' } as const),
      decideMany: () => late([{ allowed: true, code: 'allowed' } as const]),
    }
    const guard = createGuard({ source, authenticate: () => late(agent), timeoutMs: 100 })
    expect(await guard.checkMany([{ action: 'read:x' }], { token: 't' })).toMatchObject([{ code: 'unavailable' }])
  })
})

describe('explain', () => {
  const steps = [{ policy: 'p', applies: true, why: 'w', rules: [] }]
  const answer = { allowed: true, code: 'allowed', agent } as const

  it('asks a source that authenticates', async () => {
    const source = { name: 'gateway', authenticates: true, decide: () => answer, explain: () => ({ ...answer, steps }) }
    const explained = await createGuard({ source }).explain('read:x', { token: 't' })
    expect(explained).toMatchObject({ allowed: true, code: 'allowed', agentId: agent.id, steps })
  })

  it('does not wait for ever', async () => {
    const source = { name: 'test', decide: () => answer, explain: () => new Promise<never>(() => {}) }
    const explained = createGuard({ source, timeoutMs: 20 }).explain('read:x', { agent })
    await expect(explained).rejects.toMatchObject({ code: 'unavailable' })
  })
})
