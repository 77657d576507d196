import { randomUUID } from 'node:crypto'

let lastMs = Number.NaN
let lastTime = ''

/**
 * A UUID of version 7 (RFC 9562, 5.7): in the order of time, so that rows beside each other are so in the index of ids too.
 *
 * @param now Milliseconds since the epoch.
 */
export function newEntryId(now: number): string {
  if (now !== lastMs) {
    const time = now.toString(16).padStart(12, '0')
    lastTime = `${time.slice(0, 8)}-${time.slice(8)}-7`
    lastMs = now
  }
  return lastTime + randomUUID().slice(15)
}
