import { UnavailableError } from '@meshguard/core'
import { afterEach, describe, expect, it } from 'vitest'
import type { AuditEntry } from '../../packages/gateway/src/audit/audit-log.js'
import { allowed, closeWorlds, denied, openAuditWorld, START, type World } from './audit-world.js'

afterEach(closeWorlds)

const traces = async (world: World): Promise<string[]> => {
  const rows = await world.store.audit.scan('gateway', 0, 1000)
  return rows.map(({ traceId }) => traceId)
}

/** Lets the first commit wait until it is released; the store then does what it always does. */
function holdCommits({ store, fault }: World) {
  const held: (() => void)[] = []
  fault.append = async (...args) => {
    await new Promise<void>((resolve) => held.push(resolve))
    return store.audit.append(...args)
  }
  return {
    async begun() {
      await expect.poll(() => held.length).toBeGreaterThan(0)
    },
    off() {
      delete fault.append
      for (const release of held.splice(0)) release()
    },
  }
}

describe('the audit log', () => {
  it('answers once an entry is committed, and not before', async () => {
    const world = await openAuditWorld()
    const commits = holdCommits(world)
    let isDone = false
    const done = world.audit.append(allowed('trace-1')).then(() => {
      isDone = true
    })
    await commits.begun()
    expect(isDone).toBe(false)
    expect(await traces(world)).toEqual([])
    commits.off()
    await done
    expect(await traces(world)).toEqual(['trace-1'])
  })

  it('commits together what arrives while a commit runs', async () => {
    const world = await openAuditWorld()
    const commits = holdCommits(world)
    const first = world.audit.append(allowed('trace-0'))
    await commits.begun()
    const rest = Array.from({ length: 50 }, (_, i) => world.audit.append(allowed(`trace-${i + 1}`)))
    commits.off()
    await Promise.all([first, ...rest])
    expect(world.commits).toEqual([1, 50])
    expect(await traces(world)).toEqual(Array.from({ length: 51 }, (_, i) => `trace-${i}`))
    expect(await world.audit.verify()).toEqual({ valid: true, entries: 51 })
  })

  it('rejects all entries of a commit that fails, and goes on where the store stands when it works again', async () => {
    const world = await openAuditWorld()
    await world.audit.append(allowed('trace-1'))
    world.fault.append = async () => {
      throw new UnavailableError('The disk is full')
    }
    const failed = await Promise.allSettled(['a', 'b', 'c'].map((id) => world.audit.append(allowed(`trace-${id}`))))
    expect(failed.map((one) => one.status === 'rejected' && one.reason instanceof UnavailableError)).toEqual([true, true, true])
    delete world.fault.append
    await world.audit.append(allowed('trace-2'))
    expect(await traces(world)).toEqual(['trace-1', 'trace-2'])
    expect(await world.audit.verify()).toEqual({ valid: true, entries: 2 })
    expect(world.logged.map(({ msg }) => msg).slice(-2)).toEqual([
      'the audit log cannot be written',
      'the audit log is written again',
    ])
  })

  it('continues a commit that landed although it was reported as failed', async () => {
    const world = await openAuditWorld()
    world.fault.append = async (...args) => {
      await world.store.audit.append(...args)
      throw new Error('The connection was lost')
    }
    await expect(world.audit.append(allowed('trace-1'))).rejects.toBeInstanceOf(UnavailableError)
    delete world.fault.append
    await world.audit.append(allowed('trace-2'))
    expect(await traces(world)).toEqual(['trace-1', 'trace-2'])
    expect(await world.audit.verify()).toEqual({ valid: true, entries: 2 })
  })

  it('rejects while the store cannot be read after a failure, and recovers', async () => {
    const world = await openAuditWorld()
    const broken = async () => {
      throw new UnavailableError('locked')
    }
    Object.assign(world.fault, { append: broken, head: broken })
    for (const id of ['1', '2', '3']) await expect(world.audit.append(allowed(`trace-${id}`))).rejects.toThrow('locked')
    delete world.fault.append
    await expect(world.audit.append(allowed('trace-4'))).rejects.toThrow('locked')
    delete world.fault.head
    await world.audit.append(allowed('trace-5'))
    expect(await traces(world)).toEqual(['trace-5'])
    expect(await world.audit.verify()).toEqual({ valid: true, entries: 1 })
  })

  it('rejects an entry that cannot be written down, and none beside it', async () => {
    const world = await openAuditWorld()
    const unreadable: Record<string, unknown> = {}
    Object.defineProperty(unreadable, 'boom', {
      enumerable: true,
      get() {
        throw new Error('unreadable')
      },
    })
    const [bad, good] = await Promise.allSettled([
      world.audit.append(allowed('trace-1', { metadata: unreadable })),
      world.audit.append(allowed('trace-2')),
    ])
    expect([bad?.status, good?.status]).toEqual(['rejected', 'fulfilled'])
    expect(await traces(world)).toEqual(['trace-2'])
  })

  it('refuses entries of a durable log that are more than can wait, and takes them again later', async () => {
    const world = await openAuditWorld()
    const commits = holdCommits(world)
    const waiting = Array.from({ length: 10_000 }, (_, i) => world.audit.append(allowed(`trace-${i}`)))
    await expect(world.audit.append(allowed('trace-more'))).rejects.toBeInstanceOf(UnavailableError)
    commits.off()
    await Promise.all(waiting)
    await world.audit.append(allowed('trace-later'))
    expect(await world.audit.verify()).toEqual({ valid: true, entries: 10_001 })
    expect(Math.max(...world.commits)).toBeLessThanOrEqual(256)
  })

  it('writes what waits when it is closed, and refuses what comes later', async () => {
    const world = await openAuditWorld()
    const done = world.audit.append(allowed('trace-1'))
    await world.audit.close()
    await done
    expect(await traces(world)).toEqual(['trace-1'])
    await expect(world.audit.append(allowed('trace-2'))).rejects.toBeInstanceOf(UnavailableError)
  })

  it('goes on with its chain after a restart', async () => {
    const world = await openAuditWorld()
    await world.audit.append(allowed('trace-1'))
    await world.reopen()
    await world.audit.append(allowed('trace-2'))
    expect((await world.store.audit.scan('gateway', 0, 10)).map(({ sequence }) => sequence)).toEqual([1, 2])
    expect(await world.audit.verify()).toEqual({ valid: true, entries: 2 })
  })

  it('tells listeners of every entry once it is committed, and goes on where a listener throws', async () => {
    const world = await openAuditWorld()
    const heard: AuditEntry[] = []
    const stopThrowing = world.audit.subscribe(() => {
      throw new Error('listener')
    })
    const stop = world.audit.subscribe((entry) => void heard.push(entry))
    await world.audit.append(allowed('trace-1', { metadata: { password: 'hunter2' } }))
    expect(heard).toMatchObject([{ traceId: 'trace-1', metadata: { password: '[redacted]' } }])
    stop()
    stopThrowing()
    await world.audit.append(allowed('trace-2'))
    expect(heard).toHaveLength(1)
  })

  it('answers entries as they were recorded, newest first', async () => {
    const world = await openAuditWorld()
    for (const id of ['1', '2', '3']) {
      world.clock.now += 1000
      await world.audit.append(allowed(`trace-${id}`, { request: { method: 'GET', ip: '127.0.0.1' }, claimed: true }))
    }
    const { items } = await world.audit.query({ limit: 2 })
    expect(items).toMatchObject([
      { traceId: 'trace-3', timestamp: new Date(START + 3000).toISOString(), claimed: true, request: { method: 'GET' } },
      { traceId: 'trace-2' },
    ])
  })
})

describe('the audit log in async mode', () => {
  it('answers at once, and writes soon after', async () => {
    const world = await openAuditWorld({ auditMode: 'async' })
    const commits = holdCommits(world)
    await world.audit.append(allowed('trace-1'))
    expect(await traces(world)).toEqual([])
    commits.off()
    await expect.poll(() => traces(world)).toEqual(['trace-1'])
  })

  it('drops denials first when too many wait, and counts what it drops', async () => {
    const world = await openAuditWorld({ auditMode: 'async' })
    const commits = holdCommits(world)
    await world.audit.append(allowed('trace-first'))
    await commits.begun()
    for (let i = 0; i < 9999; i++) await world.audit.append(i % 2 === 0 ? allowed(`trace-a${i}`) : denied(`trace-d${i}`))
    for (let i = 0; i < 100; i++) await world.audit.append(denied(`trace-late-${i}`))
    expect(world.audit.dropped).toEqual({ allowed: 0, denied: 100 })
    for (let i = 0; i < 4999; i++) await world.audit.append(allowed(`trace-b${i}`))
    expect(world.audit.dropped).toEqual({ allowed: 0, denied: 5099 })
    await world.audit.append(allowed('trace-too-many'))
    expect(world.audit.dropped).toEqual({ allowed: 1, denied: 5099 })
    commits.off()
    await world.audit.close()
    expect(await world.audit.verify()).toEqual({ valid: true, entries: 10_000 })
  })

  it('counts what a failed commit lost, says so once, and goes on', async () => {
    const world = await openAuditWorld({ auditMode: 'async' })
    world.fault.append = async () => {
      throw new UnavailableError('The disk is full')
    }
    for (const id of ['1', '2', '3']) {
      await world.audit.append(id === '3' ? denied(`trace-${id}`) : allowed(`trace-${id}`))
    }
    await expect.poll(() => world.audit.dropped).toEqual({ allowed: 2, denied: 1 })
    delete world.fault.append
    await world.audit.append(allowed('trace-4'))
    await expect.poll(() => traces(world)).toEqual(['trace-4'])
    expect(world.logged.map(({ msg }) => msg).slice(-2)).toEqual([
      'the audit log cannot be written',
      'the audit log is written again',
    ])
  })
})

describe('entries that services ship', () => {
  const shipped = (id: string, members: Partial<AuditEntry> = {}): AuditEntry => ({
    ...(allowed(`trace-${id}`) as AuditEntry),
    id: `entry-${id}`,
    timestamp: new Date(START - 5000).toISOString(),
    ...members,
  })

  it('are kept in a chain of their writer, with who sent them and when', async () => {
    const world = await openAuditWorld()
    expect(await world.audit.ship('svc_1', [shipped('1', { writer: 'forged', receivedAt: 'never' }), shipped('2')])).toBe(2)
    expect(await world.audit.ship('svc_2', [shipped('3')])).toBe(1)
    const rows = await world.store.audit.scan('svc_1', 0, 10)
    expect(rows.map(({ sequence, id }) => [sequence, id])).toEqual([
      [1, 'entry-1'],
      [2, 'entry-2'],
    ])
    const { items } = await world.audit.query({ limit: 10 })
    expect(items.find(({ id }) => id === 'entry-1')).toMatchObject({
      writer: 'svc_1',
      receivedAt: new Date(START).toISOString(),
      timestamp: new Date(START - 5000).toISOString(),
    })
    expect(await world.audit.verify()).toEqual({ valid: true, entries: 3 })
  })

  it('are kept once, however often they are sent', async () => {
    const world = await openAuditWorld()
    expect(await world.audit.ship('svc_1', [shipped('1'), shipped('1'), shipped('2')])).toBe(2)
    const again = await Promise.all([
      world.audit.ship('svc_1', [shipped('1'), shipped('2'), shipped('3')]),
      world.audit.ship('svc_2', [shipped('2'), shipped('3')]),
    ])
    expect(again[0] + again[1]).toBe(1)
    expect(await world.audit.verify()).toEqual({ valid: true, entries: 3 })
  })

  it('are marked where their agent is unknown here, whatever they say of it', async () => {
    const world = await openAuditWorld()
    const agent = {
      id: 'agent_1',
      name: 'known',
      trustTier: 'verified' as const,
      tags: [],
      metadata: {},
      status: 'active' as const,
    }
    await world.store.agents.insert({ ...agent, generation: 0, createdAt: START, updatedAt: START })
    await world.audit.ship('svc_1', [
      shipped('1', { unknownAgent: true }),
      shipped('2', { agentId: 'agent_ghost', unknownAgent: false }),
      shipped('3', { agentId: undefined }),
    ])
    const { items } = await world.audit.query({ limit: 10 })
    expect(new Map(items.map(({ id, unknownAgent }) => [id, unknownAgent]))).toEqual(
      new Map([
        ['entry-1', undefined],
        ['entry-2', true],
        ['entry-3', undefined],
      ]),
    )
  })

  it('are refused with an invalid time, and whole', async () => {
    const world = await openAuditWorld()
    await expect(world.audit.ship('svc_1', [shipped('1'), shipped('2', { timestamp: 'today' })])).rejects.toMatchObject({
      status: 400,
      details: { issues: [{ path: 'entries.1.timestamp' }] },
    })
    expect(await world.store.audit.scan('svc_1', 0, 10)).toEqual([])
  })

  it('never get into the chain of the gateway itself', async () => {
    const world = await openAuditWorld()
    await expect(world.audit.ship('gateway', [shipped('1')])).rejects.toThrow(TypeError)
  })

  it('are a thousand at a time, while the gateway goes on recording', async () => {
    const world = await openAuditWorld()
    const many = Array.from({ length: 1000 }, (_, i) => shipped(String(i)))
    const [count] = await Promise.all([
      world.audit.ship('svc_1', many),
      ...Array.from({ length: 100 }, (_, i) => world.audit.append(allowed(`trace-own-${i}`))),
    ])
    expect(count).toBe(1000)
    expect(await world.audit.verify()).toEqual({ valid: true, entries: 1100 })
  })
})
