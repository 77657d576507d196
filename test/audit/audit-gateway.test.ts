import { auditToGateway, createGuard, fromPolicies } from '@meshguard/core'
import { afterEach, beforeEach, describe, expect, it, type MockInstance, onTestFinished, vi } from 'vitest'
import { startGateway } from '../gateway/gateway-world.js'
import { type Script, type ScriptedGateway, scriptGateway } from '../sources/scripted-gateway.js'
import { allow, decision, deny, NASTY, outcome } from './events.js'

const token = 'msvc_do-not-tell'
const open: { close(): Promise<void> }[] = []
let log: MockInstance

beforeEach(() => {
  log = vi.spyOn(console, 'error').mockImplementation(() => {})
})
afterEach(async () => {
  log.mockRestore()
  for (const one of open.splice(0)) await one.close()
})

async function script(answer: Script): Promise<ScriptedGateway> {
  const gateway = await scriptGateway(answer)
  open.push(gateway)
  return gateway
}

type Entry = Record<string, unknown> & { id: string; traceId: string }
const entriesOf = (body: string): Entry[] => (JSON.parse(body) as { entries: Entry[] }).entries
const accepted = { status: 202, body: { accepted: 1 } }
const traces = ({ asked }: ScriptedGateway) => asked.map(({ body }) => entriesOf(body).map(({ traceId }) => traceId))

/** Waits until something holds, for long on a busy machine. */
const eventually = <T>(of: () => T) => expect.poll(of, { timeout: 10_000, interval: 5 })

describe('auditToGateway', () => {
  it('ships decisions in batches, one request at a time, and leaves outcomes out', async () => {
    const gateway = await script(() => accepted)
    const sink = auditToGateway({ url: gateway.url, token })
    for (const event of [allow('trace-1'), outcome, deny('trace-2')]) sink.record(event)
    await eventually(() => gateway.asked.length).toBe(1)
    for (const id of ['trace-3', 'trace-4']) sink.record(allow(id))
    await sink.close()
    expect(traces(gateway).flat()).toEqual(['trace-1', 'trace-2', 'trace-3', 'trace-4'])
    const [{ method, path, headers } = { method: '', path: '', headers: {} }] = gateway.asked
    expect({ method, path }).toEqual({ method: 'POST', path: '/v1/audit' })
    expect(headers).toMatchObject({ authorization: `Bearer ${token}`, 'content-type': 'application/json' })
    expect(sink.dropped).toEqual({ allowed: 0, denied: 0, outcomes: 0 })
  })

  it('writes entries as the gateway keeps them, cleaned like every line', async () => {
    const gateway = await script(() => accepted)
    const sink = auditToGateway({ url: gateway.url, token })
    const agent = { id: 'agent_1', name: 'one', trustTier: 'trusted' }
    sink.record(decision({ agent, resource: NASTY, reason: 'eyJhbGciOiJub25lIn0.e30.x', durationMs: 2 }))
    sink.record(decision({ enforced: false, request: { method: 'GET', route: '/x', ip: '192.0.2.1' } }))
    await sink.close()
    const body = gateway.asked.map((one) => one.body).join('')
    expect(body).not.toMatch(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/u)
    const [first, second] = gateway.asked.flatMap((one) => entriesOf(one.body))
    expect(first).toMatchObject({
      id: expect.stringMatching(/^[0-9a-f-]{36}$/),
      timestamp: '2026-01-01T12:00:00.000Z',
      agentName: 'one',
      trustTier: 'trusted',
      decision: 'allow',
      code: 'allowed',
      mode: 'enforce',
      source: 'policies',
      reason: '[token]',
      durationMs: 2,
    })
    expect(second).toMatchObject({ mode: 'audit', request: { method: 'GET', route: '/x', ip: '192.0.2.1' } })
  })

  it('sends what may have got lost again, under the same ids, and says so once', async () => {
    const answers = [503, 429, 401, 500, 202]
    const gateway = await script(() => ({ status: answers[gateway.asked.length - 1] ?? 202, body: {} }))
    const sink = auditToGateway({ url: gateway.url, token })
    sink.record(allow('trace-1'))
    await eventually(() => gateway.asked.length).toBe(5)
    expect(new Set(gateway.asked.map(({ body }) => entriesOf(body)[0]?.id)).size).toBe(1)
    sink.record(allow('trace-2'))
    await sink.close()
    expect(log.mock.calls.flat()).toEqual([
      `MeshGuard: audit to the gateway is held up: The gateway at ${gateway.url} answered 503`,
      'MeshGuard: audit to the gateway works again',
    ])
    expect(sink.dropped.allowed).toBe(0)
  })

  it.each([400, 413])('loses only the entries that the gateway refuses for good (%i)', async (status) => {
    const gateway = await script(({ body }) =>
      entriesOf(body).some(({ traceId }) => traceId === 'bad') ? { status, body: {} } : accepted,
    )
    const sink = auditToGateway({ url: gateway.url, token })
    for (let i = 0; i < 50; i++) sink.record(i === 17 || i === 40 ? deny('bad') : allow(`trace-${i}`))
    await sink.close()
    const taken = gateway.asked.flatMap(({ body }) => entriesOf(body)).filter(({ traceId }) => traceId !== 'bad')
    expect(new Set(taken.map(({ id }) => id)).size).toBe(48)
    expect(sink.dropped).toEqual({ allowed: 0, denied: 2, outcomes: 0 })
    expect(log.mock.calls.flat(), 'said once').toEqual([
      `MeshGuard: the gateway at ${gateway.url} does not take a decision: it is lost, and counted`,
    ])
  })

  it('sends at most 1 000 entries and 1 MiB at once', async () => {
    const gateway = await script(() => accepted)
    const sink = auditToGateway({ url: gateway.url, token })
    for (let i = 0; i < 2500; i++) sink.record(decision({ traceId: `trace-${i}`, reason: 'x'.repeat(i < 1000 ? 1000 : 1) }))
    await sink.close()
    for (const { body } of gateway.asked) {
      expect(entriesOf(body).length).toBeLessThanOrEqual(1000)
      expect(body.length).toBeLessThan(1024 * 1024)
    }
    expect(traces(gateway).flat()).toHaveLength(2500)
  })

  it.each([
    ['drop', { allowed: 3, denied: 0, outcomes: 0 }],
    ['deny', { allowed: 2, denied: 0, outcomes: 0 }],
  ] as const)(
    'while the gateway is away the queue fills (onFull: %s), and closing counts what is lost',
    async (onFull, lost) => {
      const gateway = await script(() => ({ status: 503, body: {} }))
      const sink = auditToGateway({ url: gateway.url, token, capacity: 2, onFull })
      sink.record(allow('trace-1'))
      sink.record(allow('trace-2'))
      if (onFull === 'deny') expect(() => sink.record(allow('trace-3'))).toThrow(/full/)
      else sink.record(allow('trace-3'))
      await eventually(() => gateway.asked.length).toBeGreaterThan(0)
      await sink.close()
      expect(sink.dropped).toEqual(lost)
    },
  )

  it('gives up on a gateway that hangs when it is closed, after two time-outs', async () => {
    const gateway = await script(() => undefined)
    const sink = auditToGateway({ url: gateway.url, token, timeoutMs: 50 })
    for (let i = 0; i < 3; i++) sink.record(deny(`trace-${i}`))
    await sink.close()
    expect(sink.dropped.denied).toBe(3)
    expect(gateway.asked.length).toBeLessThanOrEqual(2)
    expect(JSON.stringify(log.mock.calls)).not.toContain('do-not-tell')
  })

  it('loses nothing when it is closed while the gateway comes back: an attempt under way is none of the last three', async () => {
    const gateway = await script((_, response) => {
      if (gateway.asked.length > 3) return accepted
      // Cut off: at once, but the first only when the sink is being closed.
      setTimeout(() => response.destroy(), gateway.asked.length === 1 ? 50 : 0)
      return undefined
    })
    const sink = auditToGateway({ url: gateway.url, token })
    for (let i = 0; i < 3; i++) sink.record(allow(`trace-${i}`))
    await eventually(() => gateway.asked.length).toBe(1)
    await sink.close()
    expect(traces(gateway).at(-1)).toEqual(['trace-0', 'trace-1', 'trace-2'])
    expect(sink.dropped).toEqual({ allowed: 0, denied: 0, outcomes: 0 })
  })

  it('tries three times more once it is closed, and counts then', async () => {
    const gateway = await script(() => ({ status: 503, body: {} }))
    const sink = auditToGateway({ url: gateway.url, token })
    sink.record(allow('trace-1'))
    await eventually(() => gateway.asked.length).toBe(4) // the pause after it is 0.8 s
    await sink.close()
    expect(gateway.asked).toHaveLength(7)
    expect(sink.dropped.allowed).toBe(1)
  })

  it('waits between attempts for 0.1 s, doubled up to 30 s, and keeps no process alive by that until it is closed', async () => {
    const gateway = await script(() => ({ status: 503, body: {} }))
    const pauses: [ms: number, keepsAlive: boolean][] = []
    const real = globalThis.setTimeout
    const isPause = (ms: number) => ms === 30_000 || Number.isInteger(Math.log2(ms / 100))
    vi.spyOn(globalThis, 'setTimeout').mockImplementation(((work: () => void, ms = 0) => {
      const timer = real(work, isPause(ms) ? 1 : ms)
      if (isPause(ms)) queueMicrotask(() => pauses.push([ms, timer.hasRef()]))
      return timer
    }) as typeof setTimeout)
    const sink = auditToGateway({ url: gateway.url, token })
    sink.record(allow('trace-1'))
    await eventually(() => pauses.length).toBeGreaterThan(11)
    const seen = pauses.splice(0)
    await sink.close()
    vi.mocked(setTimeout).mockRestore()
    const doubled = Array.from({ length: 9 }, (_, i) => 100 * 2 ** i)
    expect(seen.slice(0, 12)).toEqual([...doubled, 30_000, 30_000, 30_000].map((ms) => [ms, false]))
    expect(pauses.slice(-2)).toEqual([
      [100, true],
      [100, true],
    ])
  })

  it('counts all of what it gives up, however many batches that is', async () => {
    const gateway = await script(() => ({ status: 503, body: {} }))
    const sink = auditToGateway({ url: gateway.url, token })
    for (let i = 0; i < 2500; i++) sink.record(decision({ allowed: i % 5 > 0, reason: 'x'.repeat(1000) }))
    await sink.close()
    expect(sink.dropped).toEqual({ allowed: 2000, denied: 500, outcomes: 0 })
    expect(gateway.asked.length).toBeLessThan(6)
  })

  it('records decisions of a clock that is ahead at the time of the gateway, under the same ids', async () => {
    const { now } = Date
    const gateway = await startGateway({ clock: now })
    open.push(gateway)
    const sink = auditToGateway({ url: gateway.url, token: await gateway.createService('audit:write') })
    const began = now()
    const ahead = 3_600_000
    vi.useFakeTimers({ toFake: ['Date'], now: began + ahead })
    onTestFinished(() => void vi.useRealTimers())
    // Of one decision that is a second old, one of now, one of before the clock was set back a little, and one of a right clock.
    for (const [i, ms] of [ahead - 1000, ahead, ahead + 60_000, -5000].entries()) {
      sink.record(decision({ traceId: `trace-ahead-${i}`, timestamp: began + ms }))
    }
    await sink.close()
    vi.useRealTimers()
    expect(sink.dropped).toEqual({ allowed: 0, denied: 0, outcomes: 0 })
    const { entries } = (await (await gateway.admin('GET', '/admin/audit')).json()) as { entries: Entry[] }
    const late = (trace: string) => Date.parse(String(entries.find(({ traceId }) => traceId === trace)?.['timestamp'])) - began
    expect(late('trace-ahead-3'), 'as it was').toBe(-5000)
    for (const i of [0, 1, 2]) expect(Math.abs(late(`trace-ahead-${i}`)), `trace-ahead-${i}`).toBeLessThan(30_000)
    expect(late('trace-ahead-1') - late('trace-ahead-0')).toBe(1000)
    expect(log.mock.calls.flat()).toEqual([expect.stringMatching(/takes no decision of a time to come: its own clock counts/)])
  })

  it('corrects a time once, whatever a gateway says that it is', async () => {
    let year = 2020
    const gateway = await script(() => ({ status: 400, headers: { date: `Mon, 01 Jan ${year--} 00:00:00 GMT` }, body: {} }))
    const sink = auditToGateway({ url: gateway.url, token })
    sink.record(allow('trace-1'))
    await sink.close()
    expect(gateway.asked).toHaveLength(2)
    expect(sink.dropped.allowed).toBe(1)
  })

  it('does not move the time of what a gateway refuses for another reason', async () => {
    const gateway = await script(({ body }) =>
      entriesOf(body).some(({ traceId }) => traceId === 'bad') ? { status: 400, body: {} } : accepted,
    )
    const sink = auditToGateway({ url: gateway.url, token })
    for (const traceId of ['trace-1', 'bad']) sink.record(decision({ traceId, timestamp: Date.now() - 1000 }))
    await sink.close()
    const times = gateway.asked.flatMap(({ body }) =>
      entriesOf(body).map((entry) => [entry.traceId, entry['timestamp']].join()),
    )
    expect(new Set(times).size).toBe(2)
    expect(sink.dropped.allowed).toBe(1)
  })

  it('is kept by a real gateway, each entry once', async () => {
    const gateway = await startGateway()
    open.push(gateway)
    const writer = await gateway.createService('audit:write')
    const { id } = await gateway.createAgent()
    const guard = createGuard({
      source: fromPolicies([{ name: 'readers', rules: [{ effect: 'allow', actions: ['read:*'] }] }]),
      audit: auditToGateway({ url: gateway.url, token: writer }),
    })
    const agent = { id, trustTier: 'verified' }
    for (let i = 0; i < 20; i++) await guard.check(i % 2 === 0 ? 'read:x' : 'write:x', { agent, traceId: `shipped-${i}` })
    await guard.close()
    const { entries } = (await (await gateway.admin('GET', `/admin/audit?agentId=${id}`)).json()) as { entries: Entry[] }
    expect(new Set(entries.map(({ traceId }) => traceId)).size).toBe(20)
    expect(entries).toHaveLength(20)
    expect(entries.filter((entry) => entry['decision'] === 'deny')).toHaveLength(10)
  })

  it('refuses options that are wrong, naming them and no token', () => {
    const make = (options: unknown) => () => auditToGateway(options as Parameters<typeof auditToGateway>[0])
    const url = 'http://127.0.0.1:1'
    expect(make({ token })).toThrow(/"url"/)
    expect(make({ url, token: undefined })).toThrow(/"token"/)
    expect(make({ url, token: 'do not tell' })).toThrow(/^(?!.*do not tell).*"token"/)
    expect(make({ url, token, timeoutMs: 0 })).toThrow(/"timeoutMs"/)
    expect(make({ url, token, capacity: 0 })).toThrow(/"capacity"/)
    expect(make({ url, token, onful: 'deny' })).toThrow(/"onFull"/)
  })
})
