import { createServer, type IncomingMessage, type Server, type ServerResponse, STATUS_CODES } from 'node:http'
import type { AddressInfo, Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { getRequestListener } from '@hono/node-server'
import { newTraceId } from '@meshguard/core/http'
import type { Hono } from 'hono'
import type { Logger } from 'pino'
import { traceIdOf } from './http/trace-id.js'
import type { GatewayEnv } from './services.js'

/** Where a gateway listens. */
export interface Listening {
  /** `http://127.0.0.1:3100` */
  readonly url: string
  readonly host: string
  readonly port: number
}

/** A server of HTTP, before it listens. */
export interface GatewayServer {
  /** Rejects with the system's error, like `EADDRINUSE`. */
  listen(port: number, host: string): Promise<Listening>
  /** Takes no more connections, and resolves when the requests under way are answered, or after `graceMs` cuts them off. */
  close(graceMs: number): Promise<void>
}

const HEADERS_MS = 10_000
const REQUEST_MS = 30_000
/** How often Node looks for connections that are over their time. */
const CHECK_MS = 1000
/** Longer than the minute that load balancers keep idle connections, so that it is they who close them. */
const KEEP_ALIVE_MS = 65_000

/** How often a server that closes looks for connections that have become idle. */
const IDLE_MS = 20

/** Makes the server of an app, with the limits of time and what never gets as far as the app. */
export function createHttpServer(app: Hono<GatewayEnv>, log: Logger): GatewayServer {
  const fetch = app.fetch as Parameters<typeof getRequestListener>[0]
  const listener = getRequestListener(fetch, { hostname: 'localhost', errorHandler: answerBadTarget })
  const options = {
    headersTimeout: HEADERS_MS,
    requestTimeout: REQUEST_MS,
    connectionsCheckingInterval: CHECK_MS,
    keepAliveTimeout: KEEP_ALIVE_MS,
    // A missing Host is refused by the app, as Node's own answer would have no trace ID.
    requireHostHeader: false,
  }
  let closing = false
  const unused = new Set<Socket>()
  const onRequest = (incoming: IncomingMessage, outgoing: ServerResponse): void => {
    unused.delete(incoming.socket)
    if (closing) outgoing.setHeader('connection', 'close')
    listener(incoming, outgoing).catch((error: unknown) => {
      log.error({ err: error }, 'an answer could not be written')
      outgoing.destroy()
    })
  }
  const server = createServer(options, onRequest)
  server.on('connection', (socket) => {
    unused.add(socket)
    socket.once('close', () => unused.delete(socket))
  })
  // Whether the body is wanted is known by who reads it: only then is `100 Continue` sent.
  server.on('checkContinue', onRequest)
  server.on('checkExpectation', answerExpectation)
  server.on('clientError', answerClientError)
  server.on('upgrade', (incoming, socket) =>
    answerOnSocket(socket, 400, 'Upgrades are not supported', traceIdOf(incoming.headers)),
  )
  server.on('connect', (incoming, socket) => {
    answerOnSocket(socket, 405, 'CONNECT is not supported', traceIdOf(incoming.headers))
  })
  return {
    listen: (port, host) => listen(server, port, host, log),
    close(graceMs) {
      closing = true
      // Node does not count a connection as idle on which no request was sent yet.
      for (const socket of unused) socket.destroy()
      return close(server, graceMs)
    },
  }
}

function listen(server: Server, port: number, host: string, log: Logger): Promise<Listening> {
  return new Promise((resolve, reject) => {
    server.once('error', reject)
    server.listen(port, host, () => {
      server.off('error', reject)
      // A connection that could not be taken is no reason to end.
      server.on('error', (error) => log.error({ err: error }, 'a connection could not be taken'))
      const { address, family, port: bound } = server.address() as AddressInfo
      const named = family === 'IPv6' ? `[${address}]` : address
      resolve({ url: `http://${named}:${bound}`, host: address, port: bound })
    })
  })
}

async function close(server: Server, graceMs: number): Promise<void> {
  if (!server.listening) return
  const closed = new Promise<void>((resolve) => {
    server.close(() => resolve())
  })
  // A connection becomes idle when the last answer on it is written, and the client may then keep it open.
  const idle = setInterval(() => server.closeIdleConnections(), IDLE_MS)
  const late = setTimeout(() => server.closeAllConnections(), graceMs)
  await closed
  clearInterval(idle)
  clearTimeout(late)
}

/** The target or Host of a request that no URL can be made of. */
function answerBadTarget(): Response {
  const traceId = newTraceId()
  const body = bodyOf(400, 'The request target or Host is malformed', traceId)
  return new Response(body, { status: 400, headers: headersWith(traceId) })
}

/** An `Expect` that is not `100-continue` (RFC 9110, 10.1.1). */
function answerExpectation(incoming: IncomingMessage, outgoing: ServerResponse): void {
  const traceId = traceIdOf(incoming.headers)
  const body = bodyOf(417, 'The only expectation that is met is 100-continue', traceId)
  const headers = { ...headersWith(traceId), 'content-length': Buffer.byteLength(body), connection: 'close' }
  outgoing.writeHead(417, headers).end(body)
}

function headersWith(traceId: string): Record<string, string> {
  return {
    'content-type': 'application/json; charset=utf-8',
    'cache-control': 'no-store',
    'x-meshguard-origin': 'gateway',
    'x-meshguard-trace-id': traceId,
  }
}

/** What is not HTTP, is too long or too slow. */
function answerClientError(error: NodeJS.ErrnoException, socket: Duplex): void {
  if (error.code === 'ECONNRESET' || !socket.writable) {
    socket.destroy()
    return
  }
  const status = { HPE_HEADER_OVERFLOW: 431, ERR_HTTP_REQUEST_TIMEOUT: 408 }[error.code ?? ''] ?? 400
  answerOnSocket(socket, status, 'The request is not HTTP, too long or too slow', newTraceId())
}

function answerOnSocket(socket: Duplex, status: number, message: string, traceId: string): void {
  const body = bodyOf(status, message, traceId)
  socket.on('error', () => socket.destroy())
  socket.end(
    [
      `HTTP/1.1 ${status} ${STATUS_CODES[status]}`,
      'content-type: application/json; charset=utf-8',
      `content-length: ${Buffer.byteLength(body)}`,
      'cache-control: no-store',
      'x-meshguard-origin: gateway',
      `x-meshguard-trace-id: ${traceId}`,
      'connection: close',
      '',
      body,
    ].join('\r\n'),
    () => socket.destroy(),
  )
}

const ERRORS: Readonly<Record<number, string>> = {
  405: 'method_not_allowed',
  408: 'request_timeout',
  417: 'expectation_failed',
  431: 'too_many_headers',
}

function bodyOf(status: number, message: string, traceId: string): string {
  return JSON.stringify({ error: ERRORS[status] ?? 'bad_request', message, traceId })
}
