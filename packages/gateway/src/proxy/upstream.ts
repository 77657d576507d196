import { Pool } from 'undici'

/** The one place that the proxy forwards to. */
export interface Upstream {
  readonly pool: Pool
  /**
   * The path that a canonical path has there, to be sent as it is.
   *
   * @throws Error when it would be read as another one: nothing may be forwarded then.
   */
  pathOf(path: string): string
}

const MAX_CONNECT_MS = 10_000

/**
 * Opens the upstream of a proxy. Connections are made when they are needed, kept open, and used for one request at a time.
 *
 * @param target An `http:` or `https:` URL; its path goes before that of every request.
 * @param timeoutMs For the headers of an answer, and to connect (at most 10 s).
 * @throws TypeError for another URL, or one with a user, a query or a fragment.
 */
export function openUpstream(target: string, timeoutMs: number): Upstream {
  const { origin, pathname, protocol, username, password, search, hash } = new URL(target)
  if (!/^https?:$/.test(protocol) || `${username}${password}${search}${hash}` !== '') {
    throw new TypeError('The target of the proxy must be an http or https URL without user, query and fragment')
  }
  const base = pathname.replace(/\/+$/, '')
  const pool = new Pool(origin, {
    headersTimeout: timeoutMs,
    bodyTimeout: 0,
    connect: { timeout: Math.min(timeoutMs, MAX_CONNECT_MS) },
  })
  return {
    pool,
    pathOf(path) {
      const whole = `${base}${path}`
      const read = new URL(`${origin}${whole}`)
      if (read.origin !== origin || read.pathname !== whole) throw new Error('A path would leave the upstream of the proxy')
      return whole
    },
  }
}
