import {
  AuthenticationError,
  ConnectionError,
  MeshGuardError,
  RateLimitError,
  UnavailableError,
  ValidationError,
} from '@meshguard/client'

/** What the process ends with. These numbers are API. */
export const EXIT = {
  /** Done, or allowed. */
  done: 0,
  /** Denied, a test failed, the audit log is not what it was: nothing else ends with it. */
  denied: 1,
  /** Wrong use, a bad file, or something that the gateway refuses. */
  usage: 2,
  /** The gateway cannot be reached, or cannot answer now. */
  unreachable: 3,
} as const

/** Something that the user can put right; its message says how. */
export class CliError extends Error {
  constructor(
    message: string,
    readonly exitCode: number = EXIT.usage,
    options?: ErrorOptions,
  ) {
    super(message, options)
    this.name = 'CliError'
  }
}

/** What is told of an error, and what the process ends with. */
export interface Told {
  readonly exitCode: number
  /** For programs. */
  readonly code: string
  readonly message: string
  readonly issues?: readonly object[] | undefined
}

/**
 * An error in words that say what to do next.
 *
 * @param gatewayUrl Of the gateway that was asked, if one was.
 */
export function tell(error: unknown, gatewayUrl: string): Told {
  if (error instanceof CliError) return { exitCode: error.exitCode, code: 'usage', message: error.message }
  if (error instanceof ConnectionError) {
    const message = `Gateway at ${gatewayUrl} does not answer. Is it running? Start one with: meshguard serve`
    return { exitCode: EXIT.unreachable, code: error.code, message }
  }
  if (error instanceof AuthenticationError) {
    const message = `Gateway at ${gatewayUrl} does not take this admin token (${error.message}). Give the right one: --admin-token or MESHGUARD_ADMIN_TOKEN`
    return { exitCode: EXIT.usage, code: error.code, message }
  }
  if (error instanceof RateLimitError) {
    return { exitCode: EXIT.unreachable, code: error.code, message: `Too many requests. Try again in ${error.retryAfter} s` }
  }
  if (error instanceof UnavailableError) {
    const message = `Gateway at ${gatewayUrl} cannot answer now: ${error.message}. Look at: meshguard status`
    return { exitCode: EXIT.unreachable, code: error.code, message }
  }
  if (error instanceof ValidationError) {
    return { exitCode: EXIT.usage, code: error.code, message: error.message, issues: error.issues }
  }
  if (error instanceof MeshGuardError) return { exitCode: EXIT.usage, code: error.code, message: error.message }
  const message = error instanceof Error ? (error.stack ?? error.message) : String(error)
  return { exitCode: EXIT.usage, code: 'unexpected', message: `Unexpected: ${message}` }
}

/** The code of an error of the system, like `ENOENT`. */
export function systemCode(error: unknown): string | undefined {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : undefined
}
