import { createServer, type IncomingMessage, type RequestListener, type Server, type ServerResponse } from 'node:http'
import { type AddressInfo, connect, createServer as createTcpServer, type Socket } from 'node:net'

/** A request as an upstream received it. */
export interface Received {
  readonly method: string
  /** The target, byte for byte. */
  readonly url: string
  /** Names and values in turn, as they came. */
  readonly rawHeaders: readonly string[]
  readonly headers: IncomingMessage['headers']
  /** Resolves when all of it came, or the connection ended. */
  readonly body: Promise<string>
}

/** An upstream that records what it is sent. */
export interface Upstream {
  readonly port: number
  readonly origin: string
  readonly received: Received[]
  /** How many connections were ever made. */
  connections(): number
  /** Answers the requests from now on. Without one, each is answered with what was received of it, as JSON. */
  answer(listener: RequestListener | undefined): void
  close(): Promise<void>
}

/** Starts an upstream on a port of its own. */
export async function startUpstream(): Promise<Upstream> {
  const received: Received[] = []
  let connections = 0
  let listener: RequestListener | undefined
  const server = createServer((incoming, outgoing) => {
    const { method = '', url = '', rawHeaders, headers } = incoming
    if (listener === undefined) {
      const body = textOf(incoming)
      received.push({ method, url, rawHeaders, headers, body })
      void body.then((text) => echo(outgoing, { method, url, body: text }))
      return
    }
    received.push({ method, url, rawHeaders, headers, body: Promise.resolve('') })
    listener(incoming, outgoing)
  })
  server.on('connection', () => {
    connections++
  })
  const port = await listening(server)
  return {
    port,
    origin: `http://127.0.0.1:${port}`,
    received,
    connections: () => connections,
    answer(next) {
      listener = next
    },
    async close() {
      server.closeAllConnections()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}

/** An upstream that writes bytes of its own, whatever it is sent. */
export async function startRawUpstream(answer: (socket: Socket) => void): Promise<{ origin: string; close(): Promise<void> }> {
  const sockets = new Set<Socket>()
  const server = createTcpServer((socket) => {
    sockets.add(socket)
    socket.on('error', () => socket.destroy())
    socket.once('data', () => answer(socket))
  })
  const port = await listening(server as unknown as Server)
  return {
    origin: `http://127.0.0.1:${port}`,
    async close() {
      for (const socket of sockets) socket.destroy()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}

async function listening(server: Server): Promise<number> {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return (server.address() as AddressInfo).port
}

async function textOf(incoming: IncomingMessage): Promise<string> {
  let text = ''
  incoming.setEncoding('latin1')
  try {
    for await (const chunk of incoming) text += chunk
  } catch {
    text += '(broken off)'
  }
  return text
}

function echo(outgoing: ServerResponse, seen: object): void {
  outgoing.setHeader('content-type', 'application/json')
  outgoing.end(JSON.stringify(seen))
}

/** Opens a connection and gives everything that comes over it, as it comes. */
export function open(port: number): Connection {
  const socket = connect(port, '127.0.0.1')
  let text = ''
  let isOver = false
  let wake = () => {}
  const changed = () => wake()
  socket.on('data', (chunk) => {
    text += chunk.toString('latin1')
    changed()
  })
  for (const event of ['end', 'close', 'error']) {
    socket.on(event, () => {
      isOver = true
      changed()
    })
  }
  const until = async (done: () => boolean): Promise<string> => {
    while (!done() && !isOver) {
      await new Promise<void>((resolve) => {
        wake = resolve
      })
    }
    return text
  }
  return {
    socket,
    write: (bytes) => socket.write(bytes, 'latin1'),
    until: (part) => until(() => text.includes(part)),
    end: () => until(() => false),
    text: () => text,
  }
}

/** A connection of a client that speaks in bytes. */
export interface Connection {
  readonly socket: Socket
  /** latin1 */
  write(bytes: string): boolean
  /** What came so far, once it holds this; or when the connection is over. */
  until(part: string): Promise<string>
  /** Everything, once the connection is over. */
  end(): Promise<string>
  text(): string
}
