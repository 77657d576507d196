import type { IncomingMessage } from 'node:http'
import { Readable } from 'node:stream'
import { tooLarge } from '../http/errors.js'

/** Whether a request has a body, which may be empty (RFC 9112, 6). */
export function hasBody({ headers }: IncomingMessage): boolean {
  return headers['transfer-encoding'] !== undefined || (headers['content-length'] ?? '0') !== '0'
}

/**
 * A request's body on its way to the upstream: as fast as that takes it, and no longer than a limit. It stands between the two
 * connections, so that the end of one is not the end of the other.
 *
 * Fails with `RequestError` 413 behind `limit` bytes, and when the client goes away.
 */
export class RequestBody extends Readable {
  readonly #incoming: IncomingMessage
  #left: number

  constructor(incoming: IncomingMessage, limit: number) {
    super({ emitClose: true })
    this.#incoming = incoming
    this.#left = limit
    incoming.on('data', this.#onData).on('end', this.#onEnd).on('error', this.#onGone).on('close', this.#onGone)
    incoming.pause()
  }

  override _read(): void {
    this.#incoming.resume()
  }

  override _destroy(error: Error | null, callback: (error?: Error | null) => void): void {
    const incoming = this.#incoming
    incoming.off('data', this.#onData).off('end', this.#onEnd).off('close', this.#onGone)
    callback(error)
  }

  readonly #onData = (chunk: Buffer): void => {
    this.#left -= chunk.length
    if (this.#left < 0) this.destroy(tooLarge('The body is longer than the proxy forwards'))
    else if (!this.push(chunk)) this.#incoming.pause()
  }

  readonly #onEnd = (): void => {
    this.push(null)
  }

  readonly #onGone = (): void => {
    if (!this.#incoming.readableEnded) this.destroy(new Error('The client went away'))
  }
}
