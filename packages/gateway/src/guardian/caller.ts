import type { IncomingHttpHeaders } from 'node:http'
import { bearerOf } from '@meshguard/core/http'
import { isLoopback } from '../http/address.js'
import type { GuardianParts } from './guardian-parts.js'

/** By which token a request is decided. */
export interface Caller {
  /** Not verified yet. */
  readonly token: string | undefined
  /** The request brought a credential itself, good or bad. */
  readonly sentToken: boolean
}

/**
 * The token of a request: its own, or, for one that brings no credential, that of the agent beside the guardian. The latter only
 * for a `Host` that is this machine, so that no page in a browser asks in the agent's name under another name of the machine.
 */
export function callerOf({ ownToken }: GuardianParts, { authorization, host = '' }: IncomingHttpHeaders): Caller {
  if (authorization !== undefined) return { token: bearerOf(authorization), sentToken: true }
  const isHere = isLoopback(host.replace(/:\d{1,5}$/, '').replace(/^\[(.*)\]$/, '$1'))
  return { token: isHere ? ownToken?.() : undefined, sentToken: false }
}
