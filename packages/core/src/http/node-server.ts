/** What the adapters on Node's own server share. Structural types: nothing of Node is imported. */

/** The parts of Node's `IncomingMessage` that are read. */
export interface IncomingHeaders {
  readonly headers: Readonly<Record<string, string | string[] | undefined>>
  readonly rawHeaders: readonly string[]
}

/**
 * A header as {@link RequestReader.header} wants it. Node keeps only the first of two `Authorization` headers in `headers`,
 * and drops whatever comes after the thousandth: that one is counted in `rawHeaders`.
 */
export function joinedHeader(message: IncomingHeaders, name: string): string | undefined {
  if (name === 'authorization') return joinedFromRaw(message.rawHeaders, name)
  const value = message.headers[name]
  return typeof value === 'object' ? value.join(', ') : value
}

function joinedFromRaw(rawHeaders: readonly string[], name: string): string | undefined {
  let joined: string | undefined
  for (let i = 0; i < rawHeaders.length; i += 2) {
    const header = rawHeaders[i] as string
    if (header.length !== name.length || header.toLowerCase() !== name) continue
    joined = joined === undefined ? rawHeaders[i + 1] : `${joined}, ${rawHeaders[i + 1]}`
  }
  return joined
}

/** The parts of Node's `ServerResponse` that are held back. */
export interface HeldResponse {
  readonly headersSent: boolean
  statusCode: number
  statusMessage?: string
  writeHead(status: number, ...rest: never[]): unknown
  write(...args: never[]): unknown
  end(...args: never[]): unknown
  getHeaderNames(): string[]
  removeHeader(name: string): void
}

/** The answer that takes the place of one that was held back. */
export interface Replacement {
  readonly status: number
  readonly headers: Readonly<Record<string, string>>
  readonly body: string
}

/**
 * Holds back the answer of one response: when its head or its first byte is about to be written, `replace` may answer another
 * one, which is sent instead; what the application writes after that is dropped. It is asked before Node is inside its own
 * `end`, which would otherwise send the body that was held back behind the one that replaces it.
 *
 * @param replace Called with the status once. `undefined` lets the answer go.
 */
export function holdAnswer(response: HeldResponse, replace: (status: number) => Replacement | undefined): void {
  const { writeHead, write, end } = response
  let held = true
  let replaced = false
  const settle = (status: number): boolean => {
    held = false
    const replacement = replace(status)
    if (replacement === undefined) return false
    for (const name of response.getHeaderNames()) response.removeHeader(name)
    if (Object.hasOwn(response, 'statusMessage')) response.statusMessage = ''
    const headers = { ...replacement.headers, 'content-length': String(new TextEncoder().encode(replacement.body).length) }
    writeHead.call(response, replacement.status, headers as never)
    end.call(response, replacement.body as never)
    replaced = true
    return true
  }
  const drops = (status: number) => (held ? settle(status) : replaced)
  response.writeHead = (status: number, ...rest: never[]) =>
    drops(status) ? response : writeHead.call(response, status, ...rest)
  response.write = (...args: never[]) => (drops(response.statusCode) ? true : write.apply(response, args))
  response.end = (...args: never[]) => (drops(response.statusCode) ? response : end.apply(response, args))
}

/** Headers that describe a body which the application meant to send. A refusal, which has another body, goes out without them. */
export const HEADERS_OF_A_BODY: readonly string[] = [
  'content-encoding',
  'content-range',
  'content-disposition',
  'etag',
  'last-modified',
  'transfer-encoding',
]

const WRITES_HEAD = ['setHeader', 'setHeaders', 'appendHeader', 'removeHeader', 'writeHead', 'writeEarlyHints', 'end']

/**
 * Takes a response that was answered out of the application's hands: what an `onDenied` writes too late is dropped, and does not
 * throw where nobody catches it.
 */
export function dropLateAnswers(response: object): void {
  for (const name of WRITES_HEAD) Reflect.set(response, name, () => response)
  Reflect.set(response, 'write', () => true)
}
