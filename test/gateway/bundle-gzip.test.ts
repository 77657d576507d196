/** Bundles as gzip: on the way alone, and never larger than bundles may be. */
import { once } from 'node:events'
import { createServer, type IncomingMessage, request, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { gunzipSync, gzipSync } from 'node:zlib'
import { fromBundle } from '@meshguard/core'
import { afterAll, beforeAll, expect, it, onTestFinished } from 'vitest'
import { gzipOf } from '../../packages/gateway/src/bundle/gzip.js'
import { startGateway, type World } from './gateway-world.js'

let world: World
let service: string
beforeAll(async () => {
  world = await startGateway()
  service = await world.createService('bundle')
})
afterAll(() => world.close())

/** Where a server listens that is ended with the test. */
async function listening(server: Server): Promise<string> {
  onTestFinished(() => void server.close())
  await once(server.listen(0, '127.0.0.1'), 'listening')
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
}

/** What is answered, as it is on the way: `fetch` would unpack it. */
async function raw(encoding: string | undefined, more: Record<string, string> = {}) {
  const headers = {
    authorization: `Bearer ${service}`,
    ...(encoding !== undefined && { 'accept-encoding': encoding }),
    ...more,
  }
  const answer = await new Promise<IncomingMessage>((resolve, reject) => {
    request(`${world.url}/v1/bundle`, { headers }, resolve).on('error', reject).end()
  })
  const chunks: Buffer[] = []
  for await (const chunk of answer) chunks.push(chunk as Buffer)
  return { status: answer.statusCode, headers: answer.headers, body: Buffer.concat(chunks) }
}

it('A bundle is compressed for who takes gzip, and for nobody else', async () => {
  const { etag, bytes } = await world.services.bundles.current()
  for (const encoding of ['gzip', 'br, GZIP;q=0.5', 'x-gzip', '*', 'identity;q=0, *;q=0.1', 'deflate, gzip; q=1']) {
    const { headers, body } = await raw(encoding)
    expect([encoding, headers['content-encoding'], headers.etag]).toEqual([encoding, 'gzip', `W/${etag}`])
    expect([headers['content-length'], headers.vary]).toEqual([String(body.length), 'Accept-Encoding'])
    expect(gunzipSync(body).equals(bytes)).toBe(true)
  }
  for (const encoding of [undefined, '', 'identity', 'br', 'gzip;q=0', 'gzip;q=0, *', 'gzip;q=x', '*;q=0.0', 'gzipped']) {
    const { headers, body } = await raw(encoding)
    expect([encoding, headers['content-encoding'], headers.etag]).toEqual([encoding, undefined, etag])
    expect([headers['content-length'], headers.vary]).toEqual([String(body.length), 'Accept-Encoding'])
    expect(body.equals(bytes)).toBe(true)
  }
})

it('Who has it in one coding has it in the other', async () => {
  const { etag } = await world.services.bundles.current()
  for (const known of [etag, `W/${etag}`]) {
    for (const [encoding, tag] of [
      ['gzip', `W/${etag}`],
      ['identity', etag],
    ] as const) {
      const { status, headers, body } = await raw(encoding, { 'if-none-match': known })
      expect([status, headers.etag, headers.vary, body.length]).toEqual([304, tag, 'Accept-Encoding', 0])
      expect(headers['content-encoding']).toBeUndefined()
    }
  }
})

it('A bundle is compressed once, however many ask', async () => {
  const bundle = await world.services.bundles.current()
  const [one, two] = await Promise.all([gzipOf(bundle), gzipOf(bundle)])
  expect(one).toBe(two)
  expect(await gzipOf(bundle)).toBe(one)
})

it('fromBundle unpacks it, and asks with its ETag', async () => {
  const rules = Array.from({ length: 200 }, (_, i) => ({ effect: 'allow', actions: [`read:things/${i}`] }))
  await world.admin('PUT', '/admin/policies/many', { name: 'many', rules })
  const asked: (string | undefined)[] = []
  const sent: number[] = []
  const proxy = createServer(async (incoming, outgoing) => {
    const { 'if-none-match': known, 'accept-encoding': encoding } = incoming.headers
    asked.push(known)
    const answer = await raw(encoding as string, known === undefined ? {} : { 'if-none-match': known })
    sent.push(answer.body.length)
    outgoing.writeHead(answer.status as number, answer.headers).end(answer.body)
  })
  const url = await listening(proxy)
  const source = fromBundle({ url, token: service, jwks: world.services.keys.published(), onReload: () => undefined })
  onTestFinished(() => source.close())
  await source.refresh()
  await source.refresh()
  const { etag, bytes } = await world.services.bundles.current()
  expect(asked).toEqual([undefined, `W/${etag}`])
  expect([sent[0] as number, sent[1]]).toEqual([expect.any(Number), 0])
  expect(sent[0]).toBeLessThan(bytes.length / 4)
  const agent = { id: 'agent', trustTier: 'verified' }
  expect(await source.decide({ action: 'read:things/7', agent, traceId: 'trace-0001' })).toMatchObject({ allowed: true })
})

it('fromBundle reads no more than a bundle may have, however well it is compressed', async () => {
  const bomb = gzipSync(Buffer.alloc(200 * 1024 * 1024, 'a'))
  const server = createServer((_, outgoing) => {
    outgoing.writeHead(200, { 'content-encoding': 'gzip', 'content-type': 'application/jose' }).end(bomb)
  })
  const url = await listening(server)
  const quiet = { onReload: () => undefined, onError: () => undefined }
  const source = fromBundle({ url, token: service, jwks: world.services.keys.published(), timeoutMs: 60_000, ...quiet })
  onTestFinished(() => source.close())
  const before = process.memoryUsage().arrayBuffers
  await expect(source.refresh()).rejects.toThrow('larger than 32 MiB')
  expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(100 * 1024 * 1024)
})
