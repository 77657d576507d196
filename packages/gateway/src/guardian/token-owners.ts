import { type Guard, UnavailableError } from '@meshguard/core'

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
