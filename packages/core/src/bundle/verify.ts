import { compactVerify, errors } from 'jose'
import { UnavailableError, ValidationError } from '../errors.js'
import { assertMs, assertOptions, isObject } from '../options.js'
import type { PolicyDocument } from '../policy/document.js'
import type { Policies } from '../policy/policy.js'
import { addAgents, parsePolicies } from './contents.js'
import { BUNDLE_ALG, BUNDLE_TYPE, type BundleAgent, type BundleDocument, MAX_BUNDLE } from './document.js'
import { type BundleHead, badBundle, readHead, tooLarge } from './head.js'
import { type BundleKeys, bundleKeys, type FindKeys } from './keys.js'
import { giveWayAfter, readJson } from './read-json.js'

/** A bundle whose signature and content are good. */
export interface Bundle extends BundleHead {
  readonly policies: Policies
  readonly agents: ReadonlyMap<string, BundleAgent>
  /** The key that signed it. */
  readonly kid: string | undefined
}

/** What {@link verifyBundle} answers. */
export interface VerifiedBundle {
  readonly document: BundleDocument
  /** The policies of the document, parsed: for `fromPolicies`. */
  readonly policies: Policies
  /** The key that the bundle says to be signed with, and is. */
  readonly kid: string | undefined
}

/** What a bundle is held against besides its signature. */
export interface VerifyBundleOptions {
  /** An older version is refused. */
  readonly minVersion?: number | undefined
  /** The longest time since `issuedAt`, in ms. Default: as long as the bundle says itself (`expiresAt`). */
  readonly maxStalenessMs?: number | undefined
  /** In ms since the epoch. Default: the machine's clock. */
  readonly now?: number | undefined
}

/** So much may clocks differ. */
export const CLOCK_SKEW_MS = 300_000

/**
 * Verifies a bundle: first the signature, and only what is signed is parsed. It is refused if it was not signed with EdDSA by
 * one of the keys, is of another `typ`, larger than 32 MiB, issued in the future, expired or too old (clocks may differ by 5
 * minutes), older than `minVersion`, or if anything in it is wrong.
 *
 * @throws ValidationError for a bundle that is refused, UnavailableError when the keys cannot be fetched, TypeError for wrong
 * options and keys.
 *
 * @example
 * ```ts
 * const { document, policies } = await verifyBundle(jws, { publicKeys: [publicKey] })
 * ```
 */
export async function verifyBundle(jws: string, keys: BundleKeys, options: VerifyBundleOptions = {}): Promise<VerifiedBundle> {
  assertOptions('verifyBundle', options, ['minVersion', 'maxStalenessMs', 'now'])
  const { minVersion = 1, maxStalenessMs, now = Date.now() } = options
  assertVersion('verifyBundle', minVersion)
  if (maxStalenessMs !== undefined) assertMs('verifyBundle', 'maxStalenessMs', maxStalenessMs)
  const documents: PolicyDocument[] = []
  const bundle = await openBundle(jws, bundleKeys('verifyBundle', keys), now, documents)
  assertCurrent(bundle, minVersion, maxStalenessMs, now)
  const { version, issuedAt, expiresAt, delegations, jwks, agents, policies, kid } = bundle
  const [issued, expires] = [issuedAt, expiresAt].map((ms) => new Date(ms).toISOString()) as [string, string]
  const document: BundleDocument = {
    ...{ version, issuedAt: issued, expiresAt: expires },
    ...{ policies: documents, agents: Object.fromEntries(agents), delegations, jwks },
  }
  return { document, policies, kid }
}

/** @throws TypeError for an option "minVersion" that is no version. */
export function assertVersion(where: string, minVersion: unknown): void {
  if (Number.isSafeInteger(minVersion) && (minVersion as number) > 0) return
  throw new TypeError(`${where}: option "minVersion" must be a whole number from 1`)
}

/**
 * A bundle whose signature and content are good, whatever its age.
 *
 * @param documents Filled with its policies as they are written.
 * @throws ValidationError, UnavailableError when the keys cannot be fetched.
 */
export async function openBundle(jws: unknown, find: FindKeys, now: number, documents: unknown[] = []): Promise<Bundle> {
  const { kid, payload } = await signedBy(jws, find, now)
  const agents = new Map<string, BundleAgent>()
  const head = await contentOf(payload, {
    policies: (part) => void documents.push(...(part as unknown[])),
    agents: (part) => addAgents(agents, part),
  })
  const read = readHead(head)
  return Object.freeze({ ...read, policies: await parsePolicies(documents), agents, kid })
}

async function contentOf(payload: Uint8Array, inPieces: Parameters<typeof readJson>[1]): Promise<unknown> {
  try {
    return await readJson(new TextDecoder('utf-8', { fatal: true }).decode(payload), inPieces)
  } catch (cause) {
    if (cause instanceof ValidationError) throw cause
    throw badBundle('The bundle is not a JSON object in UTF-8', [], cause)
  }
}

/** Whether a bundle is to be put before another one: a later version, or the same one signed anew. */
export function isAfter(bundle: BundleHead, other: BundleHead): boolean {
  return bundle.version > other.version || (bundle.version === other.version && bundle.issuedAt > other.issuedAt)
}

/** @throws ValidationError for a version or an age that is not good just now. */
export function assertCurrent(
  { version, issuedAt, expiresAt }: BundleHead,
  minVersion: number,
  maxStalenessMs: number | undefined,
  now: number,
): void {
  if (version < minVersion) throw badBundle(`The bundle goes back: its version is ${version}, not ${minVersion} or later`)
  if (issuedAt > now + CLOCK_SKEW_MS) throw badBundle('The bundle was issued in the future; is the clock right?')
  if (now > expiresAt + CLOCK_SKEW_MS) throw badBundle('The bundle has expired')
  if (maxStalenessMs !== undefined && now - issuedAt > maxStalenessMs + CLOCK_SKEW_MS) {
    throw badBundle('The bundle was issued longer ago than maxStalenessMs')
  }
}

/** The longest header that is read: nobody has signed it yet. */
const MAX_HEADER = 8192
const COMPACT = /^[\w-]+\.[\w-]+\.[\w-]+$/

/** What was signed. Nothing of it is looked at before the signature is good, but the header, which says which key to try. */
async function signedBy(jws: unknown, find: FindKeys, now: number): Promise<{ kid: string | undefined; payload: Uint8Array }> {
  if (typeof jws === 'string' && jws.length > MAX_BUNDLE) throw tooLarge()
  if (typeof jws !== 'string' || !COMPACT.test(jws)) throw badBundle('The bundle is not a JWS: three parts of base64url')
  const kid = kidOf(jws)
  await giveWayAfter(jws)
  for (const key of await find(kid, now)) {
    try {
      const { payload } = await compactVerify(jws, await key.load(), { algorithms: [BUNDLE_ALG] })
      await giveWayAfter(jws)
      return { kid, payload }
    } catch (error) {
      if (!(error instanceof errors.JOSEError)) throw new UnavailableError('The bundle could not be verified', { cause: error })
    }
  }
  throw badBundle('The bundle is not signed by a key that is known here')
}

/** The `kid` of the header, which has nothing that it should not have. */
function kidOf(jws: string): string | undefined {
  const header = headerOf(jws.slice(0, jws.indexOf('.')))
  const { alg, typ, kid } = header
  if (typ !== BUNDLE_TYPE) throw badBundle(`The bundle's "typ" is not ${BUNDLE_TYPE}`)
  if (alg !== BUNDLE_ALG) throw badBundle(`The bundle's "alg" is not ${BUNDLE_ALG}`)
  if (kid !== undefined && typeof kid !== 'string') throw badBundle('The bundle\'s "kid" is not a string')
  if (Object.keys(header).some((name) => !['alg', 'typ', 'kid'].includes(name))) {
    throw badBundle('The bundle\'s header has more than "alg", "typ" and "kid"')
  }
  return kid
}

function headerOf(encoded: string): Record<string, unknown> {
  if (encoded.length > MAX_HEADER) throw badBundle("The bundle's header is too long")
  try {
    const header: unknown = JSON.parse(atob(encoded.replaceAll('-', '+').replaceAll('_', '/')))
    if (isObject(header)) return header
  } catch (cause) {
    throw badBundle("The bundle's header is not JSON", [], cause)
  }
  throw badBundle("The bundle's header is not an object")
}
