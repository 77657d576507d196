import { RateLimiterMemory, type RateLimiterRes } from 'rate-limiter-flexible'
import { digestOf } from './secrets.js'

/** 16 bits of a digest: so many counters at most, whatever addresses and tokens are sent. Those that share one share its limit. */
const BUCKETS_HEX = 4

/**
 * Counts requests that were answered 401, a minute at a time: those of one credential from one address, and the different
 * credentials that fail from one address, so that one agent's broken token does not use up what others behind the same guard
 * have. It never sees a valid credential.
 */
export class FailedAuthentications {
  readonly #addresses: RateLimiterMemory
  readonly #credentials: RateLimiterMemory

  /** @param perMinute How many of each are told what they are. */
  constructor(perMinute: number) {
    this.#addresses = new RateLimiterMemory({ points: perMinute, duration: 60, keyPrefix: '' })
    this.#credentials = new RateLimiterMemory({ points: perMinute, duration: 60, keyPrefix: '' })
  }

  /** Counts one failure. Seconds to wait where there were too many, otherwise `undefined`. */
  async count(ip: string, credential: string): Promise<number | undefined> {
    const address = bucketOf(ip)
    const pair = bucketOf(`${ip} ${credential}`)
    const exhausted = await this.#addresses.get(address)
    if (
      exhausted !== null &&
      exhausted.consumedPoints >= this.#addresses.points &&
      (await this.#credentials.get(pair)) === null
    ) {
      return secondsOf(exhausted)
    }
    const ofPair = await consume(this.#credentials, pair)
    if (ofPair.consumedPoints === 1) await consume(this.#addresses, address)
    return ofPair.consumedPoints > this.#credentials.points ? secondsOf(ofPair) : undefined
  }
}

function bucketOf(text: string): string {
  return digestOf(text).slice(0, BUCKETS_HEX)
}

/** The limiter rejects with what it would resolve with. */
function consume(limiter: RateLimiterMemory, key: string): Promise<RateLimiterRes> {
  return limiter.consume(key).catch((refused: RateLimiterRes | Error) => {
    if (refused instanceof Error) throw refused
    return refused
  })
}

function secondsOf({ msBeforeNext }: RateLimiterRes): number {
  return Math.max(1, Math.ceil(msBeforeNext / 1000))
}
