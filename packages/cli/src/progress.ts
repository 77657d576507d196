/** A line on stderr that says how far long work has come; only on a terminal. */
export interface Progress {
  /** Replaces the line. */
  say(line: string): void
  /** Takes the line away. */
  end(): void
}

const EVERY_MS = 100

/** Begins a progress line. Silent where stderr is no terminal. */
export function startProgress(line: string): Progress {
  if (!process.stderr.isTTY) return { say: () => {}, end: () => {} }
  let last = 0
  const say = (text: string) => {
    const now = Date.now()
    if (now - last < EVERY_MS) return
    last = now
    process.stderr.write(`\r\x1b[K${text}`)
  }
  say(line)
  return { say, end: () => process.stderr.write('\r\x1b[K') }
}

const UNITS = ['B', 'kB', 'MB', 'GB', 'TB']

/** `12.3 MB`. */
export function size(bytes: number): string {
  const power = bytes < 1000 ? 0 : Math.min(UNITS.length - 1, Math.floor(Math.log10(bytes) / 3))
  return `${power === 0 ? bytes : (bytes / 1000 ** power).toFixed(1)} ${UNITS[power]}`
}
