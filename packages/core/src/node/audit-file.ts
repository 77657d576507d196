import { close, fstatSync, fsync, openSync, readSync, write } from 'node:fs'
import { promisify } from 'node:util'
import { type BoundedSink, boundedSink, checkQueueOptions, type QueueOptions } from '../audit.js'
import { serialiseEvent } from '../audit-line.js'
import type { AuditEvent } from '../types.js'

/** Options of {@link auditToFile}. */
export interface FileSinkOptions extends QueueOptions {
  /** Permissions of the file if it is made now. Default `0o600`; what the agents did is nobody else's business. */
  readonly mode?: number | undefined
}

/**
 * Appends one line of JSON for each event, as `serialiseEvent` writes it.
 *
 * The file is opened now, so that a wrong path is an error at the start. Events go to the operating system in batches, one
 * write at a time; a killed process loses what still waited and leaves at most one torn line, which the next one ends before
 * it writes. Errors of the disk are reported on the console and what they cost is counted. `close` writes what waits, and
 * waits for the disk. The file stays open: rotate it by copying and truncating.
 *
 * @throws TypeError for wrong options, and for a path that cannot be opened for appending.
 *
 * @example
 * ```ts
 * const guard = createGuard({ source, authenticate, audit: auditToFile('./audit.jsonl') })
 * ```
 */
export function auditToFile(path: string, options: FileSinkOptions = {}): BoundedSink {
  if (typeof path !== 'string' || path === '') throw new TypeError('auditToFile: expected the path of a file')
  checkQueueOptions('auditToFile', options, ['mode'])
  const { capacity, onFull, mode = 0o600 } = options
  if (!Number.isInteger(mode) || mode < 0 || mode > 0o777) throw new TypeError('auditToFile: option "mode" must be like 0o600')
  const file = openLog(path, mode)
  const sink = boundedSink({ name: `audit file ${path}`, capacity, onFull, write: (events) => append(file, events) })
  let closing: Promise<void> | undefined
  return {
    record: (event) => sink.record(event),
    get dropped() {
      return sink.dropped
    },
    close: () => {
      closing ??= sink.close().then(() => shut(file))
      return closing
    },
  }
}

interface LogFile {
  readonly fd: number
  readonly isRegular: boolean
  /** The last line has no end. */
  torn: boolean
}

function openLog(path: string, mode: number): LogFile {
  try {
    const fd = openSync(path, 'a+', mode)
    const found = fstatSync(fd)
    const isRegular = found.isFile()
    return { fd, isRegular, torn: isRegular && found.size > 0 && lastByte(fd, found.size) !== LINE_END }
  } catch (cause) {
    const code = cause instanceof Error && 'code' in cause ? cause.code : undefined
    const why = code === 'ENOENT' ? 'its folder does not exist' : String(cause)
    throw new TypeError(`auditToFile: cannot append to ${JSON.stringify(path)}: ${why}`, { cause })
  }
}

const LINE_END = 10

function lastByte(fd: number, size: number): number | undefined {
  const byte = new Uint8Array(1)
  readSync(fd, byte, 0, 1, size - 1)
  return byte[0]
}

const writeSome = promisify(write)

async function append(file: LogFile, events: readonly AuditEvent[]): Promise<void> {
  const lines = events.map((event) => `${serialiseEvent(event)}\n`).join('')
  const bytes = new TextEncoder().encode(file.torn ? `\n${lines}` : lines)
  let done = 0
  try {
    while (done < bytes.length) done += (await writeSome(file.fd, bytes, done)).bytesWritten
  } finally {
    if (done > 0) file.torn = bytes[done - 1] !== LINE_END
  }
}

async function shut({ fd, isRegular }: LogFile): Promise<void> {
  if (isRegular) await promisify(fsync)(fd)
  await promisify(close)(fd)
}
