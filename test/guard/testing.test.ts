import { createTestClock, createTestGuard, mintTestAgent, recordingSource } from '@meshguard/core/testing'
import { describe, expect, it } from 'vitest'

describe('createTestGuard', () => {
  const { token, agent } = mintTestAgent({ id: 'agent_7', tags: ['sales'] })

  it('decides by two lists of patterns, and remembers what it decided', async () => {
    const guard = createTestGuard({ allow: ['read:*'], deny: ['read:secrets'] })
    const actions = ['read:contacts', 'read:secrets', 'write:contacts']
    const codes = await Promise.all(actions.map(async (action) => (await guard.check(action, { token })).code))
    expect(codes).toEqual(['allowed', 'denied', 'no_match'])
    expect(guard.decisions.map(({ action, agentId }) => [action, agentId])).toEqual(actions.map((action) => [action, agent.id]))
  })

  it('takes tokens of mintTestAgent, and any other only where it is told for whom', async () => {
    expect((await createTestGuard({ allow: ['*'] }).check('a:b', { token: 'x' })).code).toBe('unauthenticated')
    expect((await createTestGuard({ allow: ['*'], as: agent }).check('a:b', { token: 'x' })).agentId).toBe('agent_7')
  })

  it('lets a clock move rate limits and hours', async () => {
    const clock = createTestClock(Date.UTC(2026, 0, 1, 9))
    const guard = createTestGuard({
      clock,
      policies: {
        name: 'office',
        rules: [
          {
            effect: 'allow',
            actions: ['write:email'],
            conditions: { time: { between: '09:00-17:00' } },
            rateLimit: { requests: 1, per: '1m' },
          },
        ],
      },
    })
    const code = async () => (await guard.check('write:email', { token })).code
    expect([await code(), await code()]).toEqual(['allowed', 'rate_limited'])
    clock.advance(60_000)
    expect(await code()).toBe('allowed')
    clock.advance(8 * 3_600_000)
    expect(await code()).toBe('no_match')
  })
})

it('recordingSource says what it was asked, and answers with an answer or another source', async () => {
  const source = recordingSource({ allowed: false, code: 'denied' })
  await source.decide({ action: 'read:x', traceId: 'trace-0001' })
  const outer = recordingSource(source)
  expect(await outer.decide({ action: 'read:y', traceId: 'trace-0002' })).toEqual({ allowed: false, code: 'denied' })
  expect([source, outer].map(({ requests }) => requests.map(({ action }) => action))).toEqual([
    ['read:x', 'read:y'],
    ['read:y'],
  ])
})
