import { ConnectionError } from '@meshguard/client'
import { CliError } from './errors.js'

/** How long an answer is waited for, unless it is said. */
const TIMEOUT_MS = 15_000

/**
 * Asks the gateway for something that is no JSON of its API.
 *
 * @param path `/v1/bundle`.
 * @throws CliError for a bad URL and a redirect, ConnectionError.
 */
export async function requestOf(
  gatewayUrl: string,
  path: string,
  signal: AbortSignal,
  { token, timeoutMs = TIMEOUT_MS }: { readonly token?: string; readonly timeoutMs?: number } = {},
): Promise<Response> {
  const url = URL.canParse(gatewayUrl) ? new URL(gatewayUrl) : undefined
  if (url === undefined || !/^https?:$/.test(url.protocol) || url.username !== '' || url.search !== '' || url.hash !== '') {
    throw new CliError('--gateway or MESHGUARD_GATEWAY_URL must be the URL of a gateway, like http://127.0.0.1:3100')
  }
  const address = url.origin + url.pathname.replace(/\/+$/, '') + path
  const headers = token === undefined ? {} : { authorization: `Bearer ${token}` }
  const within = AbortSignal.any([signal, AbortSignal.timeout(timeoutMs)])
  try {
    const response = await fetch(address, { headers, redirect: 'manual', signal: within })
    if (response.status < 300 || response.status >= 400) return response
    throw new CliError(`${address} leads somewhere else (${response.status}): give --gateway the URL that it leads to`)
  } catch (error) {
    if (error instanceof CliError) throw error
    throw new ConnectionError('The gateway cannot be reached', { cause: error })
  }
}

/**
 * Reads an answer to its end.
 *
 * @param maxBytes How much is read at most, after decompression.
 * @throws CliError for a longer one, ConnectionError for one that breaks off.
 */
export async function textOf(response: Response, maxBytes: number): Promise<string> {
  const chunks: Uint8Array[] = []
  let bytes = 0
  try {
    for await (const chunk of (response.body ?? []) as AsyncIterable<Uint8Array>) {
      bytes += chunk.length
      if (bytes > maxBytes) break
      chunks.push(chunk)
    }
  } catch (error) {
    throw new ConnectionError('The answer of the gateway broke off', { cause: error })
  }
  if (bytes > maxBytes) throw new CliError(`${response.url} answers more than ${maxBytes} bytes: is it a gateway?`)
  return Buffer.concat(chunks).toString('utf8')
}
