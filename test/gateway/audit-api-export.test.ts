import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { exportAudit } from '../../packages/gateway/src/admin/audit-export.js'
import type { AuditEntry } from '../../packages/gateway/src/audit/audit-log.js'
import { startGateway, type World } from './gateway-world.js'

const COUNT = 50_000

let world: World

beforeAll(async () => {
  world = await startGateway()
  const { audit } = world.services
  const begun = Date.now() - COUNT
  for (let at = 0; at < COUNT; at += 1000) {
    const entries = Array.from(
      { length: 1000 },
      (_, i): AuditEntry => ({
        id: `exported-${String(at + i).padStart(8, '0')}`,
        timestamp: new Date(begun + at + i).toISOString(),
        traceId: `trace-${at + i}`,
        action: 'read:exported',
        resource: `things/${at + i}`,
        decision: 'allow',
        code: 'allowed',
        mode: 'enforce',
        source: 'test',
        request: { method: 'GET', route: '/things/:id' },
      }),
    )
    await audit.ship('shipper', entries)
  }
}, 60_000)
afterAll(() => world.close())

const open = (search: string) => world.fetch(`/admin/audit/export${search}`, { headers: { 'x-admin-token': world.adminToken } })

/** The lines of a stream, as they come. */
async function* linesOf(response: Response): AsyncGenerator<string, void, undefined> {
  let rest = ''
  const decoder = new TextDecoder()
  for await (const chunk of response.body as ReadableStream<Uint8Array>) {
    const lines = (rest + decoder.decode(chunk, { stream: true })).split('\n')
    rest = lines.pop() as string
    yield* lines
  }
  expect(rest).toBe('')
}

describe('the export', () => {
  it('answers everything, oldest first, each entry once', async () => {
    const response = await open('')
    expect(response.headers.get('content-type')).toBe('application/jsonl; charset=utf-8')
    expect(response.headers.get('content-disposition')).toBe('attachment; filename="audit.jsonl"')
    expect(response.headers.get('cache-control')).toBe('no-store')
    let count = 0
    for await (const line of linesOf(response)) {
      const { id } = JSON.parse(line) as AuditEntry
      if (id !== `exported-${String(count).padStart(8, '0')}`) throw new Error(`entry ${count} is ${id}`)
      count++
    }
    expect(count).toBe(COUNT)
  })

  it('is read from the log as fast as it is read from the socket: a reader that waits costs no memory', async () => {
    const { audit } = world.services
    let pages = 0
    const counted = new Proxy(audit, {
      get: (target, name) =>
        name === 'query'
          ? (...args: Parameters<typeof audit.query>) => {
              pages++
              return target.query(...args)
            }
          : Reflect.get(target, name),
    })
    const response = await exportAudit({ ...world.services, audit: counted }, { format: 'csv' })
    const reader = (response.body as ReadableStream<Uint8Array>).getReader()
    await reader.read()
    await reader.read()
    await new Promise((resolve) => setTimeout(resolve, 50))
    expect(pages).toBe(1)
    await reader.read()
    expect(pages).toBe(2)
    await reader.cancel()
  })

  it('stops where the reader goes away', async () => {
    const response = await open('?format=csv')
    const reader = (response.body as ReadableStream<Uint8Array>).getReader()
    await reader.read()
    await reader.cancel()
    expect((await world.fetch('/health')).status).toBe(200)
  })

  it('leaves out what is before from, and from to on', async () => {
    const { items } = await world.services.audit.query({ order: 'oldest', limit: 20 })
    const [from, to] = [items[10]?.timestamp, items[15]?.timestamp]
    const ids: string[] = []
    for await (const line of linesOf(await open(`?from=${from}&to=${to}`))) ids.push((JSON.parse(line) as AuditEntry).id)
    expect(ids).toEqual(items.slice(10, 15).map(({ id }) => id))
  })

  it('breaks the connection off where the log cannot be read any more, so that a part does not look like all', async () => {
    const { audit } = world.services
    let asked = 0
    const failing = new Proxy(audit, {
      get: (target, name) =>
        name === 'query'
          ? async (...args: Parameters<typeof audit.query>) => {
              if (asked++ > 0) throw new Error('the disk is gone')
              return target.query(...args)
            }
          : Reflect.get(target, name),
    })
    const response = await exportAudit({ ...world.services, audit: failing }, { format: 'jsonl' })
    await expect(response.text()).rejects.toThrow('the disk is gone')
  })
})

describe('the export as CSV', () => {
  it('has a header, quotes what must be quoted, and disarms what a spreadsheet would run', async () => {
    const hostile = ['=1+1', '+1', '-1', '@SUM(A1)', '\t=1', 'a,"b"', '=HYPERLINK("http://evil.example")']
    const from = new Date().toISOString()
    for (const reason of hostile) {
      await world.services.audit.append({
        traceId: 'hostile-trace',
        agentName: reason,
        action: 'read:hostile',
        decision: 'deny',
        code: 'denied',
        reason,
        mode: 'enforce',
        source: '=source',
        durationMs: 1.5,
        metadata: { '=key': reason },
        own: { member: true },
      })
    }
    const response = await open(`?format=csv&from=${from}`)
    expect(response.headers.get('content-type')).toBe('text/csv; charset=utf-8; header=present')
    const [header, ...rows] = (await response.text()).trimEnd().split('\n')
    expect(header).toMatch(/^id,timestamp,traceId,.*,metadata,more$/)
    expect(rows).toHaveLength(hostile.length)
    for (const row of rows) {
      expect(row).toContain(",'=source,")
      expect(row).toContain('"{""own"":{""member"":true}}"')
      for (const cell of row.split(/,(?=(?:[^"]*"[^"]*")*[^"]*$)/)) expect(cell).not.toMatch(/^"?[=+\-@\t\r]/)
    }
    expect(rows[5]).toContain('"a,""b"""')
  })
})
