/** What of the client can only be seen from the other end of its sockets; the rest is in the contract. */
import { MeshGuardClient } from '@meshguard/client'
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest'
import { allow } from '../contracts/client/spec.js'
import { rejection, type Scripted, startScripted } from './scripted.js'

let scripted: Scripted
let client: MeshGuardClient

beforeAll(async () => {
  scripted = await startScripted()
  client = new MeshGuardClient({ gatewayUrl: `${scripted.url}/base`, agentToken: 'agent-secret' })
})
afterEach(() => {
  scripted.received.length = 0
})
afterAll(async () => {
  await client.close()
  await scripted.close()
})

it('checkMany asks at most eight at a time', async () => {
  let [received, most] = [0, 0]
  const waiting: (() => void)[] = []
  scripted.answer((res, { headers }) => {
    const reply = allow(headers['x-meshguard-action'] as string)
    const length = waiting.push(() => res.writeHead(200, { ...reply.headers }).end(JSON.stringify(reply.json)))
    most = Math.max(most, length)
    received++
    if (waiting.length >= 8 || received === 30) for (const answer of waiting.splice(0)) answer()
  })
  const checks = Array.from({ length: 30 }, (_, i) => ({ action: `read:c${i}`, resource: `r/${i}` }))
  const decisions = await client.checkMany(checks)
  expect(decisions.map(({ action, resource }) => ({ action, resource }))).toEqual(checks)
  expect(most).toBe(8)
})

it('a stream is sent as it comes, to the path that the gateway is behind', async () => {
  scripted.answer({ headers: { 'x-meshguard-origin': 'upstream' } })
  await client.post('/api', { body: new Blob(['some ', 'bytes']).stream() })
  expect(scripted.received).toMatchObject([
    { url: '/base/proxy/api', body: 'some bytes', headers: { 'transfer-encoding': 'chunked' } },
  ])
})

it('a signal that ends a body closes its connection', async () => {
  let closed = false
  scripted.answer((res) => {
    res.on('close', () => {
      closed = true
    })
    res.writeHead(200, { 'x-meshguard-origin': 'upstream' }).write('first')
  })
  const abort = new AbortController()
  const response = await client.get('/api', { signal: abort.signal })
  const reader = (response.body as ReadableStream<Uint8Array>).getReader()
  expect(new TextDecoder().decode((await reader.read()).value)).toBe('first')
  abort.abort(new Error('enough'))
  await rejection(reader.read())
  await expect.poll(() => closed).toBe(true)
})

it('following the audit log leaves nothing open after break', async () => {
  let open = 0
  scripted.answer((res) => {
    open++
    res.on('close', () => open--)
    res.writeHead(200, { 'content-type': 'text/event-stream' }).write('id: a\ndata: {"id":"a"}\n\n')
  })
  const operator = new MeshGuardClient({ gatewayUrl: scripted.url, adminToken: 'admin-secret' })
  for await (const { id } of operator.streamAudit()) {
    expect(id).toBe('a')
    break
  }
  await expect.poll(() => open).toBe(0)
})

it('a client closes by itself at the end of a block', async () => {
  let left: MeshGuardClient
  {
    await using inside = new MeshGuardClient({ gatewayUrl: scripted.url })
    left = inside
  }
  expect(await rejection(left.health())).toMatchObject({ message: 'The client was closed' })
})
