import { write, writeSync } from 'node:fs'
import type { DestinationStream } from 'pino'

/** What waits to be written, in characters. Lines beyond are lost. */
const MOST = 1_048_576
/** When it is tried again after what did not work. */
const RETRY_MS = 250

const destinations = new Map<number, LogDestination>()

/**
 * Where a gateway logs: stdout (1) or stderr (2). A disk that is full, a reader that is gone or does not keep up cost lines, never
 * the process, which would end by an error that nobody listens to (pino's own destination then never ends at all, as it tries
 * to write for ever). Lines are written again as soon as that works, and the log then says how many were lost.
 */
export function logDestination(fd: 1 | 2): DestinationStream {
  const there = destinations.get(fd)
  if (there !== undefined) return there
  const made = new LogDestination(fd)
  destinations.set(fd, made)
  process.once('exit', () => made.end())
  return made
}

/** Lines of a log on a file descriptor, written one after the other in the background. */
export class LogDestination implements DestinationStream {
  readonly #fd: number
  #waiting = ''
  /** What is being written. */
  #bytes: Buffer = Buffer.alloc(0)
  #isWriting = false
  #retry: NodeJS.Timeout | undefined
  #lost = 0

  constructor(fd: number) {
    this.#fd = fd
  }

  write(line: string): void {
    if (this.#waiting.length + line.length > MOST) this.#lost++
    else this.#waiting += line
    if (!this.#isWriting && this.#retry === undefined) this.#next()
  }

  /** Writes what still waits, as far as that works at once. */
  end(): void {
    // What is being written is written by Node before it ends.
    if (this.#isWriting) this.#bytes = Buffer.alloc(0)
    let rest = Buffer.concat([this.#bytes, this.#take()])
    try {
      while (rest.length > 0) rest = rest.subarray(writeSync(this.#fd, rest))
    } catch {
      // The process ends, and there is nowhere else to say so.
    }
  }

  #next(): void {
    if (this.#bytes.length === 0) this.#bytes = this.#take()
    this.#isWriting = this.#bytes.length > 0
    if (!this.#isWriting) return
    write(this.#fd, this.#bytes, (error, written) => {
      this.#isWriting = false
      if (error !== null) {
        this.#retry = setTimeout(() => this.#again(), RETRY_MS).unref()
        return
      }
      this.#bytes = this.#bytes.subarray(written)
      this.#next()
    })
  }

  #again(): void {
    this.#retry = undefined
    this.#next()
  }

  #take(): Buffer {
    const lines = this.#waiting
    this.#waiting = ''
    if (this.#lost === 0) return Buffer.from(lines)
    const said = { level: 50, time: Date.now(), lost: this.#lost, msg: 'lines of the log could not be written, and are lost' }
    this.#lost = 0
    return Buffer.from(`${lines}${JSON.stringify(said)}\n`)
  }
}
