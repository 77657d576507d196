import type { ClientOptions, MeshGuardClient } from '@meshguard/client'
import type { Assert } from '../assert.js'

/** What the scripted gateway answers, as data, so that it can be told from within any runtime. */
export interface Reply {
  /** Default 200. */
  readonly status?: number
  readonly headers?: Readonly<Record<string, string>>
  readonly json?: unknown
  /** Instead of `json`. */
  readonly text?: string
  /** Instead of `json`: written one after the other, 20 ms apart. */
  readonly pieces?: readonly string[]
  /** After `pieces`, or without them instead of any answer: the connection breaks, or stays open and silent. */
  readonly ending?: 'break' | 'stay'
}

/** A request as the scripted gateway got it. */
export interface Received {
  readonly method: string
  /** As on the wire, with its query. */
  readonly url: string
  /** By lower-case name. */
  readonly headers: Readonly<Record<string, string | undefined>>
  readonly body: string
}

/** A server on a real socket that answers as it is told, for answers that no gateway gives. */
export interface Scripted {
  readonly url: string
  /** The replies to come, in order; the last one stays. */
  answer(...replies: readonly Reply[]): Promise<void>
  received(): Promise<readonly Received[]>
  close(): Promise<void>
}

/** Where the cases run: a runtime, and how it gets a scripted gateway. */
export interface Binding {
  readonly name: string
  start(): Promise<Scripted>
}

/** What a case works with. */
export interface Context extends Pick<Scripted, 'url' | 'answer' | 'received'> {
  /** A client of the scripted gateway with {@link TOKEN} and {@link ADMIN}, closed after the case. */
  connect(options?: ClientOptions): MeshGuardClient
}

/** Something that holds of the client in every runtime. */
export interface Case {
  readonly title: string
  run(context: Context, assert: Assert): Promise<void>
}

export const TOKEN = 'eyJhbGciOiJub25lIn0.agent.secret'
export const ADMIN = 'admin-secret'

/** What a call rejects with. */
export type Rejection = Error & Readonly<Record<string, unknown>>

export function rejection(call: Promise<unknown>): Promise<Rejection> {
  return call.then(
    () => Promise.reject(new Error('It did not reject')),
    (error) => error,
  )
}

/** An allow as the gateway answers it. */
export const allow = (action: string, more: Readonly<Record<string, unknown>> = {}): Reply => ({
  headers: { 'x-meshguard-decision': 'allow', 'x-meshguard-agent-id': 'agent_scout' },
  json: { allowed: true, decision: 'allow', action, policy: 'readers', rule: 'allow read:*', ...more },
})

/** A denial as the gateway answers it. */
export const deny = (action: string, more: Readonly<Record<string, unknown>> = {}): Reply => ({
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

/** An answer that says whether the gateway gave it or an upstream. */
export const from = (origin: 'gateway' | 'upstream', reply: Reply): Reply => ({
  ...reply,
  headers: { ...reply.headers, 'x-meshguard-origin': origin },
})

/** Whether an error is what a user would catch by its class: `instanceof` and the name agree. */
export function isA(type: abstract new (...given: never) => Error, error: Rejection, assert: Assert, message = ''): void {
  assert.ok(error instanceof type, `${message} expected ${type.name}, got ${error?.name}: ${error?.message}`)
}
