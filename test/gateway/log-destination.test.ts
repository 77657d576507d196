/** A log whose reader stops, or whose disk is full. */
import { execFileSync } from 'node:child_process'
import { closeSync, constants, openSync, readSync, writeSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import pino from 'pino'
import { describe, expect, onTestFinished, test } from 'vitest'
import { LogDestination } from '../../packages/gateway/src/log-destination.js'

/** A pipe that nobody reads yet, already full. */
async function fullPipe(): Promise<{ fd: number; read(): string }> {
  const folder = await mkdtemp(join(tmpdir(), 'meshguard-log-'))
  const path = join(folder, 'pipe')
  execFileSync('mkfifo', [path])
  const fd = openSync(path, constants.O_RDWR | constants.O_NONBLOCK)
  onTestFinished(async () => {
    closeSync(fd)
    await rm(folder, { recursive: true })
  })
  const line = Buffer.from(`${'.'.repeat(1023)}\n`)
  const isFull = () => {
    try {
      return writeSync(fd, line) < line.length
    } catch {
      return true
    }
  }
  while (!isFull());
  const bytes = Buffer.alloc(65_536)
  const read = () => {
    try {
      return bytes.toString('utf8', 0, readSync(fd, bytes))
    } catch {
      return ''
    }
  }
  return { fd, read }
}

describe('What cannot be logged', () => {
  test('is written when the reader goes on: whole lines, in order, and how many were lost', async () => {
    const pipe = await fullPipe()
    const log = pino({}, new LogDestination(pipe.fd))
    const text = 'x'.repeat(10_000)
    for (let nr = 0; nr < 300; nr++) log.info({ nr, text })
    let read = ''
    await expect
      .poll(
        () => {
          for (let more = pipe.read(); more !== ''; more = pipe.read()) read += more
          return read
        },
        { timeout: 10_000, interval: 5 },
      )
      .toMatch(/"lost":\d+.*\n/)
    const lines = read.split('\n').filter((line) => line.startsWith('{'))
    const entries = lines.map((line) => JSON.parse(line))
    const lost = entries.at(-1).lost
    expect(entries.slice(0, -1).map(({ nr }) => nr)).toEqual(Array.from({ length: 300 - lost }, (_, nr) => nr))
    log.info('heard again')
    await expect.poll(() => pipe.read(), { timeout: 10_000 }).toContain('heard again')
  })

  test('is given up when the process ends, which it does', async () => {
    const fd = openSync('/dev/full', 'w')
    onTestFinished(() => closeSync(fd))
    const destination = new LogDestination(fd)
    destination.write('first\n')
    destination.write('second\n')
    destination.end()
    await new Promise((resolve) => setTimeout(resolve, 20))
    destination.write('third\n')
    destination.end()
  })
})
