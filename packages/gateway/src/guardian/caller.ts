import type { IncomingHttpHeaders } from 'node:http'
import { type Guard, UnavailableError } from '@meshguard/core'
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

const MAX_REMEMBERED = 1000

/** Whose tokens are, as far as they were verified. A token's agent never changes; whether the token is still good is not told. */
export class TokenOwners {
  readonly #guard: Guard
  readonly #owners = new Map<string, string>()

  constructor(guard: Guard) {
    this.#guard = guard
  }

  /** The id of a token's agent; `undefined` for one that is not good, or cannot be judged. Nothing is recorded. */
  async ownerOf(token: string): Promise<string | undefined> {
    const known = this.#owners.get(token)
    if (known !== undefined) return known
    const agentId = await this.#verify(token)
    if (agentId === undefined) return undefined
    if (this.#owners.size >= MAX_REMEMBERED) this.#owners.clear()
    this.#owners.set(token, agentId)
    return agentId
  }

  async #verify(token: string): Promise<string | undefined> {
    try {
      return (await this.#guard.explain('read:guardian', { token })).agentId
    } catch (error) {
      if (error instanceof UnavailableError) return undefined
      throw error
    }
  }
}
