import { AuthenticationError } from '@meshguard/core'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { streamAudit } from '../../packages/gateway/src/admin/audit-stream.js'
import type { AuditEntry } from '../../packages/gateway/src/audit/audit-log.js'
import { EventBlocks, fieldOf } from './event-blocks.js'
import { startGateway, type World } from './gateway-world.js'

let world: World
const open = new Set<EventBlocks>()

beforeEach(async () => {
  world = await startGateway()
})
afterEach(async () => {
  for (const blocks of open) await blocks.cancel().catch(() => undefined)
  open.clear()
  await world.close()
})

/** The entries of a stream. */
class Events {
  readonly #blocks: EventBlocks

  constructor(response: Response) {
    this.#blocks = new EventBlocks(response.body)
    open.add(this.#blocks)
  }

  /** The next block; `undefined` at the end. */
  async next(): Promise<{ id?: string; entry?: AuditEntry } | undefined> {
    const block = await this.#blocks.next()
    if (block === undefined) return undefined
    const [id, data] = [fieldOf(block, 'id'), fieldOf(block, 'data')]
    return { ...(id !== undefined && { id }), ...(data !== undefined && { entry: JSON.parse(data) as AuditEntry }) }
  }

  async actions(count: number): Promise<string[]> {
    const actions: string[] = []
    while (actions.length < count) {
      const block = await this.next()
      if (block === undefined) break
      if (block.entry !== undefined) actions.push(block.entry.action)
    }
    return actions
  }

  close(): Promise<void> {
    open.delete(this.#blocks)
    return this.#blocks.cancel()
  }
}

const request = (search = '', headers: Record<string, string> = {}) =>
  world.fetch(`/admin/audit/stream${search}`, { headers: { 'x-admin-token': world.adminToken, ...headers } })

const events = async (search = '', headers: Record<string, string> = {}) => new Events(await request(search, headers))

function decided(action: string, more: object = {}): Promise<void> {
  return world.services.audit.append({
    traceId: 'trace-of-stream',
    action,
    decision: 'allow',
    code: 'allowed',
    mode: 'enforce',
    source: 'test',
    ...more,
  })
}

const numbered = (from: number, to: number) => Array.from({ length: to - from }, (_, i) => `read:${from + i}`)

describe('the stream of the audit log', () => {
  it('brings what is committed from now on, with the id of each entry', async () => {
    await decided('read:before')
    const response = await request()
    expect(response.headers.get('content-type')).toBe('text/event-stream; charset=utf-8')
    expect(response.headers.get('cache-control')).toBe('no-store')
    const stream = new Events(response)
    expect(await stream.next()).toEqual({ id: await world.services.audit.newest() })
    await decided('read:after')
    const block = await stream.next()
    expect(block?.entry).toMatchObject({ action: 'read:after', decision: 'allow' })
    expect(block?.id).toBe(block?.entry?.id)
  })

  it('begins with a log that is empty', async () => {
    const stream = await events()
    expect(await stream.next()).toEqual({})
    await decided('read:first')
    expect(await stream.actions(1)).toEqual(['read:first'])
  })

  it('goes on after Last-Event-ID without a loss and without a repetition, while entries keep coming', async () => {
    const total = 600
    const writing = (async () => {
      for (const action of numbered(0, total)) await decided(action)
    })()
    await decided('read:zero')
    const seen: string[] = []
    let last = (await world.services.audit.after(undefined, 1))?.[0]?.id as string
    seen.push((await world.services.audit.after(undefined, 1))?.[0]?.action as string)
    for (let i = 0; seen.length < total + 1; i++) {
      const stream = await events('', { 'last-event-id': last })
      for (let n = 0; n < 1 + i * 7 && seen.length < total + 1; ) {
        const block = await stream.next()
        if (block?.id !== undefined) last = block.id
        if (block?.entry === undefined) continue
        seen.push(block.entry.action)
        n++
      }
      await stream.close()
    }
    await writing
    expect([...seen].sort()).toEqual([...numbered(0, total), 'read:zero'].sort())
    expect(new Set(seen).size).toBe(total + 1)
  })

  it('brings more than a page of what was missed, and shipped entries however old they say they are', async () => {
    await decided('read:known')
    const last = (await world.services.audit.newest()) as string
    for (const action of numbered(0, 250)) void decided(action)
    await decided('read:250')
    await world.services.audit.ship('shipper', [
      {
        id: crypto.randomUUID(),
        timestamp: '2020-01-01T00:00:00.000Z',
        traceId: 'trace-of-old',
        action: 'read:old',
        decision: 'allow',
        code: 'allowed',
        mode: 'enforce',
        source: 'test',
      },
    ])
    const stream = await events('', { 'last-event-id': last })
    expect(await stream.actions(252)).toEqual([...numbered(0, 251), 'read:old'])
  })

  it('leaves out what the filter does not take', async () => {
    const stream = await events('?decision=deny&action=write:*&policy=p')
    await decided('write:a', { decision: 'deny', code: 'denied', policy: 'p' })
    await decided('read:a', { decision: 'deny', code: 'denied', policy: 'p' })
    await decided('write:b', { policy: 'p' })
    await decided('write:c', { decision: 'deny', code: 'denied' })
    await decided('write:d', { decision: 'deny', code: 'denied', policy: 'p' })
    expect(await stream.actions(2)).toEqual(['write:a', 'write:d'])
  })

  it('refuses a last id that the log does not hold', async () => {
    for (const id of [crypto.randomUUID(), 'a b', 'x'.repeat(200)]) {
      const response = await request('', { 'last-event-id': id })
      expect(response.status).toBe(400)
      expect(await response.json()).toMatchObject({ issues: [{ path: 'Last-Event-ID' }] })
    }
  })

  it('gives signs of life, and ends once the caller may not read any more', async () => {
    let asked = 0
    const response = await streamAudit(world.services, {
      filter: {},
      keepAliveMs: 10,
      stillMay: async () => {
        if (++asked > 3) throw new AuthenticationError('The service token is revoked')
      },
    })
    const stream = new Events(response)
    const blocks: unknown[] = []
    for (let block = await stream.next(); block !== undefined; block = await stream.next()) blocks.push(block)
    expect(blocks).toEqual([{}, {}, {}, {}])
  })

  it('ends once the caller may not read any more although there is always news', async () => {
    const { audit } = world.services
    await audit.append({
      traceId: 'trace-busy',
      action: 'read:contacts',
      decision: 'allow',
      code: 'allowed',
      mode: 'enforce',
      source: 'test',
    })
    const { items } = await audit.query({})
    const page = Array.from({ length: 100 }, () => items[0])
    const busy = new Proxy(audit, {
      get: (target, name) => (name === 'after' ? async () => page : Reflect.get(target, name)),
    })
    const response = await streamAudit(
      { ...world.services, audit: busy },
      {
        filter: {},
        keepAliveMs: 1,
        stillMay: async () => {
          throw new AuthenticationError('The service token is revoked')
        },
      },
    )
    const stream = new Events(response)
    let isEnded = false
    for (let i = 0; i < 20_000 && !isEnded; i++) isEnded = (await stream.next()) === undefined
    expect(isEnded).toBe(true)
  })

  it('listens for nobody once its reader is gone', async () => {
    let listeners = 0
    const { audit } = world.services
    const counted = new Proxy(audit, {
      get: (target, name) =>
        name === 'subscribe'
          ? (listener: Parameters<typeof audit.subscribe>[0]) => {
              listeners++
              const stop = target.subscribe(listener)
              return () => {
                listeners--
                stop()
              }
            }
          : Reflect.get(target, name),
    })
    const options = { filter: {}, stillMay: async () => undefined }
    for (const reads of [1, 2]) {
      const stream = new Events(await streamAudit({ ...world.services, audit: counted }, options))
      await stream.next()
      expect(listeners).toBe(1)
      const pending = reads > 1 ? stream.next() : undefined
      await stream.close()
      await pending
      expect(listeners).toBe(0)
    }
  })

  it('ends when the gateway closes', async () => {
    const stream = await events()
    await stream.next()
    const closing = world.gateway.close()
    expect(await stream.next()).toBeUndefined()
    await closing
  })
})
