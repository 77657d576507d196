/** A gateway's `/v1/bundle` and its stream on a loopback port, which publishes what a test says and fails as it says. */
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { BundleDocument } from '@meshguard/core/bundle'
import { createSigner } from '../sources/bundle-binding.js'

/** Answers a request instead of the publisher. */
export type Fault = (request: IncomingMessage, response: ServerResponse, jws: string) => void

export interface Publisher {
  readonly url: string
  readonly signer: Awaited<ReturnType<typeof createSigner>>
  /** Requests for `/v1/bundle` so far. */
  readonly asked: readonly { readonly ifNoneMatch: string | undefined; readonly authorization: string | undefined }[]
  /** How many listen to the stream. */
  readonly listeners: () => number
  /** Signs the next version and serves it from now on. */
  publish(changes?: Partial<BundleDocument>): Promise<string>
  /** Serves these bytes from now on. */
  serve(jws: string): void
  /** Until it is called without one. */
  fail(fault?: Fault): void
  /** Ends every stream. */
  hangUp(): void
  /** Nothing listens any more, until it is opened again on the same port. */
  close(): Promise<void>
  reopen(): Promise<void>
}

export const ALLOW_READING = [{ name: 'readers', rules: [{ effect: 'allow' as const, actions: ['read:*'] }] }]

export async function startPublisher(): Promise<Publisher> {
  const signer = await createSigner()
  const asked: { ifNoneMatch: string | undefined; authorization: string | undefined }[] = []
  const streams = new Set<ServerResponse>()
  let jws = ''
  let fault: Fault | undefined
  let serial = 0

  const server = createServer((request, response) => {
    const { authorization, 'if-none-match': ifNoneMatch } = request.headers
    if (request.url === '/v1/bundle/stream') {
      response.writeHead(200, { 'content-type': 'text/event-stream' })
      response.write(': \n\n')
      streams.add(response)
      response.on('close', () => streams.delete(response))
      return
    }
    if (request.url === '/jwks') {
      response.end(JSON.stringify({ keys: [{ ...signer.bundles.publicKey, typ: 'meshguard-bundle+jws' }] }))
      return
    }
    asked.push({ authorization, ifNoneMatch })
    response.setHeader('connection', 'close')
    if (fault !== undefined) return fault(request, response, jws)
    const etag = `"${serial}"`
    if (ifNoneMatch === etag) response.writeHead(304, { etag }).end()
    else response.writeHead(200, { etag, 'content-type': 'application/jose' }).end(jws)
  })
  const listen = (port: number) => new Promise<void>((resolve) => server.listen(port, '127.0.0.1', resolve))
  await listen(0)
  const { port } = server.address() as { port: number }
  const serve = (text: string): void => {
    jws = text
    serial++
    for (const stream of streams) stream.write(`event: bundle\nid: ${serial}\ndata: {}\n\n`)
  }
  return {
    url: `http://127.0.0.1:${port}`,
    signer,
    asked,
    listeners: () => streams.size,
    async publish(changes) {
      const signed = await signer.sign({ policies: ALLOW_READING, ...changes })
      serve(signed)
      return signed
    },
    serve,
    fail: (next) => {
      fault = next
    },
    hangUp: () => {
      for (const stream of streams) stream.destroy()
    },
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
    reopen: () => listen(port),
  }
}
