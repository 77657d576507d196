import { ConnectionError, UnavailableError } from '@meshguard/core'
import type { GatewayAnswer } from '@meshguard/core/http'
import type { CallOptions } from './options.js'
import type { Settings } from './settings.js'

/** One request to the gateway. */
export interface GatewayRequest {
  readonly method: string
  /** From the root of the gateway, `/admin/agents?limit=3`. */
  readonly path: string
  readonly headers: Headers
  readonly body?: BodyInit | null | undefined
  readonly options: CallOptions
  /** Asking twice does no harm. */
  readonly safe: boolean
}

const FIRST_PAUSE_MS = 100
const MAX_TIMER_MS = 2 ** 31 - 1

/**
 * Sends requests: time-outs, signals, retries of what is safe, and closing. Redirects are never followed, because they would
 * take the token along. What an answer means is for others.
 */
export class Transport {
  readonly #settings: Settings
  readonly #calls = new Set<AbortController>()
  #closed: UnavailableError | undefined

  constructor(settings: Settings) {
    this.#settings = settings
  }

  /**
   * Sends a request and reads the whole answer, whatever its status, within the time-out.
   *
   * @throws ConnectionError when there is no answer in time; the reason of the caller's signal; UnavailableError once closed.
   */
  ask(request: GatewayRequest): Promise<GatewayAnswer> {
    return this.#call(request, readAnswer)
  }

  /** As {@link ask}, but answers once the headers are there; only the caller's signal ends the body. */
  open(request: GatewayRequest): Promise<Response> {
    return this.#call(request, async (response) => response)
  }

  /** For work of several calls: a controller that {@link close} aborts. It is handed back to {@link leave}. */
  enter(): AbortController {
    const entered = new AbortController()
    if (this.#closed !== undefined) entered.abort(this.#closed)
    else this.#calls.add(entered)
    return entered
  }

  leave(entered: AbortController): void {
    this.#calls.delete(entered)
  }

  /** Ends the calls that wait for an answer and refuses new ones. Bodies that were handed out go on. */
  close(): void {
    this.#closed ??= new UnavailableError('The client was closed')
    for (const call of this.#calls) call.abort(this.#closed)
  }

  async #call<T>(request: GatewayRequest, read: (response: Response) => Promise<T>): Promise<T> {
    if (this.#closed !== undefined) throw this.#closed
    const { signal, timeoutMs = this.#settings.timeoutMs } = request.options
    const call = this.enter()
    const ended = signal === undefined ? call.signal : AbortSignal.any([call.signal, signal])
    const late = () => call.abort(new ConnectionError(`${this.#gateway} did not answer within ${timeoutMs} ms`))
    const timer = setTimeout(late, Math.min(timeoutMs, MAX_TIMER_MS))
    try {
      return await this.#tryAgain(request, ended, read)
    } finally {
      clearTimeout(timer)
      this.leave(call)
    }
  }

  async #tryAgain<T>(request: GatewayRequest, ended: AbortSignal, read: (response: Response) => Promise<T>): Promise<T> {
    for (let left = request.safe ? this.#settings.retries : 0, pause = FIRST_PAUSE_MS; ; left--, pause *= 2) {
      try {
        const response = await this.#fetch(request, ended)
        if (left === 0 || !isUnavailable(response)) return await read(response)
        await response.body?.cancel()
      } catch (error) {
        if (ended.aborted) throw ended.reason
        if (left === 0) throw new ConnectionError(`${this.#gateway} does not answer`, { cause: error })
      }
      await sleep(pause, ended)
    }
  }

  #fetch({ method, path, headers, body }: GatewayRequest, signal: AbortSignal): Promise<Response> {
    const init: RequestInit & { duplex?: 'half' } = { method, headers, signal, redirect: 'manual' }
    if (body !== undefined && body !== null) init.body = body
    if (body instanceof ReadableStream) init.duplex = 'half'
    return fetch(this.#settings.gatewayUrl + path, init)
  }

  get #gateway(): string {
    return `The gateway at ${this.#settings.gatewayUrl}`
  }
}

/** Reads an answer to its end. */
export async function readAnswer(response: Response): Promise<GatewayAnswer> {
  const { status, headers } = response
  return { status, header: (name) => headers.get(name) ?? undefined, text: await response.text() }
}

/** The gateway, or what stands in front of it, could not answer just now; an upstream's own 503 is its own affair. */
function isUnavailable({ status, headers }: Response): boolean {
  return status >= 502 && status <= 504 && headers.get('x-meshguard-origin') !== 'upstream'
}

/** Waits, unless the call has ended: then its reason is thrown. */
export function sleep(ms: number, ended: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const stop = () => {
      clearTimeout(timer)
      reject(ended.reason)
    }
    const timer = setTimeout(() => {
      ended.removeEventListener('abort', stop)
      resolve()
    }, ms)
    if (ended.aborted) stop()
    else ended.addEventListener('abort', stop, { once: true })
  })
}
