import { afterAll, beforeAll } from 'vitest'
import { startGateway, type World } from './gateway-world.js'

/**
 * What the fixture of the AuthZEN 1.0 certification scenario asks for: alice reads and writes records that are not archived and
 * deletes softly, bob only reads, and the role `admin` writes what is archived.
 */
const FIXTURE = {
  name: 'certification',
  rules: [
    {
      effect: 'allow',
      actions: ['write:record'],
      conditions: { 'context.subject.role': 'admin', 'context.resource.status': 'archived' },
    },
    {
      effect: 'deny',
      actions: ['write:record'],
      conditions: { 'context.resource.status': { exists: true, equals: 'archived' } },
    },
    { effect: 'allow', actions: ['read:record'], conditions: { 'agent.id': ['alice', 'bob'] } },
    { effect: 'allow', actions: ['write:record'], conditions: { 'agent.id': 'alice' } },
    { effect: 'allow', actions: ['delete:record'], conditions: { 'agent.id': 'alice', 'context.action.soft': true } },
    { effect: 'allow', actions: ['limited:record'], rateLimit: { requests: 2, per: '1h' } },
  ],
}

/** An answer, as far as tests look at it. */
export interface Answered {
  readonly status: number
  readonly headers: Headers
  // biome-ignore lint/suspicious/noExplicitAny: whatever was answered is what is looked at.
  readonly body: any
}

/** The gateway of one test file, with alice and bob. */
export interface AuthZenWorld {
  world: World
  /** A service token with the scope `decide`. */
  service: string
  alice: string
  /** Posts JSON (or the text itself) as the service, unless another credential is given. */
  post(path: string, body: unknown, headers?: Record<string, string>): Promise<Answered>
  evaluation(body: unknown, headers?: Record<string, string>): Promise<Answered>
  evaluations(body: unknown, headers?: Record<string, string>): Promise<Answered>
}

/** Starts it before the tests of a file and closes it after them. */
export function authZenWorld(): AuthZenWorld {
  const shared = {} as AuthZenWorld
  beforeAll(async () => {
    shared.world = await startGateway({ policies: [FIXTURE] })
    shared.alice = (await shared.world.createAgent({ id: 'alice' })).token
    await shared.world.createAgent({ id: 'bob' })
    shared.service = await shared.world.createService('decide')
  })
  afterAll(() => shared.world.close())
  shared.post = async (path, body, headers) => {
    const response = await shared.world.fetch(path, {
      method: 'POST',
      headers: { 'content-type': 'application/json', authorization: `Bearer ${shared.service}`, ...headers },
      body: typeof body === 'string' ? body : JSON.stringify(body),
    })
    const text = await response.text()
    return { status: response.status, headers: response.headers, body: text === '' ? undefined : JSON.parse(text) }
  }
  shared.evaluation = (body, headers) => shared.post('/access/v1/evaluation', body, headers)
  shared.evaluations = (body, headers) => shared.post('/access/v1/evaluations', body, headers)
  return shared
}

export const user = (id: string, properties?: object) => ({ type: 'user', id, ...(properties && { properties }) })
export const record = (id: string, properties?: object) => ({ type: 'record', id, ...(properties && { properties }) })
export const does = (name: string, properties?: object) => ({ name, ...(properties && { properties }) })
