import { MeshGuardClient } from '@meshguard/client'
import { type Agent, type Decision, type Guard, PolicyDeniedError, RateLimitError } from '@meshguard/core'
import { assertFunction, assertOptions, errorOf, newTraceId } from '@meshguard/core/http'

/** What a tool is called with. */
export type Arguments = Readonly<Record<string, unknown>>

/** What a guard is asked with; the same for `Guard` and `MeshGuardClient`. */
export interface GovernOptions {
  readonly agent?: Agent | undefined
  readonly token?: string | undefined
  readonly resource?: string | undefined
  readonly context?: Arguments | undefined
  readonly signal?: AbortSignal | undefined
}

/** Whatever governs: a `Guard`, a `MeshGuardClient`, or your own. */
export interface Governor {
  govern<T>(action: string, work: (decision: Decision) => T | Promise<T>, options?: GovernOptions): Promise<T>
  /** Records the denial of a tool that has no action; a `Guard` has it. */
  readonly refuse?: Guard['refuse'] | undefined
}

/** What LangChain knows of the run that a tool is called in. */
export interface RunInfo {
  readonly configurable?: Readonly<Record<string, unknown>> | undefined
  /** The agent's runtime context. */
  readonly context?: unknown
}

/** A denial that `onDeny` is told of. */
export type Denial = PolicyDeniedError | RateLimitError

/**
 * What a denial becomes: `'throw'` an error, `'message'` a message that says so to the model, or what a function makes of it,
 * which the model gets as the result of the tool. A function may throw.
 */
export type OnDeny = 'throw' | 'message' | ((denial: Denial, args: Arguments, tool: string) => unknown)

/** How tools are governed. */
export interface GovernanceOptions {
  /** A guard of this process, or a `MeshGuardClient`. */
  readonly guard: Governor
  /**
   * Who calls, for a guard: an agent that your own login has proved, or a bearer token; or a function of the run that knows.
   * Not for a client, which has a token of its own.
   */
  readonly credentials?: string | Agent | ((run: RunInfo) => string | Agent | undefined) | undefined
  /** What conditions can read as `context.<argument>`. Default: the arguments, as the tool's schema parsed them. */
  readonly context?: ((args: Arguments, tool: string) => Arguments) | undefined
  /** Default: none. */
  readonly resource?: ((args: Arguments, tool: string) => string | undefined) | undefined
  /** Default `'throw'`. Only of denials: a bad credential or a gateway that is gone always throws. */
  readonly onDeny?: OnDeny | undefined
}

/** The names of {@link GovernanceOptions}. */
export const GOVERNANCE_OPTIONS = ['guard', 'credentials', 'context', 'resource', 'onDeny']

/** One call of a tool. */
export interface ToolRun {
  readonly tool: string
  /** `undefined` is denied. */
  readonly action: string | undefined
  readonly args: Arguments
  readonly run: RunInfo
  readonly signal?: AbortSignal | undefined
}

/** What became of a call: what the tool answered, or what is said instead. */
export type Governed<T> = { readonly result: T } | { readonly denied: unknown }

/** Asks before tools run. */
export class Governance {
  readonly #options: GovernanceOptions

  /** @throws TypeError that names the option. */
  constructor(where: string, options: GovernanceOptions, known: readonly string[]) {
    assertOptions(where, options, known)
    const { guard, credentials, context, resource, onDeny = 'throw' } = options
    if (typeof guard?.govern !== 'function')
      throw new TypeError(`${where}: option "guard" must be a guard or a MeshGuardClient`)
    if (guard instanceof MeshGuardClient && credentials !== undefined) {
      throw new TypeError(
        `${where}: option "credentials" is for a guard. A client has its own agentToken: make one for each agent`,
      )
    }
    assertFunction(where, 'context', context)
    assertFunction(where, 'resource', resource)
    if (onDeny !== 'throw' && onDeny !== 'message' && typeof onDeny !== 'function') {
      throw new TypeError(`${where}: option "onDeny" must be "throw", "message" or a function`)
    }
    this.#options = Object.freeze({ guard, credentials, context, resource, onDeny })
  }

  /**
   * Runs the work if the action is allowed.
   *
   * @throws a denial under `onDeny: 'throw'`; every other refusal; what the work throws.
   */
  async run<T>(call: ToolRun, work: () => Promise<T>): Promise<Governed<T>> {
    let began = false
    const begin = () => {
      began = true
      return work()
    }
    try {
      if (call.action === undefined) throw this.#unmapped(call)
      return { result: await this.#options.guard.govern(call.action, begin, this.#asked(call)) }
    } catch (error) {
      const isDenial = !began && (error instanceof PolicyDeniedError || error instanceof RateLimitError)
      if (!isDenial || this.#options.onDeny === 'throw') throw error
      return { denied: await this.#instead(error, call) }
    }
  }

  #asked({ tool, args, run, signal }: ToolRun): GovernOptions {
    const { context, resource } = this.#options
    return {
      ...this.#credentials(run),
      context: context === undefined ? args : context(args, tool),
      resource: resource?.(args, tool),
      signal,
    }
  }

  #credentials(run: RunInfo): Pick<GovernOptions, 'agent' | 'token'> {
    const { credentials } = this.#options
    const given = typeof credentials === 'function' ? credentials(run) : credentials
    if (given === undefined) return {} // as for a client, which takes neither
    return typeof given === 'string' ? { token: given } : { agent: given }
  }

  /** A tool without an action is denied in every mode: nobody said what it does. */
  #unmapped({ tool, run }: ToolRun): Error {
    const reason = `The tool "${tool}" has no action. Name one in "actionMap", or a "defaultAction"`
    const request = { action: '', agent: this.#credentials(run).agent, traceId: newTraceId() }
    const { guard } = this.#options
    const denied = {
      allowed: false,
      decision: 'deny',
      code: 'unmapped',
      reason,
      timestamp: Date.now(),
      enforced: true,
    } as const
    return errorOf(guard.refuse?.(request, 'unmapped', reason, { mode: 'enforce' }) ?? { ...request, ...denied }, true)
  }

  #instead(denial: Denial, { args, tool }: ToolRun): unknown {
    const { onDeny } = this.#options
    if (typeof onDeny === 'function') return onDeny(denial, args, tool)
    return `Not allowed: ${denial.message} (trace ${denial.traceId})`
  }
}
