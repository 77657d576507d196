import type { Bucket, Limiter, Taken } from '@meshguard/core'

/** One request that waits to be counted: on all of its buckets, or on none. */
export interface Take {
  readonly buckets: readonly Bucket[]
  /** In ms since the epoch. */
  readonly now: number
}

interface Waiting extends Take {
  resolve(taken: Taken): void
  reject(error: unknown): void
}

/**
 * A limiter whose levels are in a database: what is asked for while one transaction runs is counted by the next, in order, so that
 * each is atomic and what waits costs one round trip.
 *
 * @param takeAll Counts requests, and answers each in its place. Never runs twice at a time.
 * @param most How many requests are counted at once. Default: all that wait.
 */
export function limiterQueue(
  takeAll: (takes: readonly [Take, ...Take[]]) => Promise<readonly Taken[]>,
  most = Number.POSITIVE_INFINITY,
): Limiter {
  let waiting: Waiting[] = []
  let running = false

  async function run(): Promise<void> {
    while (waiting.length > 0) {
      const takes = waiting.slice(0, most) as [Waiting, ...Waiting[]]
      waiting = waiting.slice(most)
      try {
        const taken = await takeAll(takes)
        takes.forEach((take, i) => {
          take.resolve(taken[i] as Taken)
        })
      } catch (error) {
        for (const take of takes) take.reject(error)
      }
    }
    running = false
  }

  return {
    take(buckets, now) {
      if (!Number.isFinite(now)) throw new TypeError('A limiter needs the time in ms')
      return new Promise((resolve, reject) => {
        waiting.push({ buckets, now, resolve, reject })
        if (running) return
        running = true
        void run()
      })
    },
  }
}
