import { assertAction, DEFAULT_PREFIX } from '../action.js'
import { assertFunction, assertOneOf, assertOptions } from '../options.js'
import type { Disclose } from '../refusal.js'
import type { Action, Agent, Decision } from '../types.js'

/**
 * Options of every adapter's `createProtect`.
 *
 * @typeParam R The framework's request: what callbacks are given.
 * @typeParam D What `onDenied` is given behind the decision.
 */
export interface ProtectOptions<R, D extends readonly unknown[] = readonly [R]> {
  /** Path prefixes dropped before an action is derived. Default `['/api']`. */
  readonly prefix?: readonly string[] | undefined
  /**
   * Actions said by hand, by the framework's own spelling of the full pattern: `'POST /orders/:id/cancel': 'cancel:orders'`.
   * `METHOD pattern` goes before `ALL pattern`. A key that matches no route is reported by `protect.verify`.
   */
  readonly actions?: Readonly<Record<string, Action>> | undefined
  /** The bearer token of a request, or an agent that the application has proved itself. Default: `Authorization: Bearer`. */
  readonly credentials?: ((request: R) => string | Agent | undefined | Promise<string | Agent | undefined>) | undefined
  /** Circumstances for conditions. Called once the caller is known. Default none. */
  readonly context?:
    | ((request: R) => Readonly<Record<string, unknown>> | Promise<Readonly<Record<string, unknown>>>)
    | undefined
  /** The client's address. Default: the framework's own notion, absent in Hono. */
  readonly ip?: ((request: R) => string | undefined) | undefined
  /** What a denied agent is told. Default `'reason'`. */
  readonly disclose?: Disclose | undefined
  /** Adds `X-MeshGuard-Decision` and `X-MeshGuard-Agent-Id` to answers. Default `false`. */
  readonly exposeDecision?: boolean | undefined
  /** Writes the answer to a refusal, a 401 included. It replaces the answer, never the denial. */
  readonly onDenied?: ((decision: Decision, ...rest: D) => unknown) | undefined
}

/** Options with their defaults, checked and frozen. */
export type ReadOptions<R, D extends readonly unknown[]> = Omit<ProtectOptions<R, D>, 'actions'> & {
  readonly prefix: readonly string[]
  readonly actions: ReadonlyMap<string, string>
  readonly disclose: Disclose
  readonly exposeDecision: boolean
}

/** The options that core itself reads; the rest is the adapter's. */
export type CoreOptions<R> = Omit<ReadOptions<R, readonly never[]>, 'onDenied'>

const KNOWN = ['prefix', 'actions', 'credentials', 'context', 'ip', 'disclose', 'exposeDecision', 'onDenied']

/**
 * Checks, completes and freezes an adapter's options.
 *
 * @throws TypeError naming the option that is wrong.
 */
export function readProtectOptions<R, D extends readonly unknown[]>(options: ProtectOptions<R, D>): ReadOptions<R, D> {
  const where = 'createProtect'
  assertOptions(where, options, KNOWN)
  const { prefix = DEFAULT_PREFIX, actions = {}, disclose = 'reason', exposeDecision = false } = options
  const { credentials, context, ip, onDenied } = options
  if (!Array.isArray(prefix) || !prefix.every((one) => typeof one === 'string' && one.startsWith('/'))) {
    throw new TypeError(`${where}: option "prefix" must be a list of paths, like ['/api']`)
  }
  assertOneOf(where, 'disclose', disclose, ['minimal', 'reason', 'full'])
  if (typeof exposeDecision !== 'boolean') throw new TypeError(`${where}: option "exposeDecision" must be true or false`)
  for (const [name, value] of Object.entries({ credentials, context, ip, onDenied })) assertFunction(where, name, value)
  return Object.freeze({
    prefix: Object.freeze([...prefix]),
    actions: readActions(actions),
    credentials,
    context,
    ip,
    disclose,
    exposeDecision,
    onDenied,
  })
}

function readActions(actions: unknown): ReadonlyMap<string, string> {
  if (typeof actions !== 'object' || actions === null) throw new TypeError('createProtect: option "actions" must be an object')
  const read = new Map<string, string>()
  for (const [route, action] of Object.entries(actions)) {
    if (!/^[A-Z]+ \S/.test(route)) {
      throw new TypeError(
        `createProtect: option "actions" has the key ${JSON.stringify(route)}; write "METHOD /pattern" or "ALL /pattern"`,
      )
    }
    read.set(route, assertAction(action))
  }
  return read
}
