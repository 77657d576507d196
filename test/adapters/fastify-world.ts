import { type AddressInfo, connect } from 'node:net'
import { type Answer, createGuard, type DecisionRequest, type Guard } from '@meshguard/core'
import { createProtect, type ProtectOptions } from '@meshguard/fastify'
import Fastify, { type FastifyInstance, type InjectOptions } from 'fastify'

const apps: FastifyInstance[] = []

/** Closes every app that was made, after each test. */
export async function closeAll(): Promise<void> {
  await Promise.all(apps.splice(0).map((app) => app.close()))
}

/** A guard with an allow-list, in which a bearer token is the id of its agent, and what it was asked. */
export function world(allow: readonly string[], decide?: (request: DecisionRequest) => Answer | Promise<Answer>) {
  const asked: DecisionRequest[] = []
  const answer = ({ action }: DecisionRequest): Answer =>
    allow.includes(action) ? { allowed: true, code: 'allowed' } : { allowed: false, code: 'no_match' }
  const guard: Guard = createGuard({
    source: {
      name: 'allow-list',
      decide(request) {
        asked.push({ ...request })
        return (decide ?? answer)(request)
      },
    },
    authenticate: (id) => ({ id, trustTier: 'verified' }),
    timeoutMs: 60,
  })
  return { guard, asked, actions: () => asked.map(({ action }) => action) }
}

/** A Fastify that is closed after the test. */
export function fastify(options: object = {}): FastifyInstance {
  const app: FastifyInstance = Fastify(options)
  apps.push(app)
  return app
}

/** An app, a protect with an allow-list, and what was asked of it. */
export function setUp(allow: readonly string[], options: ProtectOptions = {}, appOptions: object = {}) {
  const { guard, asked, actions } = world(allow)
  const protect = createProtect(guard, options)
  return { app: fastify(appOptions), guard, protect, asked, actions }
}

/** A handler. */
export const ok = async () => ({ ran: true })
/** One request of `agent-1`. */
export const call = (app: FastifyInstance, method: string, url: string, more: InjectOptions = {}) =>
  app.inject({ method: method as 'GET', url, ...more, headers: { authorization: 'Bearer agent-1', ...more.headers } })
/** The status that `agent-1` is answered. */
export const status = async (app: FastifyInstance, method: string, url: string, more?: InjectOptions) =>
  (await call(app, method, url, more)).statusCode

/** What a server answers to raw bytes. */
export async function talk(app: FastifyInstance, bytes: string): Promise<string> {
  const socket = connect((app.server.address() as AddressInfo).port, '127.0.0.1')
  socket.write(bytes, 'latin1')
  let answer = ''
  for await (const chunk of socket) answer += chunk
  return answer
}
