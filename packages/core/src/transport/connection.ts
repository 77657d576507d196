import { createTransport } from '#transport'
import { ConnectionError } from '../errors.js'
import { Breaker } from './breaker.js'
import type { Call, GatewayAnswer, GatewayRequest, GatewayUrl, Transport } from './transport.js'

/** A gateway as it is asked for decisions: one more attempt where a connection failed, and a breaker while it is down. */
export class Connection {
  readonly #gateway: GatewayUrl
  readonly #transport: Transport
  readonly #breaker = new Breaker()

  constructor(gateway: GatewayUrl) {
    this.#gateway = gateway
    this.#transport = createTransport(gateway)
  }

  /** Whether nothing is sent just now. */
  get isDown(): boolean {
    return this.#breaker.isOpen
  }

  /** The error of a request that is not sent because the gateway is down. */
  down(): ConnectionError {
    return new ConnectionError(`The gateway at ${this.#gateway.origin} could not be reached, and is not asked again yet`)
  }

  /** The error of a request that was given up. */
  late(timeoutMs: number): ConnectionError {
    return new ConnectionError(`The gateway at ${this.#gateway.origin} did not answer within ${timeoutMs} ms`)
  }

  /**
   * Resolves with what was answered, whatever its status below 502.
   *
   * @throws ConnectionError when the gateway was not reached: no connection, 502 to 504, the breaker open, or the call ended
   * with one; UnavailableError for an answer that is none, and for a call that ended otherwise.
   */
  async ask(request: GatewayRequest, call: Call): Promise<GatewayAnswer> {
    const breaker = this.#breaker
    if (!breaker.begin()) throw this.down()
    try {
      const answer = await this.#sendTwice(request, call)
      if (answer.status >= 502 && answer.status <= 504) {
        throw new ConnectionError(`The gateway at ${this.#gateway.origin} answered ${answer.status}`)
      }
      breaker.reached()
      return answer
    } catch (error) {
      if (error instanceof ConnectionError) breaker.failed()
      else if (error === call.reason) breaker.abandoned()
      else breaker.reached()
      throw error
    }
  }

  /** A connection that was kept open may have been closed by the other side while a request was on its way. */
  async #sendTwice(request: GatewayRequest, call: Call): Promise<GatewayAnswer> {
    try {
      return await this.#transport.send(request, call)
    } catch (error) {
      if (!(error instanceof ConnectionError) || call.reason !== undefined) throw call.reason ?? error
      return await this.#transport.send(request, call)
    }
  }
}
