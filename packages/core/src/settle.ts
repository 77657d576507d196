import { UnavailableError } from './errors.js'

/** Values that are there at once stay so: nothing becomes a promise that need not be one. */

/** Whether a value is to be waited for. */
export function isPromise<T>(value: T | Promise<T>): value is Promise<T> {
  return typeof value === 'object' && value !== null && typeof (value as { then?: unknown }).then === 'function'
}

const listening = new WeakMap<AbortSignal, Set<() => void>>()

/**
 * Calls back when a signal is aborted, at once if it is already. However many wait, a signal has one listener of ours: Node
 * takes more than ten for a leak, and says so.
 *
 * @returns Takes it back.
 */
export function onAbort(signal: AbortSignal | undefined, callback: () => void): () => void {
  if (signal === undefined) return () => {}
  if (signal.aborted) callback()
  const callbacks = listening.get(signal) ?? listenTo(signal)
  callbacks.add(callback)
  return () => callbacks.delete(callback)
}

function listenTo(signal: AbortSignal): Set<() => void> {
  const callbacks = new Set<() => void>()
  const tellAll = () => {
    for (const callback of callbacks) callback()
  }
  signal.addEventListener('abort', tellAll, { once: true })
  listening.set(signal, callbacks)
  return callbacks
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
  let forget = () => {}
  const gaveUp = new Promise<never>((_resolve, reject) => {
    const giveUp = (why: string) => reject(new UnavailableError(`${what}: ${why}`))
    const left = Math.min(MAX_TIMER_MS, Math.max(0, deadline - Date.now()))
    const timer = setTimeout(giveUp, left, 'no answer in time')
    const stop = onAbort(signal, () => giveUp('the caller went away'))
    forget = () => {
      clearTimeout(timer)
      stop()
    }
  })
  return Promise.race([promise, gaveUp]).finally(() => forget())
}
