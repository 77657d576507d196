import { readFile } from 'node:fs/promises'
import { BUNDLE_TYPE, type BundleKeys } from '@meshguard/core/bundle'
import { CliError, systemCode } from './errors.js'
import { requestOf, textOf } from './gateway-request.js'
import { note } from './output.js'
import { unreadable } from './service-token.js'
import { writeWholeFile } from './whole-file.js'

/** Of commands that verify bundles. */
export interface KeyOptions {
  readonly publicKey?: string | undefined
}

/** What is said of `--public-key`. */
export const PUBLIC_KEY_HELP =
  'the public key that bundles are signed with, as PEM, JWK or JWK Set (default: those that the gateway publishes)'

/**
 * The keys that bundles are verified with: those of a file, or those that the gateway publishes. The latter are as good as the way
 * to the gateway is: `https`, or a network of one's own.
 *
 * @throws CliError for a file that holds no public key.
 */
export async function bundleKeysOf({ publicKey }: KeyOptions, gatewayUrl: string): Promise<BundleKeys> {
  if (publicKey !== undefined) return keysIn(publicKey)
  return { jwks: keySetOf(gatewayUrl) }
}

function keySetOf(gatewayUrl: string): string {
  return `${gatewayUrl.replace(/\/+$/, '')}${KEY_SET}`
}

const KEY_SET = '/.well-known/jwks.json'
/** How long the start of a guardian waits for them. */
const KEYS_MS = 3000
const MAX_KEY_SET = 1024 * 1024

/**
 * As {@link bundleKeysOf}, with a copy of what the gateway publishes in a file of mode 0600: where the gateway cannot be reached
 * at the start, those keys count, and besides them what it publishes once it is back.
 *
 * @throws CliError as `bundleKeysOf`, for a copy that cannot be written, and for one that is none.
 */
export async function keptKeysOf(
  options: KeyOptions,
  gatewayUrl: string,
  copy: string,
  signal: AbortSignal,
): Promise<BundleKeys> {
  const keys = await bundleKeysOf(options, gatewayUrl)
  if (options.publicKey !== undefined) return keys
  const published = await publishedBy(gatewayUrl, signal)
  if (published !== undefined) {
    await keep(copy, published)
    return keys
  }
  const kept = await readFile(copy, 'utf8').catch((error: unknown) => {
    if (systemCode(error) !== 'ENOENT') throw unreadable(copy, error)
    return undefined
  })
  return kept === undefined ? keys : { jwks: keySetOf(gatewayUrl), publicKeys: keptIn(copy, kept) }
}

type PublicKeys = NonNullable<BundleKeys['publicKeys']>

function keptIn(file: string, text: string): PublicKeys {
  const found = publishedKeysIn(text)
  if (found.length === 0) throw new CliError(`${file} holds no public key of bundles: remove it, or start with --public-key`)
  return found
}

/** The key set of a gateway; `undefined` if it cannot be reached, or what answers in its place has none for bundles. */
async function publishedBy(gatewayUrl: string, signal: AbortSignal): Promise<string | undefined> {
  try {
    const response = await requestOf(gatewayUrl, KEY_SET, signal, { timeoutMs: KEYS_MS })
    const text = await textOf(response, MAX_KEY_SET)
    return publishedKeysIn(text).length > 0 ? text : undefined
  } catch (error) {
    if (error instanceof CliError) throw error
    return undefined
  }
}

/** Those of a key set that are marked as keys of bundles. */
function publishedKeysIn(text: string): PublicKeys {
  const keys = jsonOf(text)?.['keys']
  return Array.isArray(keys) ? keys.filter((key: { typ?: unknown } | null) => key?.typ === BUNDLE_TYPE) : []
}

/** A disk that is full does not keep a guardian from deciding. */
async function keep(file: string, text: string): Promise<void> {
  try {
    await writeWholeFile(file, text)
  } catch (error) {
    if (!(error instanceof CliError) || systemCode(error.cause) !== 'ENOSPC') throw error
    note(`${error.message}. Until then the guardian cannot begin while the gateway is away`)
  }
}

/** @returns the error for a key of `--public-key` that is of no use; any other error as it is. */
export function badKeyOf({ publicKey }: KeyOptions, error: unknown): unknown {
  if (!(error instanceof TypeError) || publicKey === undefined) return error
  const problem = /^\w+: option "(?:publicKeys|jwks)(?:\[\d+\])?" (.*)$/.exec(error.message)?.[1]
  return problem === undefined ? error : new CliError(`${publicKey} ${problem}. Give --public-key the key that signs bundles`)
}

async function keysIn(file: string): Promise<BundleKeys> {
  const text = await readFile(file, 'utf8').catch((error: unknown) => {
    throw unreadable(file, error)
  })
  if (text.trimStart().startsWith('-----BEGIN PUBLIC KEY-----')) return { publicKeys: [text.trim()] }
  const value = jsonOf(text)
  if (Array.isArray(value?.['keys'])) return { jwks: value as never }
  if (typeof value?.['kty'] === 'string') return { publicKeys: [value as never] }
  throw new CliError(`${file} holds no public key: expected PEM ("-----BEGIN PUBLIC KEY-----"), a JWK or a JWK Set`)
}

function jsonOf(text: string): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(text)
    return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : undefined
  } catch {
    return undefined
  }
}
