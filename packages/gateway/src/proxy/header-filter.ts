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

/** What of a request is for the gateway alone, or tells an upstream another method. */
const HELD_BACK: readonly string[] = [
  ...HOP_BY_HOP,
  'content-length',
  'expect',
  'host',
  'http2-settings',
  'cookie',
  'x-admin-token',
  'traceparent',
  'tracestate',
  // CGI passes it on as HTTP_PROXY, through which programs then make their own requests (CVE-2016-5385).
  'proxy',
]

const OURS = 'x-meshguard'

/**
 * What servers in front of an upstream say there, and frameworks believe: another address, path or method, or who is logged in.
 * An agent could pass for them. A name that ends in `-` stands for all that begin so.
 */
const SAID_IN_FRONT: readonly string[] = [
  // Where a request came from, and what it was before it was rewritten.
  ...['forwarded', 'x-forwarded', 'x-forwarded-', 'x-original-', 'x-rewrite-url', 'x-real-', 'x-envoy-', 'x-arr-'],
  ...[
    'x-client-ip',
    'client-ip',
    'true-client-ip',
    'x-cluster-client-ip',
    'cf-connecting-',
    'fastly-client-ip',
    'fly-client-ip',
  ],
  ...['x-remote-', 'x-azure-clientip', 'x-appengine-', 'x-vercel-', 'x-matched-path', 'x-invoke-', 'x-middleware-'],
  ...['x-http-method', 'x-http-method-override', 'x-method-override'],
  // Who was logged in, or had a client certificate (RFC 9440).
  ...['remote-', 'x-webauth-', 'x-auth-request-', 'x-authenticated-', 'x-authentik-', 'x-pomerium-', 'tailscale-user-'],
  ...['x-consumer-', 'x-credential-', 'x-anonymous-consumer', 'x-goog-authenticated-user-', 'x-goog-iap-', 'x-amzn-oidc-'],
  ...['x-ms-client-principal', 'x-ms-client-principal-', 'cf-access-jwt-assertion', 'cf-access-authenticated-user-email'],
  ...['client-cert', 'client-cert-', 'x-client-cert', 'x-client-cert-', 'x-ssl-', 'ssl-client-'],
]
const SAID_NAMES = new Set(SAID_IN_FRONT.filter((name) => !name.endsWith('-')))
const SAID_PREFIXES = SAID_IN_FRONT.filter((name) => name.endsWith('-'))

/** With `PROXY_FORWARD_HEADERS` these pass besides the ones that are named: what bodies, caches and formats need (RFC 9110). */
const COMMON: readonly string[] = [
  ...['accept', 'accept-encoding', 'accept-language', 'cache-control', 'range', 'user-agent'],
  ...['content-encoding', 'content-language', 'content-type'],
  ...['if-match', 'if-modified-since', 'if-none-match', 'if-range', 'if-unmodified-since'],
]

/** How a proxy differs from others. */
export interface RequestFilterOptions {
  /** Pass the agent's own `Authorization` on. */
  readonly forwardAuthorization: boolean
  /** Set on every request, in the place of what the client sent under these names. */
  readonly headers: Readonly<Record<string, string>>
  /** The only names that pass, besides the common ones. Default: all that are not held back. */
  readonly forward?: readonly string[] | undefined
}

/**
 * Makes the function that builds the headers of a forwarded request from those that came in: anything whose name is letters,
 * digits and hyphens, but what belongs to a connection, is named in `Connection`, is the gateway's own, or is believed to come
 * from a server in front; or those names alone that are listed. `X-MeshGuard-*` is removed in every spelling.
 */
export function requestFilter(options: RequestFilterOptions): (rawHeaders: readonly string[]) => string[] {
  const own = Object.entries(options.headers)
  const held = new Set([...HELD_BACK, ...own.map(([name]) => name.toLowerCase())])
  if (!options.forwardAuthorization) held.add('authorization')
  const passes = options.forward === undefined ? isNotSaidInFront : isListed(options)
  return (rawHeaders) => {
    const named = connectionNamed(rawHeaders)
    const headers: string[] = []
    for (let i = 0; i < rawHeaders.length; i += 2) {
      const name = (rawHeaders[i] as string).toLowerCase()
      if (held.has(name) || !PLAIN_NAME.test(name) || name.startsWith(OURS) || !passes(name)) continue
      if (named?.has(name) !== true) headers.push(name, rawHeaders[i + 1] as string)
    }
    for (const [name, value] of own) headers.push(name, value)
    return headers
  }
}

function isNotSaidInFront(name: string): boolean {
  return !SAID_NAMES.has(name) && !SAID_PREFIXES.some((prefix) => name.startsWith(prefix))
}

function isListed({ forward = [], forwardAuthorization }: RequestFilterOptions): (name: string) => boolean {
  const listed = new Set([...COMMON, ...forward.map((name) => name.toLowerCase())])
  if (forwardAuthorization) listed.add('authorization')
  return (name) => listed.has(name)
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
