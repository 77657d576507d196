import { AuthenticationError, createGuard, type DecisionSource } from '@meshguard/core'
import { createTestGuard, mintTestAgent, recordingSource } from '@meshguard/core/testing'
import { describe, expect, it, vi } from 'vitest'

const { agent, token } = mintTestAgent()
const sourceOf = (decide: DecisionSource['decide']): DecisionSource => ({ name: 'test', decide })
const authenticate = (given: string) => {
  if (given === token) return agent
  throw new AuthenticationError('Not a token of ours')
}

describe('modes', () => {
  it('audit lets through what policies said, and nothing else', async () => {
    const guard = createTestGuard({ allow: ['read:*'], mode: 'audit' })
    expect(await guard.check('write:x', { token })).toMatchObject({
      allowed: true,
      decision: 'deny',
      code: 'no_match',
      enforced: false,
    })
    expect(await guard.enforce('write:x', { token })).toMatchObject({ decision: 'deny' })
    expect(await guard.check('write:x', { token: 'bad' })).toMatchObject({
      allowed: false,
      code: 'unauthenticated',
      enforced: true,
    })
    expect(await guard.check('bad action', { token })).toMatchObject({ allowed: false, code: 'invalid_action' })
    const failing = createGuard({
      source: sourceOf(() => {
        throw new Error('x')
      }),
      authenticate,
      mode: 'audit',
    })
    expect(await failing.check('read:x', { token })).toMatchObject({ allowed: false, code: 'unavailable' })
  })

  it('audit consumes the rate limits of what policies allow, and none for what they deny', async () => {
    const limited = { effect: 'allow' as const, actions: ['read:*'], rateLimit: { requests: 2, per: '1h' } }
    const deny = { effect: 'deny' as const, actions: ['read:secrets'] }
    const policies = [{ name: 'p', rules: [deny, limited] }]
    const guard = createTestGuard({ policies, mode: 'audit' })
    for (let i = 0; i < 5; i++) expect(await guard.check('read:secrets', { token })).toMatchObject({ code: 'denied' })
    const codes: string[] = []
    for (let i = 0; i < 3; i++) codes.push((await guard.check('read:a', { token })).code)
    expect(codes).toEqual(['allowed', 'allowed', 'rate_limited'])
  })

  it('bypass evaluates nothing, still verifies a token, and says so once', async () => {
    const warn = vi.spyOn(console, 'warn').mockImplementation(() => {})
    const source = recordingSource({ allowed: false, code: 'denied' })
    const guard = createGuard({ source, authenticate, mode: 'bypass' })
    expect(await guard.check('write:x')).toMatchObject({ allowed: true, code: 'bypassed' })
    expect(await guard.check('write:x', { token })).toMatchObject({ allowed: true, code: 'bypassed', agentId: agent.id })
    expect(await guard.check('write:x', { token: 'bad' })).toMatchObject({ allowed: false, code: 'unauthenticated' })
    expect(source.requests).toEqual([])
    expect(warn).toHaveBeenCalledTimes(1)
    warn.mockRestore()
  })
})
