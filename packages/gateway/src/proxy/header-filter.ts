/**
 * Which headers pass through the proxy. Header lists are flat, names and values in turn, as Node gives them.
 */

/** Only these names pass: no server takes one of them for another, as some do with `_` and `.`. */
const PLAIN_NAME = /^[a-z0-9-]+$/

/** What belongs to one connection alone (RFC 9110, 7.6.1). */
const HOP_BY_HOP = [
  'connection',
  'keep-alive',
  'proxy-authenticate',
  'proxy-authorization',
  'proxy-connection',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
]

/** What of a request is for the gateway alone, or would let a client choose what the gateway says: its own address, another method, another path. */
const HELD_BACK: ReadonlySet<string> = new Set([
  ...HOP_BY_HOP,
  'content-length',
  'expect',
  'host',
  'http2-settings',
  'cookie',
  'x-admin-token',
  'forwarded',
  'x-real-ip',
  'x-client-ip',
  'true-client-ip',
  'x-cluster-client-ip',
  'cf-connecting-ip',
  'fastly-client-ip',
  // CGI passes it on as HTTP_PROXY, through which programs then make their own requests (CVE-2016-5385).
  'proxy',
  'traceparent',
  'tracestate',
  'x-http-method',
  'x-http-method-override',
  'x-method-override',
  'x-original-url',
  'x-rewrite-url',
])

const OURS = 'x-meshguard'
const FORWARDED = 'x-forwarded-'

/** How a proxy differs from others. */
export interface RequestFilterOptions {
  /** Pass the agent's own `Authorization` on. */
  readonly forwardAuthorization: boolean
  /** Set on every request, in the place of what the client sent under these names. */
  readonly headers: Readonly<Record<string, string>>
}

/**
 * Makes the function that builds the headers of a forwarded request from those that came in: anything whose name is letters,
 * digits and hyphens, but what belongs to a connection, is named in `Connection`, or is the gateway's own. `X-MeshGuard-*` is
 * removed in every spelling.
 */
export function requestFilter(options: RequestFilterOptions): (rawHeaders: readonly string[]) => string[] {
  const own = Object.entries(options.headers)
  const held = new Set([...HELD_BACK, ...own.map(([name]) => name.toLowerCase())])
  if (!options.forwardAuthorization) held.add('authorization')
  return (rawHeaders) => {
    const named = connectionNamed(rawHeaders)
    const headers: string[] = []
    for (let i = 0; i < rawHeaders.length; i += 2) {
      const name = (rawHeaders[i] as string).toLowerCase()
      if (held.has(name) || !PLAIN_NAME.test(name) || name.startsWith(OURS) || name.startsWith(FORWARDED)) continue
      if (named?.has(name) !== true) headers.push(name, rawHeaders[i + 1] as string)
    }
    for (const [name, value] of own) headers.push(name, value)
    return headers
  }
}

/** Names that `Connection` names, or `undefined` where it names none but what is held back anyway. */
function connectionNamed(rawHeaders: readonly string[]): ReadonlySet<string> | undefined {
  let named: Set<string> | undefined
  for (let i = 0; i < rawHeaders.length; i += 2) {
    if ((rawHeaders[i] as string).length !== 10 || (rawHeaders[i] as string).toLowerCase() !== 'connection') continue
    const value = (rawHeaders[i + 1] as string).toLowerCase()
    if (value === 'keep-alive' || value === 'close') continue
    named ??= new Set()
    for (const name of value.split(',')) named.add(name.trim())
  }
  return named
}

const OF_CONNECTION: ReadonlySet<string> = new Set(HOP_BY_HOP)

/** Which pages may read an answer is for the gateway to say, whose origin it comes from. */
const CORS = 'access-control-'

/** Headers by lower-case name, as undici gives them. */
export type ParsedHeaders = Readonly<Record<string, string | readonly string[] | undefined>>

/**
 * The names of an upstream's headers, or trailers, that its client may see: all but what belongs to the connection, is named in
 * `Connection`, shares the answer with other origins, or is spelled like one of the gateway's own.
 */
export function passingNames(headers: ParsedHeaders): string[] {
  const connection = headers['connection']
  const named = connection === undefined ? '' : `,${String(connection).toLowerCase().replaceAll(' ', '')},`
  return Object.keys(headers).filter((name) => {
    if (OF_CONNECTION.has(name) || named.includes(`,${name},`) || name.startsWith(CORS)) return false
    return !(name.startsWith('x') && name.replace(/[._]/g, '-').startsWith(OURS))
  })
}
