import {
  type Answer,
  type AuditEvent,
  AuthenticationError,
  ConnectionError,
  createGuard,
  type DecisionSource,
  fromPolicies,
  PolicyDeniedError,
  RateLimitError,
  UnavailableError,
  ValidationError,
} from '@meshguard/core'
import { createTestClock, createTestGuard, mintTestAgent, recordingSource } from '@meshguard/core/testing'
import { describe, expect, it, vi } from 'vitest'

const { agent, token } = mintTestAgent()
const ALLOW: Answer = { allowed: true, code: 'allowed', policy: 'p', rule: 'r' }
const sourceOf = (decide: DecisionSource['decide']): DecisionSource => ({ name: 'test', decide })
const authenticate = (given: string) => {
  if (given === token) return agent
  throw new AuthenticationError('Not a token of ours')
}

describe('check', () => {
  it('answers a decision with everything that is known', async () => {
    const guard = createTestGuard({ allow: ['read:*'], clock: createTestClock() })
    const decision = await guard.check('read:contacts', { token, resource: 'contacts/1', traceId: 'trace-0001' })
    expect(decision).toMatchObject({
      allowed: true,
      decision: 'allow',
      action: 'read:contacts',
      resource: 'contacts/1',
      agentId: 'agent_test',
      code: 'allowed',
      policy: 'test',
      rule: 'allow',
      traceId: 'trace-0001',
      enforced: true,
    })
    expect(decision.timestamp).toBeGreaterThan(0)
    expect(guard.decisions).toHaveLength(1)
  })

  it.each([
    ['no credential', {}, 'unauthenticated'],
    ['a bad token', { token: 'bad' }, 'unauthenticated'],
    ['a malformed agent', { agent: { id: '', trustTier: 'trusted' } }, 'unauthenticated'],
    ['an agent that is allowed nothing', { token }, 'no_match'],
  ])('never throws for a deny: %s', async (_what, given, code) => {
    const decision = await createTestGuard().check('read:contacts', given)
    expect(decision).toMatchObject({ allowed: false, decision: 'deny', code })
  })

  it('answers invalid_action for a string that is none, without asking the source', async () => {
    const source = recordingSource()
    const guard = createGuard({ source })
    for (const action of ['', 'read', 'read:*', 'read:a b']) {
      expect(await guard.check(action, { agent })).toMatchObject({ allowed: false, code: 'invalid_action' })
    }
    expect(source.requests).toEqual([])
  })

  it('makes a trace ID unless a well-formed one is brought', async () => {
    const guard = createTestGuard({ allow: ['*'] })
    expect((await guard.check('a:b', { token, traceId: 'short' })).traceId).toMatch(/^[0-9a-f-]{36}$/)
    expect((await guard.check('a:b', { token, traceId: 'my.trace:0001' })).traceId).toBe('my.trace:0001')
  })
})

describe('enforce and govern', () => {
  it('throw what fits the decision', async () => {
    const guard = createGuard({
      source: sourceOf(({ action }) => {
        if (action === 'rate:limited') return { allowed: false, code: 'rate_limited', retryAfter: 3 }
        if (action === 'no:source') throw new Error('down')
        return { allowed: false, code: 'denied', policy: 'p', rule: 'r', reason: 'Not for you' }
      }),
      authenticate,
    })
    await expect(guard.enforce('delete:x', { token })).rejects.toMatchObject({
      name: 'PolicyDeniedError',
      policy: 'p',
      reason: 'Not for you',
    })
    await expect(guard.enforce('delete:x', { token })).rejects.toBeInstanceOf(PolicyDeniedError)
    await expect(guard.enforce('rate:limited', { token })).rejects.toBeInstanceOf(RateLimitError)
    await expect(guard.enforce('no:source', { token })).rejects.toBeInstanceOf(UnavailableError)
    await expect(guard.enforce('delete:x', { token: 'bad' })).rejects.toBeInstanceOf(AuthenticationError)
    await expect(guard.enforce('no action', { token })).rejects.toBeInstanceOf(ValidationError)
  })

  it('govern runs the function only when allowed, returns its value and tells the sink how it ended', async () => {
    const events: AuditEvent[] = []
    const guard = createGuard({
      source: sourceOf(({ action }) => (action === 'write:email' ? ALLOW : { allowed: false, code: 'no_match' })),
      authenticate,
      audit: (event: AuditEvent) => void events.push(event),
    })
    const work = vi.fn(async () => 'sent')
    expect(await guard.govern('write:email', work, { token, traceId: 'trace-0001' })).toBe('sent')
    await expect(guard.govern('delete:email', work, { token })).rejects.toBeInstanceOf(PolicyDeniedError)
    expect(work).toHaveBeenCalledTimes(1)
    await expect(guard.govern('write:email', () => Promise.reject(new Error('smtp')), { token })).rejects.toThrow('smtp')
    await guard.close()
    expect(events.filter((event) => event.type === 'outcome').map((event) => event.ok)).toEqual([true, false])
    expect(events.find((event) => event.type === 'outcome')?.traceId).toBe('trace-0001')
  })
})

describe('checkMany', () => {
  const checks = [{ action: 'read:a' }, { action: 'write:a' }, { action: 'no action' }, { action: 'read:b', resource: 'b/1' }]

  it('answers in order, through decideMany where the source has it and one by one where it has not', async () => {
    const policies = [{ name: 'p', rules: [{ effect: 'allow' as const, actions: ['read:*'] }] }]
    const whole = fromPolicies(policies)
    const single = sourceOf((request, now) => whole.decide(request, now))
    for (const source of [whole, single]) {
      const guard = createGuard({ source, authenticate })
      const codes = (await guard.checkMany(checks, { token })).map(({ code }) => code)
      expect(codes).toEqual(['allowed', 'no_match', 'invalid_action', 'allowed'])
      expect((await guard.checkMany(checks.slice(0, 2), { token: 'bad' })).map(({ code }) => code)).toEqual([
        'unauthenticated',
        'unauthenticated',
      ])
      expect((await guard.checkMany(checks.slice(0, 2))).map(({ code }) => code)).toEqual([
        'unauthenticated',
        'unauthenticated',
      ])
    }
  })

  it('asks for all of them at once, without those that name no action', async () => {
    const decideMany = vi.fn((requests: readonly { action: string }[]) =>
      requests.map(({ action }): Answer => ({ ...ALLOW, policy: action })),
    )
    const decide = vi.fn(() => ALLOW)
    const guard = createGuard({ source: { name: 'test', decide, decideMany }, authenticate })
    const decisions = await guard.checkMany(checks, { token })
    expect(decisions.map(({ code, policy }) => policy ?? code)).toEqual(['read:a', 'write:a', 'invalid_action', 'read:b'])
    expect(decideMany.mock.calls.map(([requests]) => requests.map(({ action }) => action))).toEqual([
      ['read:a', 'write:a', 'read:b'],
    ])
    expect(await guard.checkMany([{ action: 'none' }], { token })).toMatchObject([{ code: 'invalid_action' }])
    expect(await guard.checkMany([], { token })).toEqual([])
    expect([decide.mock.calls.length, decideMany.mock.calls.length]).toEqual([0, 1])
  })

  it('takes a list of the wrong length for no answer at all', async () => {
    const source = { ...sourceOf(() => ALLOW), decideMany: () => [ALLOW] }
    const guard = createGuard({ source, authenticate })
    const decisions = await guard.checkMany([{ action: 'read:a' }, { action: 'read:b' }], { token })
    expect(decisions.map(({ allowed, code }) => [allowed, code])).toEqual([
      [false, 'unavailable'],
      [false, 'unavailable'],
    ])
  })
})

describe('explain', () => {
  it('says every policy and rule looked at, records nothing and consumes nothing', async () => {
    const events: AuditEvent[] = []
    const guard = createGuard({
      source: fromPolicies([
        { name: 'mail', rules: [{ effect: 'allow', actions: ['write:email'], rateLimit: { requests: 1, per: '1m' } }] },
        { name: 'others', appliesTo: { tags: ['none'] }, rules: [{ effect: 'deny', actions: ['*'] }] },
      ]),
      authenticate,
      audit: (event: AuditEvent) => void events.push(event),
    })
    for (let i = 0; i < 3; i++) {
      const explanation = await guard.explain('write:email', { token })
      expect(explanation).toMatchObject({ allowed: true, code: 'allowed', policy: 'mail' })
      expect(explanation.steps.map(({ policy, applies }) => [policy, applies])).toEqual([
        ['mail', true],
        ['others', false],
      ])
    }
    expect(events).toEqual([])
    expect((await guard.check('write:email', { token })).allowed).toBe(true)
    expect((await guard.check('write:email', { token })).code).toBe('rate_limited')
  })
})

describe('a source that misbehaves', () => {
  const garbage: unknown[] = [
    undefined,
    null,
    'allow',
    true,
    {},
    { allowed: 'true', code: 'allowed' },
    { allowed: {}, code: 'allowed' },
    { allowed: true, code: 'denied' },
    { allowed: false, code: 'allowed' },
    { allowed: true },
    { allowed: true, code: 'unavailable' },
    { allowed: false, code: 'nonsense' },
    JSON.parse('{"__proto__":{"allowed":true,"code":"allowed"}}'),
    [],
    () => ALLOW,
  ]

  it.each(garbage.map((answer) => [answer]))('that answers %j is unavailable, at once or later', async (answer) => {
    for (const decide of [() => answer as Answer, async () => answer as Answer]) {
      const guard = createGuard({ source: sourceOf(decide), authenticate })
      expect(await guard.check('read:x', { token })).toMatchObject({ allowed: false, decision: 'deny', code: 'unavailable' })
    }
  })

  it.each([
    [
      'throws',
      () => {
        throw new Error('secret')
      },
    ],
    ['rejects', () => Promise.reject(new Error('secret'))],
    [
      'throws nothing',
      () => {
        throw undefined
      },
    ],
    ['hangs', () => new Promise<Answer>(() => {})],
  ])('that %s is unavailable', async (_what, decide) => {
    const guard = createGuard({ source: sourceOf(decide), authenticate, timeoutMs: 20 })
    expect(await guard.check('read:x', { token })).toMatchObject({ allowed: false, code: 'unavailable' })
  })

  it('is not waited for when the caller goes away', async () => {
    const controller = new AbortController()
    const guard = createGuard({ source: sourceOf(() => new Promise(() => {})), authenticate, timeoutMs: 60_000 })
    const decision = guard.check('read:x', { token, signal: controller.signal })
    controller.abort()
    expect(await decision).toMatchObject({ allowed: false, code: 'unavailable' })
  })

  it('has a late answer ignored', async () => {
    let answer: (value: Answer) => void = () => {}
    const events: AuditEvent[] = []
    const guard = createGuard({
      source: sourceOf(
        () =>
          new Promise((resolve) => {
            answer = resolve
          }),
      ),
      authenticate,
      timeoutMs: 10,
      audit: { record: (event) => void events.push(event) },
    })
    expect((await guard.check('read:x', { token })).allowed).toBe(false)
    answer(ALLOW)
    await new Promise((resolve) => setImmediate(resolve))
    expect(events.map((event) => event.type === 'decision' && event.allowed)).toEqual([false])
  })
})

describe('onUnavailable', () => {
  const unreachable = sourceOf(() => Promise.reject(new ConnectionError('refused')))
  const guard = createGuard({ source: unreachable, authenticate, onUnavailable: { allow: ['read:*'] } })

  it('opens listed actions when the source could not be reached, and says so', async () => {
    expect(await guard.check('read:x', { token })).toMatchObject({
      allowed: true,
      decision: 'allow',
      code: 'unavailable',
      failedOpen: true,
    })
    expect(await guard.check('write:x', { token })).toMatchObject({ allowed: false, code: 'unavailable' })
  })

  it('opens nothing for an agent whose token was not verified here', async () => {
    expect(await guard.check('read:x', { agent })).toMatchObject({ allowed: false, code: 'unavailable' })
    expect(await guard.check('read:x', { token: 'bad' })).toMatchObject({ allowed: false, code: 'unauthenticated' })
  })

  it.each([
    ['a throw of another kind', () => Promise.reject(new Error('bug'))],
    ['an UnavailableError', () => Promise.reject(new UnavailableError('key set'))],
    ['garbage', async () => ({}) as Answer],
    ['the guard’s own time-out', () => new Promise<Answer>(() => {})],
  ])('opens nothing for %s', async (_what, decide) => {
    const closed = createGuard({ source: sourceOf(decide), authenticate, onUnavailable: { allow: ['*'] }, timeoutMs: 20 })
    expect(await closed.check('read:x', { token })).toMatchObject({ allowed: false, code: 'unavailable' })
  })
})

describe('a signal', () => {
  it('of more checks than ten ends all of them, and draws no warning of a leak', async () => {
    const warnings: string[] = []
    const note = ({ message }: Error) => warnings.push(message)
    process.on('warning', note)
    const guard = createGuard({ source: sourceOf(() => new Promise(() => {})) })
    const caller = new AbortController()
    const waiting = Array.from({ length: 20 }, () => guard.check('read:x', { agent, signal: caller.signal }))
    await new Promise(setImmediate)
    caller.abort()
    const late = await guard.check('read:x', { agent, signal: caller.signal })
    for (const decision of [...(await Promise.all(waiting)), late]) {
      expect(decision).toMatchObject({ code: 'unavailable', reason: 'The decision: the caller went away' })
    }
    process.off('warning', note)
    expect(warnings).toEqual([])
  })
})

describe('the sink', () => {
  it('that refuses an allow turns it into unavailable; a deny stays what it is', async () => {
    const audit = {
      record: () => {
        throw new UnavailableError('full')
      },
    }
    const guard = createGuard({
      source: sourceOf(({ action }) => (action === 'read:x' ? ALLOW : { allowed: false, code: 'denied' })),
      authenticate,
      audit,
    })
    expect(await guard.check('read:x', { token })).toMatchObject({ allowed: false, decision: 'deny', code: 'unavailable' })
    expect(await guard.check('write:x', { token })).toMatchObject({ allowed: false, code: 'denied' })
  })

  it('is told of every decision with the agent, the source and the request', async () => {
    const events: AuditEvent[] = []
    const guard = createGuard({
      source: sourceOf(() => ALLOW),
      authenticate,
      audit: { record: (event) => void events.push(event) },
    })
    const request = { method: 'GET', route: '/x', ip: '127.0.0.1' }
    guard.decide({ action: 'read:x', agent, traceId: 'trace-0001', request })
    expect(events).toMatchObject([{ type: 'decision', allowed: true, agent, source: 'test', request, traceId: 'trace-0001' }])
    expect(JSON.stringify(events)).not.toContain(token)
  })
})

describe('createGuard', () => {
  const source = recordingSource()

  it.each<[string, unknown]>([
    ['source', {}],
    ['source', { source: {} }],
    ['mode', { source, mode: 'off' }],
    ['timeoutMs', { source, timeoutMs: 0 }],
    ['timeoutMs', { source, timeoutMs: '1s' }],
    ['authenticate', { source, authenticate: 'token' }],
    ['onUnavailable', { source, onUnavailable: 'allow' }],
    ['onUnavailable', { source, onUnavailable: { allow: ['read:*'] } }],
    ['onUnavailable', { source, authenticate, onUnavailable: { allow: ['read'] } }],
    ['onUnavailable', { source, authenticate, onUnavailable: { allow: ['read:*'], deny: ['read:x'] } }],
    ['onUnavailable', { source, authenticate, onUnavailable: null }],
    ['timeoutMs', { source, timeoutMS: 5 }],
    ['audit', { source, audit: 'console' }],
  ])('names the option that is wrong: %s in %j', (name, options) => {
    expect(() => createGuard(options as never)).toThrow(TypeError)
    expect(() => createGuard(options as never)).toThrow(name)
  })

  it('closes its source and flushes its sink, once disposed of', async () => {
    const close = vi.fn(async () => {})
    const flush = vi.fn(async () => {})
    const guard = createGuard({ source: { ...source, close }, audit: { record: () => {}, close: flush } })
    await guard[Symbol.asyncDispose]()
    expect(close).toHaveBeenCalledTimes(1)
    expect(flush).toHaveBeenCalledTimes(1)
  })
})
