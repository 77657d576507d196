import { isAgentId, parseTier, vouchFor } from '../agent.js'
import { AuthenticationError } from '../errors.js'
import { isObject } from '../options.js'
import type { Agent } from '../types.js'

/** What a verified token says, as `isRevoked` sees it: `jti`, `iat`, `sub` and whatever else the issuer wrote. Frozen. */
export type AgentClaims = Readonly<Record<string, unknown>>

/** At most so many tags, and so many characters in each. */
export const MAX_TAGS = 64
/** How deep `metadata` may be nested, itself included. */
export const MAX_METADATA_DEPTH = 8

/** Whether a value is a list of tags: at most 64 strings of at most 64 characters. */
export function areTags(value: unknown): value is readonly string[] {
  return (
    Array.isArray(value) && value.length <= MAX_TAGS && value.every((tag) => typeof tag === 'string' && tag.length <= MAX_TAGS)
  )
}

/**
 * The agent that a *verified* token stands for, deeply frozen, and so are the claims afterwards.
 *
 * `tier`, or `trust` where there is no `tier`, is the tier; none or an unknown one is the lowest. `name` counts if it is a
 * string, `metadata` if it is an object.
 *
 * @throws AuthenticationError for a `sub` that is no agent id, too many tags or such that are no strings, metadata that is
 * nested too deeply, and a token that carries a delegation: it would have to be evaluated hop by hop, and is not here.
 */
export function agentFromClaims(claims: Record<string, unknown>): Agent {
  for (const claim of ['act', 'may_act', 'delegation']) {
    if (Object.hasOwn(claims, claim))
      throw new AuthenticationError(`The token carries a delegation ("${claim}"), which is not evaluated here`)
  }
  const id = own(claims, 'sub')
  if (!isAgentId(id)) throw new AuthenticationError('The token\'s "sub" is not an agent id')
  const tags = Object.hasOwn(claims, 'tags') ? claims['tags'] : []
  if (!areTags(tags)) {
    throw new AuthenticationError(`The token's "tags" are not a list of at most ${MAX_TAGS} strings of ${MAX_TAGS} characters`)
  }
  if (!freezeJson(claims, MAX_METADATA_DEPTH + 1))
    throw new AuthenticationError('The token\'s claims are nested too deeply, or name "__proto__"')
  const [name, metadata] = [own(claims, 'name'), own(claims, 'metadata')]
  const agent = Object.freeze({
    id,
    name: typeof name === 'string' ? name : undefined,
    trustTier: parseTier(own(claims, Object.hasOwn(claims, 'tier') ? 'tier' : 'trust')) ?? 'unverified',
    tags: Object.freeze(tags),
    metadata: isObject(metadata) ? metadata : undefined,
  })
  return vouchFor(agent)
}

function own(claims: Record<string, unknown>, claim: string): unknown {
  return Object.hasOwn(claims, claim) ? claims[claim] : undefined
}

const POLLUTING: ReadonlySet<string> = new Set(['__proto__', 'constructor', 'prototype'])

/** Freezes parsed JSON. False if it is deeper than `depth` or has a key that would reach a prototype when copied. */
export function freezeJson(value: unknown, depth: number): boolean {
  if (typeof value !== 'object' || value === null) return true
  if (depth === 0) return false
  Object.freeze(value)
  return Object.entries(value).every(([key, inner]) => !POLLUTING.has(key) && freezeJson(inner, depth - 1))
}
