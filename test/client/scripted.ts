/** A server on a real socket that answers as it is told and remembers what it was sent: for answers that no gateway gives. */
import { once } from 'node:events'
import { createServer, type IncomingHttpHeaders, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { text } from 'node:stream/consumers'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Reply as Told, Scripted as ToldScripted } from '../contracts/client.js'

/** A request as it came in. */
export interface Received {
  readonly method: string
  /** As on the wire, with its query. */
  readonly url: string
  readonly headers: IncomingHttpHeaders
  readonly body: string
}

/** What to answer: a status, headers and JSON or text; or a function that does it by itself. */
export type Reply =
  | { readonly status?: number; readonly headers?: Record<string, string>; readonly json?: unknown; readonly text?: string }
  | ((res: ServerResponse, request: Received) => void)

export interface Scripted {
  readonly url: string
  readonly received: Received[]
  /** The replies to come, in order; the last one stays. */
  answer(...replies: Reply[]): void
  close(): Promise<void>
}

export async function startScripted(): Promise<Scripted> {
  const received: Received[] = []
  let replies: Reply[] = []
  const server = createServer(async (req, res) => {
    const { method = '', url = '', headers } = req
    const request = { method, url, headers, body: await text(req) }
    received.push(request)
    const reply = replies.length > 1 ? replies.shift() : replies[0]
    if (typeof reply === 'function') return reply(res, request)
    const body = reply?.text ?? JSON.stringify(reply?.json ?? {})
    res.writeHead(reply?.status ?? 200, { 'content-type': 'application/json', ...reply?.headers }).end(body)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    received,
    answer: (...next) => {
      replies = next
    },
    close: async () => {
      server.closeAllConnections()
      server.close()
      await once(server, 'close')
    },
  }
}

/** A scripted gateway as the contract speaks to it. */
export async function startTold(): Promise<ToldScripted> {
  const { url, received, answer, close } = await startScripted()
  return {
    url,
    answer: async (...replies) => answer(...replies.map(playing)),
    received: async () => received as Awaited<ReturnType<ToldScripted['received']>>,
    close,
  }
}

/** What a reply of the contract says to do. */
function playing({ status = 200, headers, json = {}, text = JSON.stringify(json), pieces, ending }: Told): Reply {
  return async (res) => {
    if (pieces === undefined && ending === undefined) {
      res.writeHead(status, { 'content-type': 'application/json', ...headers }).end(text)
      return
    }
    if (pieces !== undefined) res.writeHead(status, { ...headers })
    for (const piece of pieces ?? []) {
      res.write(piece)
      await sleep(20)
    }
    if (ending === 'break') res.destroy()
    if (ending === undefined) res.end()
  }
}

/** What `call` rejects with. */
export async function rejection(call: Promise<unknown>): Promise<Error & Record<string, unknown>> {
  return call.then(
    () => Promise.reject(new Error('It did not reject')),
    (error) => error,
  )
}
