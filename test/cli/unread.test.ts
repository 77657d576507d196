/** A server goes on when what it prints and logs cannot be written: the disk is full, or the reader is gone. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, openSync } from 'node:fs'
import { connect, createServer } from 'node:net'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { build } from '../e2e/build.js'
import { BIN, openFolder } from './command.js'

let folder: string
let close: () => Promise<void>
const full = openSync('/dev/full', 'w')
const started: ReturnType<typeof spawn>[] = []

beforeAll(async () => {
  await build()
  const opened = await openFolder()
  folder = opened.folder
  close = opened.close
}, 180_000)
afterEach(async () => {
  for (const child of started.splice(0)) if (child.kill('SIGKILL')) await once(child, 'exit')
})
afterAll(async () => {
  closeSync(full)
  await close()
})

const WAIT = { timeout: 20_000, interval: 50 }

function start(name: string, port: number, stdout: 'pipe' | number, stderr: 'ignore' | number) {
  const DATA_DIR = join(folder, name)
  const settings = { PORT: String(port), DATA_DIR, ADMIN_TOKEN: 'x'.repeat(32), MODE: 'enforce', LOG_LEVEL: 'trace' }
  const child = spawn(process.execPath, [BIN, 'serve'], {
    env: { ...process.env, ...settings },
    stdio: ['ignore', stdout, stderr],
  })
  started.push(child)
  return child
}

const healthAt = (port: number) =>
  fetch(`http://127.0.0.1:${port}/health`).then(
    ({ status }) => status,
    () => undefined,
  )

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as { port: number }
  server.close()
  await once(server, 'close')
  return port
}

describe('A gateway that cannot print or log', () => {
  it('as the disk of stdout and stderr is full starts, serves, and stops when it is told to', async () => {
    const port = await freePort()
    const child = start('full', port, full, full)
    await expect.poll(() => healthAt(port), WAIT).toBe(200)
    // A body that is cut off is logged.
    const socket = connect(port, '127.0.0.1').on('error', () => undefined)
    socket.write('POST /admin/agents HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\n{')
    await new Promise((resolve) => setTimeout(resolve, 100))
    socket.destroy()
    expect(await healthAt(port)).toBe(200)
    child.kill('SIGTERM')
    expect(await once(child, 'exit')).toEqual([0, null])
  }, 60_000)

  it('as its reader is gone serves on, and stops when it is told to', async () => {
    const port = await freePort()
    const child = start('unread', port, 'pipe', 'ignore')
    await once(child.stdout as NodeJS.ReadableStream, 'data')
    child.stdout?.destroy()
    await expect.poll(() => healthAt(port), WAIT).toBe(200)
    child.kill('SIGTERM')
    expect(await once(child, 'exit')).toEqual([0, null])
  }, 60_000)
})
