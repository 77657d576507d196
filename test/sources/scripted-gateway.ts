/** HTTP servers on a loopback port that answer as a test says, for what a real gateway does not do on demand. */
import { createServer, type IncomingHttpHeaders, type ServerResponse } from 'node:http'
import { createServer as createTcpServer, type Socket } from 'node:net'

/** A request as it arrived. */
export interface Asked {
  readonly method: string
  readonly path: string
  readonly headers: IncomingHttpHeaders
  readonly body: string
}

/** What a scripted gateway answers; a function answers for itself, or never. */
export type Script = (asked: Asked, response: ServerResponse) => Reply | undefined

export interface Reply {
  readonly status: number
  readonly headers?: Readonly<Record<string, string>>
  readonly body: unknown
}

export interface ScriptedGateway {
  readonly url: string
  readonly asked: readonly Asked[]
  /** How many connections were made. */
  readonly connections: () => number
  close(): Promise<void>
}

/** Starts one. */
export async function scriptGateway(script: Script): Promise<ScriptedGateway> {
  const asked: Asked[] = []
  let connections = 0
  const server = createServer((request, response) => {
    let body = ''
    request.setEncoding('utf8')
    request.on('data', (chunk: string) => {
      body += chunk
    })
    request.on('end', () => {
      const { method = '', url = '', headers } = request
      const one = { method, path: url, headers, body }
      asked.push(one)
      const reply = script(one, response)
      if (reply === undefined) return
      response.writeHead(reply.status, { 'content-type': 'application/json', ...reply.headers })
      response.end(typeof reply.body === 'string' ? reply.body : JSON.stringify(reply.body))
    })
  })
  server.on('connection', () => {
    connections++
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    url: `http://127.0.0.1:${portOf(server)}`,
    asked,
    connections: () => connections,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }
}

/** A server that speaks bytes: what it writes to a connection once it has read something of it. */
export async function scriptBytes(onData: (socket: Socket, connection: number) => void): Promise<ScriptedGateway> {
  const sockets = new Set<Socket>()
  let connections = 0
  const server = createTcpServer((socket) => {
    const connection = ++connections
    sockets.add(socket)
    socket.on('error', () => undefined)
    socket.on('data', () => onData(socket, connection))
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    url: `http://127.0.0.1:${portOf(server)}`,
    asked: [],
    connections: () => connections,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        for (const socket of sockets) socket.destroy()
      }),
  }
}

/** A URL where nothing listens. */
export async function deadUrl(): Promise<string> {
  const { url, close } = await scriptGateway(() => undefined)
  await close()
  return url
}

function portOf(server: { address(): unknown }): number {
  return (server.address() as { port: number }).port
}

/** One check of a `POST /v1/checks`. */
export interface Item {
  readonly token?: string
  readonly agentId?: string
  readonly action: string
  readonly traceId: string
  readonly [member: string]: unknown
}

export const itemsOf = ({ body }: Asked): Item[] => (JSON.parse(body) as { checks: Item[] }).checks

/** A scripted gateway's answer that allows: to one check, or to every check of many. */
export function allowing(asked: Asked): Reply {
  if (asked.path.endsWith('/v1/checks')) return decisions(itemsOf(asked).map((item) => allowed(item.action, item.traceId)))
  const { 'x-meshguard-action': action, 'x-meshguard-trace-id': traceId } = asked.headers
  return { status: 200, headers: { 'x-meshguard-decision': 'allow' }, body: allowed(String(action), String(traceId)) }
}

export const allowed = (action: string, traceId: string) => ({
  status: 200,
  allowed: true,
  decision: 'allow',
  action,
  policy: 'p',
  rule: 'r',
  traceId,
})

export const denied = (action: string, traceId: string, more: object = {}) => ({
  status: 403,
  error: 'Forbidden',
  code: 'denied',
  message: 'Denied by rule: r',
  action,
  policy: 'p',
  rule: 'r',
  traceId,
  ...more,
})

export const decisions = (items: readonly unknown[]): Reply => ({ status: 200, body: { decisions: items } })
