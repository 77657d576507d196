import { describe, expect, it } from 'vitest'
import { auditToConsole } from '../../packages/core/src/audit.js'
import { serialiseEvent } from '../../packages/core/src/audit-line.js'
import { decision, NASTY, outcome } from './events.js'

async function printed(format: 'text' | 'json', ...events: Parameters<ReturnType<typeof auditToConsole>['record']>[0][]) {
  const lines: string[] = []
  const sink = auditToConsole({ format, write: (line) => lines.push(line) })
  for (const event of events) sink.record(event)
  await sink.close()
  return lines
}

const JWT = 'eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhIn0.c2lnbmF0dXJl'
/** Everything that is not shown but acts. */
const ACTS = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}]/u

describe('an event on the console', () => {
  it('is one line that people read', async () => {
    const denied = decision({
      allowed: false,
      rule: 'deny admin:*',
      reason: 'Admin is for people',
      action: 'admin:users',
      resource: undefined,
    })
    expect(await printed('text', decision(), denied)).toEqual([
      '2026-01-01T12:00:00.000Z ALLOW agent_1 read:contacts contacts/42 allowed by sales/readers trace trace-00000001',
      '2026-01-01T12:00:00.000Z DENY  agent_1 admin:users denied by sales/"deny admin:*" "Admin is for people" trace trace-00000001',
    ])
  })

  it('says when a decision was not enforced, when it failed open, and when nobody is known', async () => {
    const audited = decision({ decision: 'deny', code: 'denied', enforced: false })
    const open = decision({ code: 'unavailable', failedOpen: true, policy: undefined, rule: undefined })
    const nobody = decision({ allowed: false, code: 'unauthenticated', agentId: undefined, policy: undefined })
    const lines = await printed('text', audited, open, nobody)
    expect(lines[0]).toMatch(/ DENY {2}.*\(not enforced\)$/)
    expect(lines[1]).toMatch(/unavailable trace trace-00000001 \(failed open\)$/)
    expect(lines[2]).toContain(' DENY  - read:contacts')
  })

  it('tells how governed work ended', async () => {
    const [done, failed] = await printed('text', outcome, { ...outcome, ok: false })
    expect(done).toMatch(/ DONE {2}trace trace-00000001 after 12 ms$/)
    expect(failed).toMatch(/ FAIL {2}trace/)
  })

  it('refuses options that are wrong, naming them', () => {
    expect(() => auditToConsole({ format: 'xml' as 'text' })).toThrow(/"format"/)
    expect(() => auditToConsole({ write: 1 as never })).toThrow(/"write"/)
    expect(() => auditToConsole({ colour: true } as never)).toThrow(/"colour"/)
  })
})

describe.each(['text', 'json'] as const)('what an agent writes into a line of %s', (format) => {
  const fields = ['action', 'resource', 'reason', 'traceId', 'agentId', 'policy', 'rule'] as const
  it.each(fields)('is data in %s: no second line, no escape sequence, no hidden mark', async (field) => {
    const lines = await printed(format, decision({ [field]: NASTY }))
    expect(lines).toHaveLength(1)
    expect(lines[0]).not.toMatch(ACTS)
    expect(lines[0]).toContain('\\u001b[2J')
  })

  it('cannot pass for another field', async () => {
    const [line] = await printed(format, decision({ allowed: false, resource: 'x allowed by sales/readers' }))
    expect(line).toContain('"x allowed by sales/readers"')
  })

  it('is cut at 1 024 characters, and the rest told by its length and a hash', async () => {
    const [one, other] = await printed(
      format,
      decision({ resource: `${'x'.repeat(5000)}1` }),
      decision({ resource: `${'x'.repeat(5000)}2` }),
    )
    expect(one?.length).toBeLessThan(2000)
    expect(one).toMatch(/xxx…\[\+3977 [0-9a-f]{8}\]/)
    expect(one).not.toBe(other)
  })

  it('shows no token, wherever it stands', async () => {
    const [line] = await printed(format, decision({ resource: `files/${JWT}/x`, reason: `Bearer ${JWT}`, action: `a:${JWT}` }))
    expect(line).not.toContain('eyJ')
    expect(line?.match(/\[token\]/g)).toHaveLength(3)
  })
})

describe('an event as JSON', () => {
  it('reads back as it was, with times in ISO 8601', () => {
    const event = decision({
      resource: NASTY,
      agent: { id: 'agent_1', name: NASTY, trustTier: 'verified', tags: ['a', NASTY], metadata: { password: 'hunter2' } },
      request: { method: 'GET', route: '/contacts/:id', ip: '::1' },
      durationMs: 3,
      retryAfter: 7,
      limit: { requests: 1, windowMs: 1000 },
    })
    const { timestamp, agent, ...rest } = event
    expect(JSON.parse(serialiseEvent(event))).toEqual({
      ...rest,
      time: new Date(timestamp).toISOString(),
      agent: { name: NASTY, trustTier: 'verified', tags: ['a', NASTY] },
    })
    expect(JSON.parse(serialiseEvent(outcome))).toEqual(outcome)
  })

  it('names for whom an agent acts, and holds whatever a source says instead', () => {
    const link = { delegation: 'del_1', from: 'root', to: 'agent_1', actions: ['read:*', `write:${NASTY}`] }
    const line = serialiseEvent(decision({ chain: [link] }))
    expect(JSON.parse(line)).toMatchObject({ onBehalfOf: 'root', chain: [link] })
    expect(line).toMatch(/^[ -~]*$/)
    for (const chain of ['root', 42, null, [], [null], ['root'], [{ from: {}, actions: 'x' }]]) {
      expect(JSON.parse(serialiseEvent(decision({ chain } as never))), JSON.stringify(chain)).toHaveProperty(
        'decision',
        'allow',
      )
    }
  })

  it('never splits a surrogate pair when it cuts', () => {
    const { resource } = JSON.parse(serialiseEvent(decision({ resource: `${'x'.repeat(1023)}😀${'y'.repeat(50)}` })))
    expect(resource.isWellFormed()).toBe(true)
    expect(resource).toMatch(/^x{1023}…\[\+52 /)
  })

  it('writes nothing that a source or a caller adds of its own', () => {
    expect(serialiseEvent({ ...decision(), token: 'secret-token', headers: { cookie: 'c' } } as never)).not.toMatch(
      /secret-token|cookie/,
    )
  })

  it('survives values that a guard would never pass on', () => {
    const circular: Record<string, unknown> = {}
    circular['self'] = circular
    const odd = {
      ...decision(),
      timestamp: Number.NaN,
      reason: circular,
      resource: 7n,
      agent: { tags: [Symbol('x'), circular] },
    }
    expect(JSON.parse(serialiseEvent(odd as never))).toMatchObject({ time: 'NaN', reason: '[object]', resource: '[bigint]' })
  })
})
