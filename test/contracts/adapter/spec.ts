import type { Agent, Decision, DecisionEvent, DecisionRequest, Guard, GuardOptions } from '@meshguard/core'
import type { Assert } from '../assert.js'

/** What a framework or runtime can do; a case that needs more than a binding has is not run there. */
export type Feature =
  /** A handler can hand the request on to the next one that matches. */
  | 'next'
  /** Routes can be added to a router after it was mounted. */
  | 'live-routers'
  /** Routers are objects that can be protected by themselves. */
  | 'routers'
  /** `use('/path', fn)` is a mount, and an opaque one is refused. */
  | 'use-path'
  /** All middleware looks alike, and `protect.open(reason, middleware)` wraps one. */
  | 'opaque-middleware'
  /** A router that was mounted before it was protected can be read. */
  | 'nested-mounts'
  /** Checks can stand in front of a mounted router. */
  | 'mount-check'
  /** A wildcard hands its value over. */
  | 'wildcard-value'
  /** Raw bytes can be sent, and a client can go away. */
  | 'socket'
  /** The framework's own request object carries the method as the client sent it, whatever it is. */
  | 'any-method'
  | NativeName

/** Something that only one framework has; the binding knows how to build it. */
export type NativeName =
  | 'express:app-in-app'
  | 'express:route-chain'
  | 'express:array-path'
  | 'express:regexp'
  | 'koa:late-prefix'
  | 'koa:nested-routers'
  | 'koa:two-paths'
  | 'hono:base-path'
  | 'hono:route-plain-sub'
  | 'hono:chained'
  | 'hono:on'
  | 'hono:mount'
  | 'fastify:early-plugin'
  | 'fastify:early-own-check'
  | 'fastify:constraints'
  | 'fastify:body-first'

/** A request as handlers and callbacks of the cases see it. */
export interface Facts {
  readonly method: string
  /** As the client sent it, where the framework says; for guards that look at it, which ours never do. */
  readonly url: string
  header(name: string): string | undefined
  readonly params: Readonly<Record<string, unknown>>
  /** What `decisionOf` and `agentOf` answer. */
  readonly decision: Decision | undefined
  readonly agent: Agent | undefined
  readonly guard: Guard
}

/** What a handler does: answer (200 and JSON by default), hand on, or nothing at all. */
export type Effect =
  | { readonly status?: number; readonly headers?: Readonly<Record<string, string>>; readonly body?: unknown }
  | 'next'
  | undefined

export type Handle = (facts: Facts) => Effect | Promise<Effect>

/** One thing in a registration: a handler that records itself, or a check of ours. */
export type Item =
  | { readonly handle: Handle; readonly name?: string }
  | { readonly check: readonly unknown[] }
  | { readonly open: string }
  | { readonly passing: Handle }
  /** `protect.open(reason, middleware)`. */
  | { readonly opaque: string; readonly handle: Handle }

/** One line of the program that builds an app, in a neutral spelling: `:name`, and `*name` for a wildcard at the end. */
export type Step =
  | { readonly route: string; readonly items?: readonly Item[] }
  | { readonly use: readonly Item[]; readonly at?: string }
  | { readonly mount: string; readonly router: string; readonly items?: readonly Item[] }
  /** Adds to a router that was mounted before. */
  | { readonly late: string; readonly steps: readonly Step[] }
  /** Protects the app, or a router that is not mounted yet. */
  | { readonly protect: 'app' | { readonly router: string } }
  | { readonly notFound: Handle }
  | { readonly native: NativeName }

/** What the source does: an allow-list of actions (`read:*` at most), or a function of the request. */
export interface SourceSpec {
  readonly allow?: readonly string[]
  /** Answers instead; typed loosely, since what it answers may be garbage. */
  readonly decide?: (request: DecisionRequest, count: number) => unknown
}

export interface GuardSpec extends Partial<Pick<GuardOptions, 'mode' | 'onUnavailable' | 'timeoutMs'>> {
  readonly source?: SourceSpec
  /** Ids of agents whose tokens are revoked. */
  readonly revoked?: readonly string[]
  readonly audience?: string
  /** The sink throws. */
  readonly sinkThrows?: boolean
}

/** A whole app. Unless a step says otherwise, `protect(app)` comes first. */
export interface AppSpec {
  readonly guard?: GuardSpec
  /** Options of `createProtect`; callbacks are given {@link Facts}. */
  readonly options?: Readonly<Record<string, unknown>>
  readonly steps: readonly Step[]
  readonly routers?: Readonly<Record<string, readonly Step[]>>
  /** `false`: nothing is protected as a whole. */
  readonly whole?: boolean
}

export interface RequestInit {
  /** The agent's token, or `null` for none. Default the token of `agent-1`. */
  readonly token?: string | null
  readonly headers?: Readonly<Record<string, string>>
  readonly body?: string
}

export interface Reply {
  readonly status: number
  /** Lower-case names; a repeated header is joined with `, `. */
  readonly headers: Readonly<Record<string, string>>
  readonly text: string
  readonly json: Record<string, unknown>
}

/** A handler that ran. */
export interface Ran {
  readonly name: string
  readonly decision: Decision | undefined
  readonly agent: Agent | undefined
  /** What was recorded last for this request when the handler began. */
  readonly lastDecided: DecisionEvent | undefined
}

export interface TokenSpec {
  readonly id?: string
  readonly trustTier?: string
  readonly tags?: readonly string[]
  readonly expiresInMs?: number
  /** Minted so long ago. */
  readonly ageMs?: number
  readonly issuer?: string
  readonly audience?: string
  /** Signed with a key that nobody knows. */
  readonly foreignKey?: boolean
}

export interface RouteRow {
  readonly method: string
  readonly pattern: string
  readonly action?: string | undefined
  readonly open?: string | undefined
  readonly declared?: boolean | undefined
  readonly dynamic?: boolean | undefined
  readonly shared?: boolean | undefined
}

/** `protect` of any adapter, as far as the contract speaks of it. */
export interface AnyProtect {
  (...args: readonly unknown[]): unknown
  open(reason: string, middleware?: unknown): unknown
  middleware?(passing: unknown): unknown
  routes(app: unknown): readonly RouteRow[]
  verify(app: unknown): unknown
}

/** What a case is given. */
export interface Context {
  /** The framework. */
  readonly name: string
  request(method: string, path: string, init?: RequestInit): Promise<Reply>
  /** Raw bytes (latin1); only with the feature `socket`. */
  send(bytes: string): Promise<Reply>
  /** Sends raw bytes and goes away after so many ms; only with the feature `socket`. */
  abandon(bytes: string, afterMs: number): Promise<void>
  token(spec?: TokenSpec): Promise<string>
  /** The questions that the source was asked, the decisions recorded, the handlers that ran. */
  readonly asked: readonly DecisionRequest[]
  readonly decided: readonly DecisionEvent[]
  readonly ran: readonly Ran[]
  /** Lines written with `console.error`. */
  readonly stderr: readonly string[]
  readonly guard: Guard
  readonly protect: AnyProtect
  /** The adapter's `createProtect`, for options that are wrong. */
  createProtect(guard: unknown, options?: unknown): AnyProtect
  routes(): readonly RouteRow[]
  verify(): unknown
  /** What building the app threw; only for cases that say `mayFail`. */
  readonly failure: Error | undefined
}

/** One promise of the adapters. Plain data: any runtime can loop over a list of them. */
export interface Case {
  readonly title: string
  readonly needs?: readonly Feature[]
  readonly app: AppSpec
  /** Building the app may throw; the case looks at `failure`. */
  readonly mayFail?: boolean
  run(context: Context, assert: Assert): Promise<void> | void
}
