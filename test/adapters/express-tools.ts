import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { createGuard, type DecisionEvent, type Guard, type GuardOptions } from '@meshguard/core'
import { agentOf, createProtect, decisionOf, type Protect, type ProtectOptions } from '@meshguard/express'
import express, { type Express, type RequestHandler } from 'express'
import { onTestFinished } from 'vitest'
import { sendRaw } from './sockets.js'

/** A guard and what became of it. */
export interface World {
  readonly guard: Guard
  /** What the source was asked: `action`, or `action resource`. */
  readonly asked: string[]
  readonly decided: DecisionEvent[]
}

/** A guard with an allow list; the token is the id of the agent. */
export function world(allow: readonly string[] = [], options: Partial<GuardOptions> = {}): World {
  const asked: string[] = []
  const decided: DecisionEvent[] = []
  const covers = (pattern: string, action: string) =>
    pattern.endsWith('*') ? action.startsWith(pattern.slice(0, -1)) : pattern === action
  const guard = createGuard({
    source: {
      name: 'list',
      decide({ action, resource }) {
        asked.push(resource === undefined ? action : `${action} ${resource}`)
        const allowed = allow.some((pattern) => covers(pattern, action))
        return allowed ? { allowed, code: 'allowed' } : { allowed, code: 'no_match' }
      },
    },
    authenticate: (token) => ({ id: token, trustTier: 'verified' }),
    audit: (event) => {
      if (event.type === 'decision') decided.push(event)
    },
    ...options,
  })
  return { guard, asked, decided }
}

/** A protected app. */
export function protectedApp({ guard }: World, options?: ProtectOptions): { app: Express; protect: Protect } {
  const protect = createProtect(guard, options)
  return { app: protect(express()), protect }
}

/** A handler that says its name and what was decided. */
export function says(name: string): RequestHandler {
  return (req, res) => {
    res.json({ ran: name, action: decisionOf(req)?.action, agent: agentOf(req)?.id })
  }
}

/** What came back: the first response, and in `body` whatever came behind it. */
export interface Answer {
  readonly status: number
  readonly head: string
  readonly body: string
  /** Who says that it ran. */
  readonly ran: unknown
}

export type Send = (target: string, headers?: Readonly<Record<string, string>>) => Promise<Answer>

/** For {@link Send}: no token. */
export const noToken = { authorization: '' }

/** Serves an app until the test ends. The target goes out as it is written: `GET` unless it names a method. */
export async function listen(app: Express): Promise<Send> {
  const server = createServer(app)
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  onTestFinished(() => {
    server.close()
  })
  const { port } = server.address() as AddressInfo
  return async (target, headers = {}) => {
    const [method, path] = target.includes(' ') ? target.split(' ') : ['GET', target]
    const all = { host: 'a', connection: 'close', authorization: 'Bearer agent-1', ...headers }
    const lines = Object.entries(all).filter(([, value]) => value !== '')
    const fields = lines.map(([name, value]) => `${name}: ${value}\r\n`).join('')
    const reply = await sendRaw(port, Buffer.from(`${method} ${path} HTTP/1.1\r\n${fields}\r\n`, 'latin1'))
    return { status: reply.status, head: JSON.stringify(reply.headers), body: reply.text, ran: reply.json['ran'] }
  }
}

/** The statuses of several requests, one after the other. */
export async function statusesOf(send: Send, ...targets: string[]): Promise<number[]> {
  const statuses: number[] = []
  for (const target of targets) statuses.push((await send(target)).status)
  return statuses
}
