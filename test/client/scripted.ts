/** A server on a real socket that answers as it is told and remembers what it was sent: for answers that no gateway gives. */
import { once } from 'node:events'
import { createServer, type IncomingHttpHeaders, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { text } from 'node:stream/consumers'

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

/** What `call` rejects with. */
export async function rejection(call: Promise<unknown>): Promise<Error & Record<string, unknown>> {
  return call.then(
    () => Promise.reject(new Error('It did not reject')),
    (error) => error,
  )
}

/** An allow as the gateway answers it. */
export const allow = (action: string, more: Record<string, unknown> = {}): Reply => ({
  headers: { 'x-meshguard-decision': 'allow', 'x-meshguard-agent-id': 'agent_scout' },
  json: { allowed: true, decision: 'allow', action, policy: 'readers', rule: 'allow read:*', ...more },
})

/** A denial as the gateway answers it. */
export const deny = (action: string, more: Record<string, unknown> = {}): Reply => ({
  status: 403,
  headers: { 'x-meshguard-decision': 'deny', 'x-meshguard-agent-id': 'agent_scout' },
  json: {
    error: 'Forbidden',
    message: 'Denied by rule: people',
    action,
    code: 'denied',
    policy: 'people',
    rule: 'people',
    ...more,
  },
})
