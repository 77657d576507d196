import type { EventEmitter } from 'node:events'
import type { ServerResponse } from 'node:http'
import type { Dispatcher } from 'undici'
import { RequestError } from '../http/errors.js'
import { type ParsedHeaders, passingNames } from './header-filter.js'
import { passOnInformation } from './informational.js'

/** What an exchange is told besides the connection that it answers on. */
export interface ExchangeOptions {
  /** What the gateway itself says to the client, by lower-case name. */
  readonly headers: Readonly<Record<string, string>>
  /** How long neither side may move while a body is under way; event streams are not timed. */
  readonly timeoutMs: number
}

/** How an exchange ended. */
export interface Ended {
  /** Of the upstream's answer; `undefined` where the client went away before there was one. */
  readonly status: number | undefined
  /** Set where the answer broke off. */
  readonly error?: Error | undefined
}

/**
 * Passes the answer of an upstream on as it comes, as fast as the client takes it.
 *
 * `ended` resolves when nothing more will be written, and rejects with `RequestError` 502, 504 or 413 as long as nothing has been
 * written: then the answer is still to be made. An answer that breaks off later ends the connection, so that no client takes the
 * part for the whole. A client that goes away ends the request to the upstream.
 *
 * Informational answers that Node can write, 102 and 103, are passed on as they come.
 */
export class Exchange implements Dispatcher.DispatchHandler {
  readonly ended: Promise<Ended>
  readonly #outgoing: ServerResponse
  readonly #options: ExchangeOptions
  /**
   * Says when the client is gone. Not the response, unless it waits for another one on the same connection and has none yet: a
   * response and its exchange that know each other outlive their request until the next full collection.
   */
  readonly #connection: EventEmitter
  #resolve!: (ended: Ended) => void
  #reject!: (error: Error) => void
  #controller: Dispatcher.DispatchController | undefined
  #status: number | undefined
  #isEvents = false
  #isDone = false
  #isBlocked = false
  #hasWritten = false
  #idle: NodeJS.Timeout | undefined

  constructor(outgoing: ServerResponse, options: ExchangeOptions) {
    this.#outgoing = outgoing
    this.#options = options
    this.ended = new Promise((resolve, reject) => {
      this.#resolve = resolve
      this.#reject = reject
    })
    this.#connection = outgoing.socket ?? outgoing
    this.#connection.on('close', this.#onClose)
  }

  onRequestStart(controller: Dispatcher.DispatchController): void {
    this.#controller = controller
    if (this.#isDone) controller.abort(new Error('The client went away'))
  }

  onResponseStart(_controller: Dispatcher.DispatchController, status: number, headers: ParsedHeaders): void {
    if (this.#isDone) return
    if (status < 200) {
      passOnInformation(this.#outgoing, status, headers)
      return
    }
    if (status > MAX_STATUS) throw new Error(`There is no status ${status}`)
    this.#isEvents = String(headers['content-type']).toLowerCase().startsWith('text/event-stream')
    const outgoing = this.#outgoing
    for (const name of passingNames(headers)) outgoing.setHeader(name, headers[name] as string | string[])
    for (const name of Object.keys(this.#options.headers)) {
      const value = this.#options.headers[name] as string
      if (name === 'vary') outgoing.appendHeader(name, value)
      else outgoing.setHeader(name, value)
    }
    outgoing.writeHead(status)
    this.#status = status
    process.nextTick(this.#afterHead)
  }

  onResponseData(controller: Dispatcher.DispatchController, chunk: Buffer): void {
    if (this.#isDone) return
    this.#hasWritten = true
    this.#idle?.refresh()
    if (this.#outgoing.write(chunk) || this.#isBlocked) return
    this.#isBlocked = true
    controller.pause()
    this.#outgoing.once('drain', this.#onDrain)
  }

  onResponseEnd(_controller: Dispatcher.DispatchController, trailers: ParsedHeaders): void {
    if (this.#isDone) return
    const names = passingNames(trailers)
    if (names.length > 0) this.#outgoing.addTrailers(names.map((name): [string, string] => [name, String(trailers[name])]))
    this.#finish({ status: this.#status })
    this.#outgoing.end()
  }

  onResponseError(_controller: Dispatcher.DispatchController | undefined, error: Error): void {
    if (this.#isDone) return
    if (this.#status === undefined) {
      this.#end()
      this.#reject(error instanceof RequestError ? error : refusalFor(error))
      return
    }
    this.#finish({ status: this.#status, error })
    this.#outgoing.destroy()
  }

  /** Once what came with the head is written, or nothing did: a head alone is not kept from the client. */
  readonly #afterHead = (): void => {
    if (this.#isDone) return
    if (!this.#hasWritten) this.#outgoing.flushHeaders()
    if (!this.#isEvents) this.#idle = setTimeout(this.#onIdle, this.#options.timeoutMs)
  }

  readonly #onDrain = (): void => {
    this.#isBlocked = false
    this.#idle?.refresh()
    this.#controller?.resume()
  }

  readonly #onIdle = (): void => {
    this.#controller?.abort(new Error('Nothing moved for too long'))
  }

  readonly #onClose = (): void => {
    if (this.#isDone) return
    this.#finish({ status: this.#status })
    this.#controller?.abort(new Error('The client went away'))
  }

  #finish(ended: Ended): void {
    this.#end()
    this.#resolve(ended)
  }

  #end(): void {
    this.#isDone = true
    clearTimeout(this.#idle)
    this.#connection.off('close', this.#onClose)
  }
}

/** RFC 9110, 15: what is higher is no status, and is answered 502. */
const MAX_STATUS = 599

const TIMEOUTS: ReadonlySet<unknown> = new Set(['UND_ERR_HEADERS_TIMEOUT', 'UND_ERR_CONNECT_TIMEOUT', 'ETIMEDOUT'])

/** What the client is told of an upstream that failed: nothing of where it is, or why. */
function refusalFor(error: Error & { readonly code?: unknown }): RequestError {
  const refusal = TIMEOUTS.has(error.code)
    ? new RequestError(504, 'gateway_timeout', 'The upstream did not answer in time')
    : new RequestError(502, 'bad_gateway', 'The upstream could not be reached, or gave no proper answer')
  refusal.cause = error
  return refusal
}
