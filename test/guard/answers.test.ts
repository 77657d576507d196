import { type Answer, createGuard, type Decision, type DecisionSource, PolicyDeniedError } from '@meshguard/core'
import { createHttpGuard } from '@meshguard/core/http'
import { mintTestAgent } from '@meshguard/core/testing'
import { describe, expect, it } from 'vitest'

const { agent } = mintTestAgent()
const guardOf = (decide: DecisionSource['decide'], rest: object = {}) =>
  createGuard({ source: { name: 'test', decide }, timeoutMs: 50, ...rest })
const request = { action: 'read:x', agent, traceId: 'trace-0001' }
const reader = { method: () => 'GET', header: () => undefined, params: () => ({}) }

/** An object whose property answers one value after another, and the last for ever. */
function changing<T extends object>(rest: T, key: string, ...values: unknown[]): T {
  let asked = 0
  return Object.defineProperty({ ...rest }, key, { enumerable: true, get: () => values[Math.min(asked++, values.length - 1)] })
}

describe('an answer', () => {
  it.each([1, 2, 3, 4, 5])('that changes its mind at reading %i is taken as it was read once', async (at) => {
    const values = [...Array<boolean>(at).fill(false), true]
    const decision = await guardOf(() => changing({ code: 'denied' } as Answer, 'allowed', ...values)).check('read:x', {
      agent,
    })
    expect(decision).toMatchObject({ allowed: false, decision: 'deny' })
  })

  it.each([
    ['retryAfter', '1\r\nset-cookie: a=b'],
    ['retryAfter', Number.NaN],
    ['retryAfter', Number.POSITIVE_INFINITY],
    ['retryAfter', -5],
    ['retryAfter', 1e300],
    ['retryAfter', {}],
    ['limit', { requests: '1\r\nset-cookie: a=b', windowMs: 1000 }],
    ['limit', { requests: 1, windowMs: Number.NaN }],
    ['limit', null],
    ['limit', 'much'],
  ])('with an odd %s (%j) is refused with headers that can be sent', async (key, value) => {
    const guard = guardOf(() => ({ allowed: false, code: 'rate_limited', [key]: value }))
    const http = createHttpGuard<object, []>(guard, { credentials: () => agent }, reader)
    const outcome = await http.check(http.route({ method: 'GET', pattern: '/x' }), {})
    expect(outcome).toMatchObject({ pass: false, status: 429 })
    if (outcome.pass) throw new Error('passed')
    expect(outcome.headers['retry-after']).toBe('1')
    expect(new Response(outcome.body, { headers: outcome.headers }).headers.get('set-cookie')).toBeNull()
    expect(JSON.parse(outcome.body)).toMatchObject({ retry_after: 1 })
    expect(outcome.body).not.toContain('limit":')
  })

  it('has its seconds rounded up', async () => {
    const guard = guardOf(() => ({ allowed: false, code: 'rate_limited', retryAfter: 1.2 }))
    expect(await guard.check('read:x', { agent })).toMatchObject({ retryAfter: 2 })
  })

  it.each(['policy', 'rule', 'reason', 'policyVersion'])('with a %s that is no text goes without', async (key) => {
    for (const value of [null, 10n, {}, Symbol('x')]) {
      const denies = guardOf(() => ({ allowed: false, code: 'denied', [key]: value }) as never)
      const decision = await denies.check('read:x', { agent })
      expect(decision.code).toBe('denied')
      expect(decision[key as keyof Decision]).toBeUndefined()
      expect(new PolicyDeniedError(decision).getResponse().status).toBe(403)
    }
  })

  it.each([{ id: 'a\r\nset-cookie: a=b' }, { id: '' }, 'agent_1', {}])('with the agent %j is none', async (odd) => {
    const source = {
      name: 'gateway',
      authenticates: true,
      decide: () => ({ allowed: true, code: 'allowed', agent: odd }) as never,
    }
    const decision = await createGuard({ source }).check('read:x', { token: 't' })
    expect(decision).toMatchObject({ allowed: false, code: 'unavailable', agentId: undefined })
  })
})

describe('an answer that is like a promise', () => {
  const allow: Answer = { allowed: true, code: 'allowed' }
  type Then = (onValue: (value: unknown) => void, onError: (error: unknown) => void) => void
  const likePromise = (then: Then) => changing({}, 'then', then)
  const like = (then: Then) => () => likePromise(then) as never

  it.each<[string, () => never, string]>([
    ['calls back at once', like((onValue) => onValue(allow)), 'allowed'],
    [
      'calls back twice',
      like((onValue) => {
        onValue({ allowed: false, code: 'denied' })
        onValue(allow)
      }),
      'denied',
    ],
    [
      'fails and then answers',
      like((onValue, onError) => {
        onError(new Error('no'))
        onValue(allow)
      }),
      'unavailable',
    ],
    ['comes to one that never settles', like((onValue) => onValue(likePromise(() => {}))), 'unavailable'],
    ['comes to one that answers', like((onValue) => onValue(likePromise((next) => next(allow)))), 'allowed'],
    [
      'throws',
      like(() => {
        throw new Error('no')
      }),
      'unavailable',
    ],
    ['is one only when it is first looked at', () => changing({}, 'then', () => {}, undefined) as never, 'unavailable'],
    [
      'cannot be looked at',
      () =>
        new Proxy(
          {},
          {
            get: () => {
              throw new Error('no')
            },
          },
        ) as never,
      'unavailable',
    ],
  ])('and %s', async (_what, decide, code) => {
    expect(await guardOf(decide).check('read:x', { agent })).toMatchObject({ code, allowed: code === 'allowed' })
  })
})

describe('decide', () => {
  const revoked = () => {
    const { proxy, revoke } = Proxy.revocable({}, {})
    revoke()
    return proxy
  }
  const unreadable = () =>
    Object.defineProperty(new Error(), 'message', {
      get: () => {
        throw new Error('no')
      },
    })

  it.each([
    ['a revoked proxy', revoked],
    ['an error without a readable message', unreadable],
  ])('never throws, whatever the source or authenticate throws: %s', async (_what, thrown) => {
    const fails = () => {
      throw thrown()
    }
    for (const decide of [fails, async () => fails()]) {
      const guard = guardOf(decide, { authenticate: decide })
      expect(await guard.decide(request)).toMatchObject({ allowed: false, code: 'unavailable' })
      expect(await guard.decide({ ...request, agent: undefined, token: 't' })).toMatchObject({ code: 'unavailable' })
      expect(await guard.checkMany([{ action: 'read:x' }], { token: 't' })).toMatchObject([{ code: 'unavailable' }])
    }
  })

  it('never throws for an agent that cannot be read any more', async () => {
    const fails = () => {
      throw new Error('gone')
    }
    const gone = Object.defineProperty({ trustTier: 'trusted' }, 'id', { get: fails }) as never
    for (const decide of [() => ({ allowed: true, code: 'allowed' }) as const, fails]) {
      expect(await guardOf(decide).decide({ ...request, agent: gone })).toMatchObject({ allowed: false, code: 'unavailable' })
    }
  })

  it('waits for days if it is told to', async () => {
    const late = () => new Promise<Answer>((resolve) => setTimeout(resolve, 20, { allowed: true, code: 'allowed' }))
    expect(await guardOf(late, { timeoutMs: 30 * 86_400_000 }).check('read:x', { agent })).toMatchObject({ allowed: true })
  })

  it('asks about the agent that was looked at', async () => {
    const options = changing({}, 'agent', { id: '', trustTier: 'trusted' }, agent)
    expect(await guardOf(() => ({ allowed: true, code: 'allowed' })).check('read:x', options)).toMatchObject({
      allowed: false,
      code: 'unauthenticated',
    })
  })
})
