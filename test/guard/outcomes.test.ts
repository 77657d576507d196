import {
  type AuditEvent,
  type AuditSink,
  AuthenticationError,
  createGuard,
  fromPolicies,
  type PolicyDeniedError,
  UnavailableError,
  ValidationError,
} from '@meshguard/core'
import { createTestGuard, mintTestAgent, recordingSource } from '@meshguard/core/testing'
import { afterEach, describe, expect, it, vi } from 'vitest'

const { agent, token } = mintTestAgent()
const full = (type: AuditEvent['type']): AuditSink => ({
  record: (event) => {
    if (event.type === type) throw new UnavailableError('full')
  },
})

afterEach(() => vi.restoreAllMocks())

describe('govern', () => {
  it('returns what the work returned, and throws what it threw, though the sink refuses to hear how it ended', async () => {
    const error = vi.spyOn(console, 'error').mockImplementation(() => {})
    const guard = createGuard({ source: recordingSource(), audit: full('outcome') })
    expect(await guard.govern('write:email', () => 'sent', { agent })).toBe('sent')
    const failing = guard.govern('write:email', () => Promise.reject(new Error('smtp')), { agent })
    await expect(failing).rejects.toThrow('smtp')
    expect(error).toHaveBeenCalledTimes(2)
    expect(error.mock.calls[0]?.[0]).toContain('full')
  })

  it('runs nothing that cannot be recorded', async () => {
    const guard = createGuard({ source: recordingSource(), audit: full('decision') })
    const work = vi.fn()
    await expect(guard.govern('write:email', work, { agent })).rejects.toBeInstanceOf(UnavailableError)
    expect(work).not.toHaveBeenCalled()
  })
})

describe('a sink that answers a promise', () => {
  it('has its rejections reported and not left to end the process', async () => {
    const error = vi.spyOn(console, 'error').mockImplementation(() => {})
    const unhandled = vi.fn()
    process.on('unhandledRejection', unhandled)
    const sink = {
      recorded: 0,
      record(): never {
        this.recorded++
        return Promise.reject(new Error('disk')) as never
      },
      close: vi.fn(async () => {}),
    }
    const guard = createGuard({ source: recordingSource(), audit: sink })
    expect(await guard.check('read:x', { agent })).toMatchObject({ allowed: true })
    await guard.close()
    await new Promise((resolve) => setImmediate(resolve))
    process.off('unhandledRejection', unhandled)
    expect(unhandled).not.toHaveBeenCalled()
    expect(error).toHaveBeenCalledTimes(1)
    expect(error.mock.calls[0]?.[0]).toContain('disk')
    expect([sink.recorded, sink.close.mock.calls.length]).toEqual([1, 1])
  })
})

describe('close', () => {
  it('flushes the sink though the source cannot be closed', async () => {
    const close = vi.fn(async () => {})
    const source = { ...recordingSource(), close: () => Promise.reject(new Error('stuck')) }
    await expect(createGuard({ source, audit: { record: () => {}, close } }).close()).rejects.toThrow('stuck')
    expect(close).toHaveBeenCalledTimes(1)
  })
})

describe('what enforce throws', () => {
  const guard = createTestGuard({ allow: ['read:*'] })
  const thrown = (given: object, action = 'read:x') => guard.enforce(action, given).catch((error: unknown) => error)

  it('names invalid_token only if a token was sent (RFC 6750, 3.1)', async () => {
    const without = (await thrown({})) as AuthenticationError
    expect(without.headers['www-authenticate']).toBe('Bearer realm="meshguard"')
    const bad = (await thrown({ token: 'bad' })) as AuthenticationError
    expect(bad.headers['www-authenticate']).toBe('Bearer realm="meshguard", error="invalid_token"')
  })

  it('says in the message what the caller may know, and the rest in the cause', async () => {
    const bad = (await thrown({ token: 'bad' })) as AuthenticationError
    expect(bad).toBeInstanceOf(AuthenticationError)
    expect(bad.message).toBe('Invalid or expired token')
    expect(bad.cause).toMatchObject({ message: 'The token was not made by mintTestAgent' })
  })

  it('looks the same for a rule and for no rule, unless the policy wrote a reason', async () => {
    const policies = fromPolicies({
      name: 'p',
      appliesTo: { agentIds: [agent.id] },
      rules: [
        { effect: 'deny', actions: ['write:x'] },
        { effect: 'deny', actions: ['write:y'], reason: 'Ask Ada' },
      ],
    })
    const denying = createGuard({ source: policies })
    const errors = ['write:x', 'read:x', 'write:y'].map((action) => denying.enforce(action, { agent }).catch((e: unknown) => e))
    const [rule, none, reason] = (await Promise.all(errors)) as PolicyDeniedError[]
    const nobody = (await denying
      .enforce('read:x', { agent: { ...agent, id: 'x' } })
      .catch((e: unknown) => e)) as PolicyDeniedError
    expect(rule?.message).toBe('Action write:x is not allowed')
    expect(none?.message).toBe('Action read:x is not allowed')
    expect(nobody.message).toBe('Action read:x is not allowed')
    expect(none?.reason).toBe('No rule covers this action')
    expect(reason?.message).toBe('Ask Ada')
  })

  it('carries the trace ID in its headers', async () => {
    const traceId = 'trace-0001'
    for (const error of [
      await thrown({ token, traceId }, 'no action'),
      await thrown({ traceId }),
      await thrown({ token, traceId }, 'write:x'),
    ]) {
      expect((error as PolicyDeniedError).headers['x-meshguard-trace-id']).toBe(traceId)
    }
    expect(new ValidationError([]).headers).toEqual({ 'cache-control': 'no-store' })
  })
})
