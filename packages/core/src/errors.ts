import { type RefusalBody, type Refused, refusalBody, refusalHeaders, statusOf } from './refusal.js'
import type { Code, Decision } from './types.js'

const BRANDS = Symbol.for('meshguard.error')

/** What an error says to HTTP: taken from the decision behind it, or given where there is none. */
interface ErrorInit {
  code: string
  status: number
  headers?: Record<string, string>
  body: RefusalBody
  cause?: unknown
}

/**
 * The base of every error that MeshGuard throws on purpose.
 *
 * Each framework's own error handling reads `status`, `statusCode`, `expose`, `headers` or `getResponse()`, so that an
 * uncaught one is answered 401, 403, 429 or 503 and never 500. `instanceof` works over two installed copies of this package.
 * An error never carries a token, request headers or a body.
 *
 * @example
 * ```ts
 * try {
 *   await guard.enforce('delete:contacts', { token })
 * } catch (error) {
 *   if (error instanceof MeshGuardError) console.log(error.code, error.status)
 * }
 * ```
 */
export class MeshGuardError extends Error {
  static readonly brand: string = 'MeshGuardError'
  /** Stable, to be compared by programs: a decision's code, or `connection`, `validation`. */
  readonly code: string
  /** The HTTP status; the same as `statusCode`. */
  readonly status: number
  readonly statusCode: number
  /** Whether the message may be shown to the caller. */
  readonly expose: boolean
  /** For the answer; lower-case names. */
  readonly headers: Readonly<Record<string, string>>
  readonly #body: RefusalBody

  constructor(message: string, init: ErrorInit) {
    super(message, init.cause === undefined ? undefined : { cause: init.cause })
    this.name = new.target.brand
    this.code = init.code
    this.status = init.status
    this.statusCode = init.status
    this.expose = init.status < 500
    this.headers = Object.freeze({ ...init.headers })
    this.#body = init.body
    Object.defineProperty(this, BRANDS, { value: brandsOf(new.target) })
  }

  /** The answer as a standard `Response`, with the body that `disclose: 'reason'` gives. */
  getResponse(): Response {
    return new Response(JSON.stringify(this.#body), {
      status: this.status,
      headers: { 'content-type': 'application/json; charset=utf-8', ...this.headers },
    })
  }

  /** True for an error of this class from any installed copy of the package; a subclass of your own is compared as usual. */
  static override [Symbol.hasInstance](value: unknown): boolean {
    if (!Object.hasOwn(this, 'brand')) return Function.prototype[Symbol.hasInstance].call(this, value)
    const brands = typeof value === 'object' && value !== null ? brandsIn(value) : undefined
    return Array.isArray(brands) && brands.includes(this.brand)
  }
}

/** A thrown value that cannot even be looked at (a revoked proxy) is none of ours. */
function brandsIn(value: object): unknown {
  try {
    return Reflect.get(value, BRANDS)
  } catch {
    return undefined
  }
}

/** What a thrown value says, for the operator; `otherwise` where it says nothing or cannot be read. */
export function messageOf(error: unknown, otherwise: string): string {
  try {
    const message: unknown = error instanceof Error ? error.message : undefined
    return typeof message === 'string' ? message : otherwise
  } catch {
    return otherwise
  }
}

function brandsOf(target: typeof MeshGuardError): readonly string[] {
  const brands: string[] = []
  for (let at = target; typeof at.brand === 'string'; at = Object.getPrototypeOf(at)) brands.push(at.brand)
  return brands
}

/**
 * `enforce` and `govern` throw it when the policies deny.
 *
 * @example
 * ```ts
 * try {
 *   await guard.enforce('delete:contacts', { token })
 * } catch (error) {
 *   if (error instanceof PolicyDeniedError) console.log(error.reason, error.traceId)
 * }
 * ```
 */
export class PolicyDeniedError extends MeshGuardError {
  static override readonly brand: string = 'PolicyDeniedError'
  /** All of it; what follows are its members. */
  readonly decision: Decision
  readonly action: string
  /** The policy that denied; absent when none allowed. */
  readonly policy: string | undefined
  readonly rule: string | undefined
  /** Why, in the words of the policy's author. For your log: below `disclose: 'full'` the caller is told the `message`. */
  readonly reason: string | undefined
  /** The same as in the audit log. */
  readonly traceId: string

  /** The message is what the caller may know; `reason` is everything. */
  constructor(decision: Decision) {
    super(refusalBody(decision, 'reason').message, saying(decision))
    this.decision = decision
    this.action = decision.action
    this.policy = decision.policy
    this.rule = decision.rule
    this.reason = decision.reason
    this.traceId = decision.traceId
  }
}

/**
 * A rate limit of the policies is exhausted.
 *
 * @example
 * ```ts
 * if (error instanceof RateLimitError) await setTimeout(error.retryAfter * 1000)
 * ```
 */
export class RateLimitError extends MeshGuardError {
  static override readonly brand: string = 'RateLimitError'
  readonly decision: Decision
  /** Seconds until one request may pass. */
  readonly retryAfter: number
  readonly traceId: string

  constructor(decision: Decision) {
    const { retryAfter = 1 } = decision
    super(`Rate limit exceeded, retry in ${retryAfter} s`, saying(decision))
    this.decision = decision
    this.retryAfter = retryAfter
    this.traceId = decision.traceId
  }
}

/**
 * The credential is missing, malformed, expired, revoked, or signed by nobody we know.
 *
 * @example
 * ```ts
 * createProtect(guard, {
 *   credentials(req) {
 *     if (isLockedOut(req.ip)) throw new AuthenticationError('locked out') // 401
 *     return bearerOf(req)
 *   },
 * })
 * ```
 */
export class AuthenticationError extends MeshGuardError {
  static override readonly brand: string = 'AuthenticationError'

  /** @param message For the operator's log; the caller is only ever told `Invalid or expired token`. */
  constructor(message: string, options: { cause?: unknown; traceId?: string; sentToken?: boolean } = {}) {
    super(message, { ...sayingCode('unauthenticated', options.traceId, options.sentToken), cause: options.cause })
  }
}

/** No decision could be made: a source or key set failed, timed out, or answered what cannot be understood. */
export class UnavailableError extends MeshGuardError {
  static override readonly brand: string = 'UnavailableError'

  constructor(message: string, options: { cause?: unknown; traceId?: string; code?: string } = {}) {
    const { cause, traceId, code = 'unavailable' } = options
    super(message, { ...sayingCode('unavailable', traceId), code, cause })
  }
}

/**
 * The source could not be *reached*: no connection, its own exchange timed out, a 502-504, or its breaker is open because of
 * those. It is the only failure that `onUnavailable: { allow }` opens for.
 */
export class ConnectionError extends UnavailableError {
  static override readonly brand: string = 'ConnectionError'

  constructor(message: string, options: { cause?: unknown; traceId?: string } = {}) {
    super(message, { ...options, code: 'connection' })
  }
}

/** One thing that is wrong with a document, and where. */
export interface Issue {
  /** What is wrong and what was expected. */
  readonly message: string
  /** The keys that lead to the place: `['rules', 0, 'effect']`. */
  readonly path: ReadonlyArray<string | number>
  readonly file?: string | undefined
  /** Counted from 1. */
  readonly line?: number | undefined
  /** Counted from 1. */
  readonly column?: number | undefined
}

/**
 * A policy document or an action is not well formed. The message lists every issue, one to a line.
 *
 * @example
 * ```ts
 * try {
 *   parsePolicies(text, { file: 'contacts.yaml' })
 * } catch (error) {
 *   if (error instanceof ValidationError) for (const { line, column, message } of error.issues) console.log(line, column, message)
 * }
 * ```
 */
export class ValidationError extends MeshGuardError {
  static override readonly brand: string = 'ValidationError'
  /** In the order of the document. */
  readonly issues: readonly Issue[]

  constructor(issues: readonly Issue[], options: { cause?: unknown; traceId?: string } = {}) {
    const message = issues.map(issueInWords).join('\n')
    const said = sayingCode('invalid_action', options.traceId)
    super(message, { ...said, code: 'validation', body: { ...said.body, message, issues }, cause: options.cause })
    this.issues = issues
  }
}

/** The place goes before the message: `contacts.yaml:12:1: Unknown key …`. */
function issueInWords({ file, line, column, message }: Issue): string {
  const place = [file, line, column].filter((part) => part !== undefined).join(':')
  return place === '' ? message : `${place}: ${message}`
}

/**
 * The error that `enforce` throws for a decision that does not allow. Frameworks answer with its message, so that is what the
 * caller may know; the reason of a 401 or 503 is its `cause`.
 *
 * @param sentToken Whether there was a credential at all.
 */
export function errorOf(decision: Decision, sentToken: boolean): MeshGuardError {
  const { code, traceId, reason } = decision
  const { message } = refusalBody(decision, 'reason')
  const cause = reason === undefined ? undefined : new Error(reason)
  switch (code) {
    case 'rate_limited':
      return new RateLimitError(decision)
    case 'unauthenticated':
      return new AuthenticationError(message, { traceId, sentToken, cause })
    case 'unavailable':
      return new UnavailableError(message, { traceId, cause })
    case 'invalid_action':
      return new ValidationError([{ message, path: ['action'] }], { traceId })
    default:
      return new PolicyDeniedError(decision)
  }
}

/** What HTTP is told of a refusal. */
function saying(refused: Refused, sentToken = true): ErrorInit {
  return {
    code: refused.code,
    status: statusOf(refused.code),
    headers: refusalHeaders(refused, sentToken),
    body: refusalBody(refused, 'reason'),
  }
}

/** The same where no decision is behind it. */
function sayingCode(code: Code, traceId = '', sentToken?: boolean): ErrorInit {
  return saying({ action: '', code, traceId }, sentToken)
}
