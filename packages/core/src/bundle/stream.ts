import { UnavailableError } from '../errors.js'
import type { GatewayUrl } from '../transport/transport.js'
import { ask, headersFor, refusalOf } from './load.js'

const FIRST_PAUSE_MS = 1000
const MAX_PAUSE_MS = 30_000
/** The gateway says something every 15 s. */
const SILENCE_MS = 60_000
/** Not all who listen ask at the same moment. */
const SPREAD_MS = 200
/** The longest line that is read. */
const MAX_LINE = 65_536

/** What a stream of wake-ups works with. */
export interface StreamParts {
  readonly gateway: GatewayUrl
  readonly token: string | undefined
  /** There may be another bundle. */
  readonly wake: () => void
  readonly report: (error: UnavailableError) => void
}

/**
 * Listens to a gateway's `GET /v1/bundle/stream`, and connects again when that ends, with pauses that double from 1 to 30 s. What
 * an event says does not matter: it is not signed, and only a reason to ask for the bundle, as is a new connection.
 */
export class BundleStream {
  readonly #parts: StreamParts
  #aborting = new AbortController()
  #isClosed = false
  #isOpen = false
  #isWaking = false
  #failures = 0

  constructor(parts: StreamParts) {
    this.#parts = parts
  }

  /** Begins to listen, if it does not do so already. */
  open(): void {
    if (this.#isOpen || this.#isClosed) return
    this.#isOpen = true
    void this.#listen()
  }

  close(): void {
    this.#isClosed = true
    this.#aborting.abort()
  }

  async #listen(): Promise<void> {
    while (!this.#isClosed) {
      this.#aborting = new AbortController()
      try {
        await this.#read()
      } catch (error) {
        if (this.#isClosed) return
        const why = error instanceof UnavailableError ? error.message : 'the connection to the gateway broke off'
        const message = `No wake-ups: ${why}`
        if (this.#failures++ === 0) this.#parts.report(new UnavailableError(message, { cause: error }))
      }
      await this.#pause()
    }
  }

  async #read(): Promise<void> {
    const { gateway, token } = this.#parts
    const silence = this.#silence()
    try {
      const headers = headersFor(token, 'text/event-stream')
      const response = await ask(gateway, '/v1/bundle/stream', headers, this.#aborting.signal)
      const { status, body } = response
      if (status !== 200 || body === null) {
        await body?.cancel()
        throw refusalOf(gateway, status)
      }
      this.#wakeSoon()
      const lines = new Lines()
      const reader = body.pipeThrough(new TextDecoderStream()).getReader()
      for (let chunk = await reader.read(); !chunk.done; chunk = await reader.read()) {
        silence.heard()
        this.#failures = 0
        if (lines.hasEvent(chunk.value)) this.#wakeSoon()
      }
    } finally {
      silence.end()
    }
  }

  /** Ends the connection when nothing was heard for long: the other side may be gone without a word. */
  #silence(): { heard(): void; end(): void } {
    const onSilence = () => this.#aborting.abort(new UnavailableError('the gateway fell silent'))
    let timer = setTimeout(onSilence, SILENCE_MS)
    return {
      heard: () => {
        clearTimeout(timer)
        timer = setTimeout(onSilence, SILENCE_MS)
      },
      end: () => clearTimeout(timer),
    }
  }

  #wakeSoon(): void {
    if (this.#isWaking) return
    this.#isWaking = true
    setTimeout(() => {
      this.#isWaking = false
      this.#parts.wake()
    }, Math.random() * SPREAD_MS)
  }

  async #pause(): Promise<void> {
    const ms = Math.min(FIRST_PAUSE_MS * 2 ** Math.max(0, this.#failures - 1), MAX_PAUSE_MS)
    const { signal } = this.#aborting
    if (this.#isClosed) return
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, ms * (0.75 + Math.random() / 2))
      signal.addEventListener('abort', () => {
        clearTimeout(timer)
        resolve()
      })
    })
  }
}

/** Finds events in a stream of the format of HTML, 9.2.6: lines that are not comments, ended by an empty one. */
class Lines {
  #rest = ''
  #hasData = false

  /** @throws UnavailableError for a line that does not end. */
  hasEvent(text: string): boolean {
    const lines = (this.#rest + text).split(/\r\n|\n|\r/)
    this.#rest = lines.pop() ?? ''
    if (this.#rest.length > MAX_LINE) throw new UnavailableError('the gateway sent a line that does not end')
    let found = false
    for (const line of lines) {
      if (line === '') {
        found ||= this.#hasData
        this.#hasData = false
      } else if (!line.startsWith(':')) this.#hasData = true
    }
    return found
  }
}
