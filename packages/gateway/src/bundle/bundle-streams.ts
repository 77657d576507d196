import type { ServerResponse } from 'node:http'
import { UnavailableError } from '@meshguard/core'
import { RequestError } from '../http/errors.js'
import type { ServiceCaller, Services } from '../services.js'
import type { SignedBundle } from './bundles.js'

/** How often a stream gives a sign of life and its token is looked at again, in ms. */
const HEARTBEAT_MS = 15_000
/** How many streams one token may have open. */
const MAX_STREAMS = 5000
/** How many events a reader may leave unread before it is dropped. */
export const MAX_UNREAD = 16

/** What a stream needs of the request that opens it. */
export interface StreamRequest {
  readonly caller: ServiceCaller
  /** Rejects once the token is good no more. */
  stillMay(): Promise<unknown>
  /** Destroyed when the reader is dropped: what is unread would otherwise keep the connection. */
  readonly outgoing: Pick<ServerResponse, 'destroy'>
}

interface Stream {
  readonly controller: ReadableStreamDefaultController<Uint8Array>
  readonly outgoing: StreamRequest['outgoing']
}

/** The streams of one token: what is asked of the token is asked once for all of them. */
interface TokenStreams {
  readonly streams: Set<Stream>
  stillMay: StreamRequest['stillMay']
}

/** Limits of {@link BundleStreams}; the defaults are the constants of this file. */
export interface StreamLimits {
  readonly heartbeatMs?: number
  readonly maxStreams?: number
}

/**
 * Streams of server-sent events that say which bundle is the newest, and not what it says. An event is written once for all
 * readers and is not kept: whoever reads slower than they come is dropped, and asks for the newest bundle when it connects again.
 */
export class BundleStreams {
  readonly #services: Pick<Services, 'bundles' | 'closing' | 'log' | 'metrics'>
  readonly #tokens = new Map<string, TokenStreams>()
  readonly #limits: Required<StreamLimits>
  #stop: (() => void) | undefined

  constructor(services: Pick<Services, 'bundles' | 'closing' | 'log' | 'metrics'>, limits: StreamLimits = {}) {
    this.#services = services
    this.#limits = { heartbeatMs: HEARTBEAT_MS, maxStreams: MAX_STREAMS, ...limits }
    services.closing.addEventListener('abort', () => this.#closeAll(), { once: true })
  }

  /**
   * A stream that begins with the newest bundle.
   *
   * @throws RequestError 429 for a token with too many streams; UnavailableError when there is no bundle.
   */
  async open({ caller, stillMay, outgoing }: StreamRequest): Promise<ReadableStream<Uint8Array>> {
    const { bundles, closing, metrics } = this.#services
    const newest = await bundles.current()
    const ofToken = this.#tokens.get(caller.id) ?? { streams: new Set(), stillMay }
    if (ofToken.streams.size >= this.#limits.maxStreams) throw tooMany(this.#limits.maxStreams)
    if (closing.aborted) throw new UnavailableError('The gateway is closing')
    ofToken.stillMay = stillMay
    this.#tokens.set(caller.id, ofToken)
    let stream: Stream | undefined
    return new ReadableStream<Uint8Array>(
      {
        start: (controller) => {
          stream = { controller, outgoing }
          ofToken.streams.add(stream)
          metrics.bundleStreams(1)
          this.#work()
          controller.enqueue(eventOf(newest))
        },
        cancel: () => void (stream && this.#remove(caller.id, stream)),
      },
      { highWaterMark: MAX_UNREAD },
    )
  }

  /** Listens for bundles as long as there is anybody to tell. */
  #work(): void {
    if (this.#stop !== undefined) return
    const unsubscribe = this.#services.bundles.subscribe((bundle) => this.#tell(eventOf(bundle)))
    const timer = setInterval(() => void this.#beat(), this.#limits.heartbeatMs).unref()
    this.#stop = () => {
      unsubscribe()
      clearInterval(timer)
    }
  }

  #rest(): void {
    this.#stop?.()
    this.#stop = undefined
  }

  #tell(event: Uint8Array): void {
    for (const [id, { streams }] of this.#tokens) {
      for (const stream of streams) {
        if ((stream.controller.desiredSize ?? 0) > 0) stream.controller.enqueue(event)
        else this.#drop(id, stream)
      }
    }
  }

  #drop(tokenId: string, stream: Stream): void {
    this.#services.log.info({ tokenId }, 'a reader of bundle events was too slow and was dropped')
    this.#end(tokenId, stream)
    stream.outgoing.destroy()
  }

  #end(tokenId: string, stream: Stream): void {
    if (this.#remove(tokenId, stream)) stream.controller.close()
  }

  /** Forgets a stream; false if it was forgotten before. */
  #remove(tokenId: string, stream: Stream): boolean {
    const ofToken = this.#tokens.get(tokenId)
    if (ofToken?.streams.delete(stream) !== true) return false
    this.#services.metrics.bundleStreams(-1)
    if (ofToken.streams.size === 0) this.#tokens.delete(tokenId)
    if (this.#tokens.size === 0) this.#rest()
    return true
  }

  async #beat(): Promise<void> {
    await Promise.all([...this.#tokens].map(([id, ofToken]) => this.#look(id, ofToken)))
    this.#tell(HEARTBEAT)
  }

  /** Ends the streams of a token that is good no more. A store that cannot be asked ends nothing: an event tells no secret. */
  async #look(tokenId: string, { streams, stillMay }: TokenStreams): Promise<void> {
    try {
      await stillMay()
    } catch (error) {
      if (error instanceof UnavailableError) return
      for (const stream of streams) this.#end(tokenId, stream)
    }
  }

  #closeAll(): void {
    for (const [id, { streams }] of this.#tokens) for (const stream of streams) this.#end(id, stream)
  }
}

const HEARTBEAT = new TextEncoder().encode(': \n\n')

function eventOf({ version, issuedAt, etag }: SignedBundle): Uint8Array {
  const data = JSON.stringify({ version, issuedAt: new Date(issuedAt).toISOString() })
  return new TextEncoder().encode(`event: bundle\nid: ${etag.slice(1, -1)}\ndata: ${data}\n\n`)
}

function tooMany(most: number): RequestError {
  return new RequestError(429, 'rate_limited', `A token has at most ${most} streams open`, {
    code: 'too_many_requests',
    headers: { 'retry-after': '30' },
  })
}
