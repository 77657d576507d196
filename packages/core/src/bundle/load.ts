import { ConnectionError, UnavailableError } from '../errors.js'
import { textOf } from '../transport/fetch.js'
import { Call, failureOf, type GatewayUrl, malformed } from '../transport/transport.js'
import { MAX_BUNDLE } from './document.js'
import { tooLarge } from './head.js'

/** What a loader is asked for. */
export interface BundleRequest {
  /** That of the bundle in force, if its loader gave it one: a bundle with the same one need not be loaded again. */
  readonly etag?: string | undefined
  /** Aborted when nobody waits for the bundle any more. */
  readonly signal: AbortSignal
}

/** A bundle as it was loaded. */
export interface LoadedBundle {
  readonly jws: string
  readonly etag?: string | undefined
}

/**
 * Loads the latest bundle: its JWS, or `undefined` if it is the one with the `etag`. What it throws is no bundle; a
 * `ConnectionError` says that whoever has it could not be reached.
 */
export type LoadBundle = (
  request: BundleRequest,
) => string | LoadedBundle | undefined | Promise<string | LoadedBundle | undefined>

/** Loads from a gateway's `GET /v1/bundle`. */
export function loadFromGateway(gateway: GatewayUrl, token: string | undefined): LoadBundle {
  return async ({ etag, signal }) => {
    const headers = {
      ...headersFor(token, 'application/jose'),
      ...(etag !== undefined && { 'if-none-match': etag }),
    }
    const response = await ask(gateway, '/v1/bundle', headers, signal)
    if (response.status === 200)
      return { jws: await bodyOf(gateway, response), etag: response.headers.get('etag') ?? undefined }
    await response.body?.cancel()
    if (response.status === 304) return undefined
    throw refusalOf(gateway, response.status)
  }
}

/** The headers of a request for something about bundles. */
export function headersFor(token: string | undefined, accept: string): Record<string, string> {
  return token === undefined ? { accept } : { accept, authorization: `Bearer ${token}` }
}

/** @throws ConnectionError, UnavailableError. */
export async function ask(
  gateway: GatewayUrl,
  path: string,
  headers: Record<string, string>,
  signal: AbortSignal,
): Promise<Response> {
  try {
    return await fetch(gateway.origin + gateway.base + path, { headers, redirect: 'manual', signal })
  } catch (error) {
    throw signal.aborted ? signal.reason : failureOf(gateway, error)
  }
}

async function bodyOf(gateway: GatewayUrl, response: Response): Promise<string> {
  const text = await textOf(response, new Call(), MAX_BUNDLE).catch(() => {
    throw malformed(gateway, 'gave a bundle that is cut off or not UTF-8')
  })
  if (text === undefined) throw tooLarge()
  return text
}

const REFUSED: ReadonlyMap<number, string> = new Map([
  [401, '401: the service token is not good'],
  [403, '403: the service token lacks the scope "bundle"'],
  [409, '409: it has no keys for agents (JWT_SECRET signs their tokens)'],
])

/** The error of an answer that is no bundle. */
export function refusalOf({ origin }: GatewayUrl, status: number): UnavailableError {
  const message = `The gateway at ${origin} gave no bundle (${REFUSED.get(status) ?? status})`
  return status >= 502 && status <= 504 ? new ConnectionError(message) : new UnavailableError(message)
}
