import type { Dispatcher } from 'undici'
import { createTransport as createFetchTransport } from './fetch.js'
import {
  Body,
  type Call,
  type CreateTransport,
  failureOf,
  type GatewayAnswer,
  type GatewayRequest,
  type GatewayUrl,
  malformed,
  type Transport,
} from './transport.js'

/**
 * A transport of undici's global dispatcher, whichever that is at each request. undici is an optional peer: without it this is
 * the transport of `fetch`, which in Node is a slower undici and honours the same dispatcher.
 */
export const createTransport: CreateTransport = (gateway) => {
  let transport: Transport | undefined
  const loading = import('undici').then(
    ({ getGlobalDispatcher }) => {
      transport = { send: (request, call) => dispatch(getGlobalDispatcher(), gateway, request, call) }
      return transport
    },
    () => {
      transport = createFetchTransport(gateway)
      return transport
    },
  )
  return {
    send: (request, call) =>
      transport === undefined ? loading.then((loaded) => loaded.send(request, call)) : transport.send(request, call),
  }
}

function dispatch(
  dispatcher: Dispatcher,
  gateway: GatewayUrl,
  { method, path, headers, body }: GatewayRequest,
  call: Call,
): Promise<GatewayAnswer> {
  return new Promise((resolve, reject) => {
    const { origin, base } = gateway
    dispatcher.dispatch(
      { origin, path: base + path, method, headers: headers as Record<string, string>, body: body ?? null },
      new AnswerReader(gateway, call, resolve, reject),
    )
  })
}

/**
 * Reads one answer. These are the handler's methods of undici 6 and 7 both: the global dispatcher may be that of the undici
 * inside Node, which is another version.
 */
class AnswerReader implements Dispatcher.DispatchHandler {
  readonly #gateway: GatewayUrl
  readonly #call: Call
  readonly #resolve: (answer: GatewayAnswer) => void
  readonly #reject: (error: Error) => void
  readonly #body = new Body()
  #abort: (() => void) | undefined
  #status = 0
  #headers: readonly Uint8Array[] = []

  constructor(gateway: GatewayUrl, call: Call, resolve: (answer: GatewayAnswer) => void, reject: (error: Error) => void) {
    this.#gateway = gateway
    this.#call = call
    this.#resolve = resolve
    this.#reject = reject
    call.onEnd((reason) => {
      reject(reason)
      this.#abort?.()
    })
  }

  onConnect(abort: () => void): void {
    this.#abort = abort
    if (this.#call.reason !== undefined) abort()
  }

  onHeaders(status: number, headers: Uint8Array[]): boolean {
    this.#status = status
    this.#headers = headers
    return true
  }

  onData(chunk: Uint8Array): boolean {
    if (this.#body.add(chunk)) return true
    this.#reject(malformed(this.#gateway, 'gave an answer that is too long'))
    this.#abort?.()
    return false
  }

  onComplete(): void {
    try {
      this.#resolve(answerOf(this.#status, this.#headers, this.#body.text()))
    } catch {
      this.#reject(malformed(this.#gateway, 'gave an answer that is not UTF-8'))
    }
  }

  onError(error: Error): void {
    const began = this.#status >= 200
    this.#reject(began ? malformed(this.#gateway, 'gave an answer that is cut off') : failureOf(this.#gateway, error))
  }
}

const ascii = new TextDecoder('latin1')

/** Names and values alternate. A header that is there twice answers its first value. */
function answerOf(status: number, headers: readonly Uint8Array[], text: string): GatewayAnswer {
  return {
    status,
    text,
    header(name) {
      const at = headers.findIndex(
        (one, i) => i % 2 === 0 && one.length === name.length && ascii.decode(one).toLowerCase() === name,
      )
      return at < 0 ? undefined : ascii.decode(headers[at + 1])
    },
  }
}
