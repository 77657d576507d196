import { AuthenticationError, type Code, type Mode } from '@meshguard/core'
import { bearerOf, isPromise } from '@meshguard/core/http'
import type { IdentifiedAgent, Identity, Services } from '../services.js'

/** Who presented a credential, or why nobody did. */
export interface Caller {
  readonly who: IdentifiedAgent | undefined
  /** A credential was sent, good or bad. */
  readonly sentToken: boolean
  /** Set for a credential that is not good, or not there; without one a gateway in bypass mode goes on all the same. */
  readonly refuse: { readonly code: Code; readonly reason: string } | undefined
}

const BYPASSING: Caller = Object.freeze({ who: undefined, sentToken: false, refuse: undefined })
const NOBODY: Caller = Object.freeze({ ...refused('No credential was presented'), sentToken: false })

/**
 * Who an `Authorization` header stands for. Synchronous where the token and its agent are remembered.
 *
 * @throws UnavailableError when that cannot be told.
 */
export function callerOf(
  { identity, guard }: Pick<Services, 'identity' | 'guard'>,
  authorization: string | undefined,
): Caller | Promise<Caller> {
  if (authorization === undefined) return nobody(guard.mode)
  const token = bearerOf(authorization)
  if (token === undefined) return refused('The Authorization header is not one Bearer token')
  return bearerCaller(identity, token)
}

/** The caller of a request without any credential. */
export function nobody(mode: Mode): Caller {
  return mode === 'bypass' ? BYPASSING : NOBODY
}

/**
 * Who a token stands for.
 *
 * @throws UnavailableError when that cannot be told.
 */
export function bearerCaller(identity: Identity, token: string): Caller | Promise<Caller> {
  try {
    const found = identity.agentOf(token)
    return isPromise(found) ? found.then(identified, refusedFor) : identified(found)
  } catch (error) {
    return refusedFor(error)
  }
}

function identified(who: IdentifiedAgent): Caller {
  return { who, sentToken: true, refuse: undefined }
}

function refusedFor(error: unknown): Caller {
  if (error instanceof AuthenticationError) return refused(error.message)
  throw error
}

/** A credential that is none, and why; the caller is never told. */
export function refused(reason: string): Caller {
  return { who: undefined, sentToken: true, refuse: { code: 'unauthenticated', reason } }
}
