import { Agent, request as httpRequest, type IncomingMessage, type Server } from 'node:http'
import { type AddressInfo, connect } from 'node:net'
import type { Reply } from '../contracts/adapter/spec.js'
import type { Served } from '../contracts/adapter.js'

/** Serves a Node server on a loopback port of its own and speaks to it. */
export async function served(server: Server, close?: () => Promise<unknown>): Promise<Served> {
  if (!server.listening) await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return speakTo((server.address() as AddressInfo).port, async () => {
    server.closeAllConnections()
    await (close?.() ?? new Promise((resolve) => server.close(resolve)))
  })
}

/** Speaks to whatever listens on a loopback port: paths and raw bytes arrive as they were written. */
export function speakTo(port: number, close: () => unknown): Served {
  const agent = new Agent({ keepAlive: true })
  return {
    request: (method, path, headers, body) => request({ port, method, path, headers, agent }, body),
    send: (bytes, timeoutMs) => sendRaw(port, Buffer.from(bytes, 'latin1'), timeoutMs),
    abandon: (bytes, afterMs) => abandon(port, bytes, afterMs),
    async close() {
      agent.destroy()
      await close()
    },
  }
}

interface Target {
  readonly port: number
  readonly method: string
  readonly path: string
  readonly headers: Readonly<Record<string, string>>
  readonly agent: Agent
}

function request(target: Target, body: string | undefined): Promise<Reply> {
  return new Promise((resolve, reject) => {
    const outgoing = httpRequest({ host: '127.0.0.1', ...target }, (message: IncomingMessage) => {
      read(message).then((text) => resolve(replyOf(message.statusCode ?? 0, joined(message.rawHeaders), text)), reject)
    })
    outgoing.setTimeout(5000, () => outgoing.destroy(new Error(`${target.method} ${target.path} was left without an answer`)))
    outgoing.on('error', reject)
    outgoing.end(body)
  })
}

async function read(message: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = []
  for await (const chunk of message) chunks.push(chunk as Buffer)
  return Buffer.concat(chunks).toString()
}

/** Writes bytes on a new connection and reads until the server closes it, or nothing comes for a while. */
export function sendRaw(port: number, bytes: Buffer, timeoutMs = 3000): Promise<Reply> {
  return new Promise((resolve) => {
    const chunks: Buffer[] = []
    const socket = connect(port, '127.0.0.1')
    const finish = () => {
      clearTimeout(timer)
      socket.destroy()
      resolve(parse(Buffer.concat(chunks).toString('latin1')))
    }
    const timer = setTimeout(finish, timeoutMs)
    socket.on('data', (chunk) => chunks.push(chunk))
    for (const event of ['end', 'close', 'error']) socket.once(event, finish)
    socket.write(bytes)
  })
}

/** Writes bytes and goes away before an answer can have come. */
function abandon(port: number, bytes: string, afterMs: number): Promise<void> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1', () => socket.write(bytes, 'latin1'))
    socket.on('error', () => resolve())
    setTimeout(() => {
      socket.destroy()
      resolve()
    }, afterMs)
  })
}

/** The first response of what came over a socket; status 0 when there is none. */
function parse(raw: string): Reply {
  const [head = '', ...rest] = raw.split('\r\n\r\n')
  const [statusLine = '', ...lines] = head.split('\r\n')
  const rawHeaders = lines.flatMap((line) => [line.slice(0, line.indexOf(':')), line.slice(line.indexOf(':') + 1).trim()])
  const status = Number(/^HTTP\/1\.[01] (\d{3})/.exec(statusLine)?.[1] ?? 0)
  return replyOf(status, joined(rawHeaders), rest.join('\r\n\r\n'))
}

function joined(rawHeaders: readonly string[]): Record<string, string> {
  const headers: Record<string, string> = {}
  for (let i = 0; i < rawHeaders.length; i += 2) {
    const [name, value] = [rawHeaders[i]?.toLowerCase() ?? '', rawHeaders[i + 1] ?? '']
    headers[name] = headers[name] === undefined ? value : `${headers[name]}, ${value}`
  }
  return headers
}

/** A reply with its body read as JSON, where it is some. */
export function replyOf(status: number, headers: Readonly<Record<string, string>>, text: string): Reply {
  try {
    return { status, headers, text, json: JSON.parse(text) as Record<string, unknown> }
  } catch {
    return { status, headers, text, json: {} }
  }
}
