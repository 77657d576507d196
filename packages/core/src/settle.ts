import { UnavailableError } from './errors.js'

/** Values that are there at once stay so: nothing becomes a promise that need not be one. */

/** Whether a value is to be waited for. */
export function isPromise<T>(value: T | Promise<T>): value is Promise<T> {
  return typeof value === 'object' && value !== null && typeof (value as { then?: unknown }).then === 'function'
}

/** Timers count in 31 bits; one for longer would be over at once. */
const MAX_TIMER_MS = 2 ** 31 - 1

/**
 * The first of: what the promise comes to, the deadline, the caller going away. What comes later is ignored, a rejection
 * included.
 *
 * @param deadline In ms since the epoch; waited for at most 24 days.
 * @throws UnavailableError when the deadline passes or the signal is aborted first.
 */
export function beforeDeadline<T>(promise: Promise<T>, deadline: number, what: string, signal?: AbortSignal): Promise<T> {
  return new Promise<T>((resolve, reject) => {
    const onAbort = () => finish(() => reject(new UnavailableError(`${what}: the caller went away`)))
    const timer = setTimeout(
      () => finish(() => reject(new UnavailableError(`${what}: no answer in time`))),
      Math.min(MAX_TIMER_MS, Math.max(0, deadline - Date.now())),
    )
    const finish = (settle: () => void) => {
      clearTimeout(timer)
      signal?.removeEventListener('abort', onAbort)
      settle()
    }
    signal?.addEventListener('abort', onAbort, { once: true })
    if (signal?.aborted) onAbort()
    Promise.resolve(promise).then(
      (value) => finish(() => resolve(value)),
      (error) => finish(() => reject(error)),
    )
  })
}
