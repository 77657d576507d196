import { createTestGuard, mintTestAgent, type TestGuard } from '@meshguard/core/testing'
import { createProtect, decisionOf, type ProtectOptions } from '@meshguard/hono'
import type { Context, MiddlewareHandler } from 'hono'

export const { agent, token } = mintTestAgent({ id: 'agent-7' })

/** A handler that says what was decided. */
export const ok = (c: Context) => c.json({ action: decisionOf(c)?.action, resource: decisionOf(c)?.resource })

export const passOn: MiddlewareHandler = (_c, next) => next()

/** A guard that allows these actions, and the protect of it. */
export function protectFor(allow: readonly string[], options: ProtectOptions = {}) {
  const guard = createTestGuard({ allow })
  return { guard, protect: createProtect(guard, options) }
}

/** Any app, without a server. */
interface Requestable {
  request(path: string, init?: RequestInit, env?: object): Response | Promise<Response>
}

/** Sends a request like `'DELETE /contacts/42'` with a good token. */
export async function ask(app: Requestable, line: string, headers: Record<string, string> = {}) {
  const [method = 'GET', path = '/'] = line.split(' ')
  const answer = await app.request(path, { method, headers: { authorization: `Bearer ${token}`, ...headers } })
  return { status: answer.status, headers: answer.headers, text: await answer.text() }
}

export const statusOf = async (app: Requestable, line: string, headers?: Record<string, string>) =>
  (await ask(app, line, headers)).status

export const actionsOf = ({ decisions }: TestGuard) => decisions.map(({ action }) => action)
