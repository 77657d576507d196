import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { AuthenticationError, createGuard, type DecisionRequest, type Guard } from '@meshguard/core'
import { type AnyApplication, createProtect, type ProtectOptions } from '@meshguard/koa'
import type { Context } from 'koa'
import { afterEach, vi } from 'vitest'

const servers: Server[] = []
afterEach(async () => {
  await Promise.all(servers.splice(0).map((server) => new Promise((resolve) => server.close(resolve))))
})

/** A guard that allows these actions; what it was asked is in `asked`. */
export function guardFor(...allow: string[]): { guard: Guard; asked: DecisionRequest[] } {
  const asked: DecisionRequest[] = []
  const guard = createGuard({
    source: {
      name: 'test',
      decide(request) {
        asked.push({ ...request, request: request.request })
        const allowed = allow.includes(request.action)
        return allowed ? { allowed, code: 'allowed' } : { allowed, code: 'no_match' }
      },
    },
    authenticate(token) {
      if (token === 'bad') throw new AuthenticationError('bad')
      return { id: token, trustTier: 'trusted' }
    },
  })
  return { guard, asked }
}

/** A `protect` whose guard allows these actions. */
export function protectFor(allow: readonly string[], options?: ProtectOptions) {
  const { guard, asked } = guardFor(...allow)
  return { protect: createProtect(guard, options), asked, guard }
}

/** Serves an application for one test: `request('GET /path')` with the token of an agent. */
export async function serve(app: AnyApplication) {
  const server = createServer(app.callback() as never)
  servers.push(server)
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  return (target: string, init: RequestInit = {}) => {
    const [method, path] = target.split(' ') as [string, string]
    const headers = { authorization: 'Bearer agent', connection: 'close', ...(init.headers as Record<string, string>) }
    return fetch(`http://127.0.0.1:${port}${path}`, { ...init, method, headers, redirect: 'manual' })
  }
}

/** A handler that answers this text. */
export const says = (text: string) => (ctx: Context) => {
  ctx.body = text
}
/** Keeps stderr quiet; restore it. */
export const quiet = () => vi.spyOn(console, 'error').mockImplementation(() => undefined)
