/** HTTP with a gateway: what a transport is, and what its failures mean. */
import { ConnectionError, UnavailableError } from '../errors.js'

/** What is sent. The headers' names are in lower case. */
export interface GatewayRequest {
  readonly method: 'GET' | 'POST'
  /** From the gateway's root, `/v1/checks`. */
  readonly path: string
  readonly headers: Readonly<Record<string, string>>
  readonly body?: string | undefined
}

/** What was answered, read to its end, whatever its status. */
export interface GatewayAnswer {
  readonly status: number
  /** By lower-case name. */
  header(name: string): string | undefined
  readonly text: string
}

/**
 * Sends one request. It follows no redirect, tries nothing again, and knows no time-out but the end of the call.
 *
 * It rejects with `ConnectionError` when there was no connection or it broke before an answer began, and with
 * `UnavailableError` for an answer that is none: malformed, cut off, or longer than {@link MAX_ANSWER}.
 */
export interface Transport {
  send(request: GatewayRequest, call: Call): Promise<GatewayAnswer>
}

/** Made by `#transport`: of undici on Node, of `fetch` elsewhere. */
export type CreateTransport = (gateway: GatewayUrl) => Transport

/** Bytes of an answer that are read at most; what goes on is cut off and counts as no answer. */
const MAX_ANSWER = 1024 * 1024

/** Where a gateway is. */
export interface GatewayUrl {
  /** `https://gateway.example` */
  readonly origin: string
  /** What its paths begin with: empty, or `/meshguard`. */
  readonly base: string
}

/**
 * Reads an option "url".
 *
 * @throws TypeError for anything but an http or https URL without credentials, query and fragment.
 */
export function readGatewayUrl(where: string, url: unknown): GatewayUrl {
  const parsed = typeof url === 'string' && URL.canParse(url) ? new URL(url) : undefined
  if (parsed === undefined || !/^https?:$/.test(parsed.protocol)) {
    throw new TypeError(`${where}: option "url" must be the gateway's URL, like "http://127.0.0.1:3100"`)
  }
  if (parsed.username !== '' || parsed.password !== '' || parsed.search !== '' || parsed.hash !== '') {
    throw new TypeError(`${where}: option "url" must have no credentials, query or fragment`)
  }
  return Object.freeze({ origin: parsed.origin, base: parsed.pathname.replace(/\/+$/, '') })
}

/** A token of RFC 6750, section 2.1, that the gateway would look at: at most 8 KiB. */
export function isBearerToken(token: unknown): token is string {
  return typeof token === 'string' && token.length <= 8192 && /^[A-Za-z0-9\-._~+/]+=*$/.test(token)
}

/** @throws TypeError for an option "token" that is no bearer token. The message does not repeat it. */
export function assertToken(where: string, token: unknown): void {
  if (!isBearerToken(token)) throw new TypeError(`${where}: option "token" must be a service token, like "msvc_…"`)
}

/** How many of what waits is sent at once: at most so many, and so many bytes, but one at least. */
export function sizeOfBatch<T>(waiting: readonly T[], bytesOf: (one: T) => number, most: number, mostBytes: number): number {
  let bytes = 0
  const size = waiting.findIndex((one, i) => {
    bytes += bytesOf(one)
    return i === most || (bytes > mostBytes && i > 0)
  })
  return size < 0 ? waiting.length : size
}

/** An exchange under way, for one or for several who wait. It ends early when the last of them goes. */
export class Call {
  #waiting: number
  #reason: Error | undefined
  #stop: ((reason: Error) => void) | undefined

  /** @param waiting How many wait. */
  constructor(waiting = 1) {
    this.#waiting = waiting
  }

  /** Why it ended early; absent while somebody waits. */
  get reason(): Error | undefined {
    return this.#reason
  }

  /** How the transport ends it; called at once if nobody waits any more. */
  onEnd(stop: (reason: Error) => void): void {
    this.#stop = stop
    if (this.#reason !== undefined) stop(this.#reason)
  }

  /** One of those who wait goes. */
  leave(reason: Error): void {
    if (--this.#waiting > 0 || this.#reason !== undefined) return
    this.#reason = reason
    this.#stop?.(reason)
  }
}

/**
 * The error of an exchange that failed before an answer began. Messages and causes of other libraries are left out, because
 * they may repeat what was sent or received; their code is kept.
 */
export function failureOf({ origin }: GatewayUrl, error: unknown): UnavailableError {
  const { name, code, message } = causeOf(error)
  if (name === 'HTTPParserError' || /^bad /.test(message) || (code !== undefined && !UNREACHED.test(code))) {
    return new UnavailableError(`The gateway at ${origin} gave no well-formed answer (${code ?? name})`)
  }
  return new ConnectionError(`The gateway at ${origin} cannot be reached${code === undefined ? '' : ` (${code})`}`)
}

/** Codes of the operating system, of TLS, and of undici for a connection that could not be made or kept. */
const UNREACHED = /^(?:E(?!RR_)[A-Z0-9_]+|ERR_(?:SSL|TLS)_\w+|\w*CERT\w*|UNABLE_TO_\w+|UND_ERR_(?:SOCKET|CONNECT_TIMEOUT))$/

/** What lies behind an error of `fetch`; undici's own are that. Runtimes other than Node give no code. */
function causeOf(error: unknown): { readonly name: string; readonly message: string; readonly code: string | undefined } {
  const { name, message, code, cause } = (error ?? {}) as Partial<Record<'name' | 'message' | 'code' | 'cause', unknown>>
  if (typeof code !== 'string' && cause !== undefined) return causeOf(cause)
  return { name: String(name), message: String(message), code: typeof code === 'string' ? code : undefined }
}

/** The error of an answer that began and is none. */
export function malformed({ origin }: GatewayUrl, what: string): UnavailableError {
  return new UnavailableError(`The gateway at ${origin} ${what}`)
}

const utf8 = new TextDecoder('utf-8', { fatal: true })

/** Collects a body up to {@link MAX_ANSWER}, or a size of its own. */
export class Body {
  readonly #max: number
  readonly #chunks: Uint8Array[] = []
  #size = 0

  constructor(max = MAX_ANSWER) {
    this.#max = max
  }

  /** Whether there is room for it. */
  add(chunk: Uint8Array): boolean {
    this.#size += chunk.length
    if (this.#size > this.#max) return false
    this.#chunks.push(chunk)
    return true
  }

  /** @throws TypeError for bytes that are not UTF-8. */
  text(): string {
    const [only] = this.#chunks
    if (only === undefined) return ''
    return utf8.decode(this.#chunks.length === 1 ? only : this.#joined())
  }

  #joined(): Uint8Array {
    const whole = new Uint8Array(this.#size)
    let at = 0
    for (const chunk of this.#chunks) {
      whole.set(chunk, at)
      at += chunk.length
    }
    return whole
  }
}
