import { once } from 'node:events'
import { createServer, type RequestListener, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'

/** A server that listens. */
export interface Listening {
  readonly url: string
  /** Stops accepting, and lets what runs finish for two seconds. */
  close(): Promise<void>
}

/** Serves on a port of this machine alone; 0 takes any that is free. */
export async function listen(app: RequestListener, port: number): Promise<Listening> {
  const server = createServer({ requestTimeout: 30_000, headersTimeout: 10_000 }, app).listen(port, '127.0.0.1')
  await once(server, 'listening')
  const { port: taken } = server.address() as AddressInfo
  return { url: `http://127.0.0.1:${taken}`, close: () => close(server) }
}

/** @throws Error of the system if another program listens there, before anything is made that would have to be undone. */
export async function assertFree(port: number): Promise<void> {
  const { close } = await listen(() => undefined, port)
  await close()
}

async function close(server: Server): Promise<void> {
  const closed = new Promise((resolve) => server.close(resolve))
  server.closeIdleConnections()
  setTimeout(() => server.closeAllConnections(), 2000).unref()
  await closed
}
