import * as z from 'zod/mini'
import { ValidationError } from '../errors.js'
import { isObject } from '../options.js'
import { issuesOf } from '../policy/issues.js'
import { usableKeys } from '../tokens/key-ring.js'
import type { TokenKey } from '../tokens/keys.js'
import { type BundleDelegation, type BundleDocument, MAX_BUNDLE } from './document.js'
import { headSchema } from './head-schema.js'

/** What a bundle says besides policies and agents. Times are in ms since the epoch. */
export interface BundleHead {
  readonly version: number
  readonly issuedAt: number
  readonly expiresAt: number
  readonly delegations: readonly BundleDelegation[]
  readonly jwks: BundleDocument['jwks']
  /** Those of `jwks` that can verify tokens. */
  readonly tokenKeys: readonly TokenKey[]
}

/** An error about a bundle as a whole. */
export function badBundle(message: string, path: readonly (string | number)[] = [], cause?: unknown): ValidationError {
  return new ValidationError([{ path, message }], cause === undefined ? {} : { cause })
}

/** The error of a bundle of more than {@link MAX_BUNDLE} bytes. */
export function tooLarge(): ValidationError {
  return badBundle(`The bundle is larger than ${MAX_BUNDLE / 1024 / 1024} MiB`)
}

/** @throws ValidationError with everything that is wrong but in policies and agents, which are only looked for. */
export function readHead(document: unknown): BundleHead {
  if (!isObject(document)) throw badBundle('The bundle is not an object')
  const { policies, agents, ...rest } = document
  if (!Array.isArray(policies)) throw badBundle('policies: expected a list of policies', ['policies'])
  if (!isObject(agents)) throw badBundle('agents: expected agents by their ids', ['agents'])
  const { error, data } = z.safeParse(headSchema, rest)
  if (error !== undefined) throw new ValidationError(error.issues.flatMap((issue) => issuesOf(issue, rest, keysAt)))
  const { version, issuedAt, expiresAt, delegations, jwks } = data
  if (jwks.keys.some((key) => ['d', 'k', 'p'].some((member) => Object.hasOwn(key, member)))) {
    throw badBundle('jwks: holds a key that is not public', ['jwks', 'keys'])
  }
  const [from, to] = [Date.parse(issuedAt), Date.parse(expiresAt)]
  if (!(to > from)) throw badBundle('expiresAt: is not after issuedAt', ['expiresAt'])
  const set = jwks as BundleDocument['jwks']
  return { version, issuedAt: from, expiresAt: to, delegations, jwks: set, tokenKeys: usableKeys(set) }
}

function keysAt(path: readonly (string | number)[]): readonly string[] {
  return path.length === 0 ? [...Object.keys(headSchema.def.shape), 'policies', 'agents'] : []
}
