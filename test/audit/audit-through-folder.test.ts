import { once } from 'node:events'
import { rmSync } from 'node:fs'
import { chmod, mkdir, open as openFile, readdir, readFile, rm, rmdir, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, it, onTestFinished, vi } from 'vitest'
import { allow, decision, deny, outcome } from './events.js'
import { accepted, entriesOf, eventually, useFolder } from './folder-world.js'

const NOTHING = { allowed: 0, denied: 0, outcomes: 0 }
const { at, script, start, startLog, startOther } = useFolder()

/** How many decisions wait in a folder. */
async function linesIn(path: string): Promise<number> {
  const files = (await readdir(path)).filter((name) => name.endsWith('.jsonl'))
  const texts = await Promise.all(files.map((name) => readFile(join(path, name), 'utf8')))
  return texts.join('').split('\n').length - 1
}

describe('auditThroughFolder', () => {
  it('ships decisions in order, leaves outcomes out and nothing behind', async () => {
    const gateway = await startLog()
    const sink = start(gateway.url)
    const traces = Array.from({ length: 2500 }, (_, i) => `trace-${i}`)
    for (const trace of traces) sink.record(allow(trace))
    sink.record(outcome)
    await eventually(() => gateway.traces().length).toBe(2500)
    sink.record(deny('trace-last'))
    await Promise.all([sink.close(), sink.close()])
    await sink.close()
    expect(gateway.traces()).toEqual([...traces, 'trace-last'])
    expect(await readdir(at.folder)).toEqual([])
    expect(sink.dropped).toEqual(NOTHING)
    expect(at.log).not.toHaveBeenCalled()
  })

  it('keeps for the next process what could not be shipped, for its owner alone', async () => {
    const gateway = await startLog()
    gateway.up(false)
    const sink = start(gateway.url)
    for (let i = 0; i < 9000; i++) {
      sink.record(allow(`trace-${i}`))
      if (i % 1000 === 999) await eventually(() => linesIn(at.folder)).toBe(i + 1)
    }
    await sink.close()
    expect(sink.dropped, 'nothing is lost').toEqual(NOTHING)
    const files = await readdir(at.folder)
    expect(files.length, 'files of a megabyte or so').toBeGreaterThan(2)
    const [file = ''] = files
    expect((await stat(join(at.folder, file))).mode & 0o777).toBe(0o600)
    expect((await stat(at.folder)).mode & 0o777).toBe(0o700)
    gateway.up(true)
    const next = start(gateway.url)
    next.record(allow('trace-9000'))
    await next.close()
    expect(gateway.traces()).toEqual(Array.from({ length: 9001 }, (_, i) => `trace-${i}`))
    expect(await readdir(at.folder)).toEqual([])
  })

  it('ships again under the same ids what may have arrived', async () => {
    const seen: string[][] = []
    const gateway = await script(({ body }, response) => {
      seen.push(entriesOf(body).map(({ id }) => id))
      if (seen.length > 1) return accepted
      response.destroy()
      return undefined
    })
    const sink = start(gateway.url)
    for (let i = 0; i < 5; i++) sink.record(allow(`trace-${i}`))
    await eventually(() => seen.length).toBe(2)
    await sink.close()
    expect(seen[1]).toEqual(seen[0])
  })

  it.each([2, 3])('writes again under the same ids what may not have reached the disk (%i lines)', async (lines) => {
    const gateway = await startLog()
    gateway.up(false)
    const sink = start(gateway.url, { onFull: 'deny' })
    const handle = await openFile(join(at.folder, 'any'), 'w')
    await rm(join(at.folder, 'any'))
    const datasync = vi.spyOn(Object.getPrototypeOf(handle), 'datasync').mockRejectedValueOnce(new Error('EIO'))
    const truncate = vi.spyOn(Object.getPrototypeOf(handle), 'truncate')
    if (lines === 3) truncate.mockRejectedValueOnce(new Error('EIO'))
    onTestFinished(() => {
      datasync.mockRestore()
      truncate.mockRestore()
    })
    await handle.close()
    sink.record(allow('trace-1'))
    await eventually(() => at.log.mock.calls.flat().join()).toMatch(/EIO/)
    sink.record(allow('trace-2'))
    await eventually(() => linesIn(at.folder)).toBe(lines)
    gateway.up(true)
    await sink.close()
    expect(datasync).toHaveBeenCalledTimes(2)
    expect(gateway.traces()).toEqual(['trace-1', 'trace-2'])
    expect(sink.dropped).toEqual(NOTHING)
  })

  it('leaves neither torn lines nor empty files behind while the disk is full, counts what is lost, and goes on afterwards', async () => {
    const gateway = await startLog()
    gateway.up(false)
    const sink = start(gateway.url)
    sink.record(allow('trace-before'))
    await eventually(() => linesIn(at.folder)).toBe(1)
    const handle = await openFile(join(at.folder, '..', 'any'), 'w')
    const file = Object.getPrototypeOf(handle) as typeof handle
    await handle.close()
    const { writeFile: write } = file
    const full = vi.spyOn(file, 'writeFile').mockImplementation(async function (this: typeof handle, bytes) {
      await write.call(this, (bytes as Uint8Array).subarray(0, 10))
      throw new Error('ENOSPC: no space left on device, write')
    })
    onTestFinished(() => full.mockRestore())
    for (let lost = 1; lost <= 20; lost++) {
      sink.record(allow(`trace-lost-${lost}`))
      await eventually(() => sink.dropped.allowed).toBe(lost)
    }
    full.mockRestore()
    sink.record(allow('trace-after'))
    await eventually(() => linesIn(at.folder)).toBe(2)
    expect((await readdir(at.folder)).filter((name) => name.endsWith('.jsonl')).length).toBeLessThanOrEqual(2)
    gateway.up(true)
    await sink.close()
    expect(gateway.traces()).toEqual(['trace-before', 'trace-after'])
    expect(at.log.mock.calls.flat().join()).not.toMatch(/torn/)
    expect(await readdir(at.folder)).toEqual([])
  })

  it('counts what the gateway does not take, and goes on with the rest', async () => {
    const gateway = await script(({ body }) => (body.includes('trace-bad') ? { status: 400, body: '' } : accepted))
    const sink = start(gateway.url)
    for (const trace of ['trace-1', 'trace-bad', 'trace-2']) sink.record(trace === 'trace-bad' ? deny(trace) : allow(trace))
    sink.record(decision({ traceId: 'trace-bad-2', decision: 'deny', enforced: false }))
    await sink.close()
    expect(sink.dropped, 'one was only recorded, and went on').toEqual({ allowed: 1, denied: 1, outcomes: 0 })
    expect(at.log.mock.calls.flat().join()).toMatch(/does not take a decision/)
    expect(await readdir(at.folder)).toEqual([])
  })

  it('tries what it could not read again when it is closed', async () => {
    const gateway = await startLog()
    const path = join(at.folder, '000000000001.jsonl')
    await mkdir(path, { recursive: true })
    const sink = start(gateway.url)
    await eventually(() => at.log.mock.calls.flat().join()).toMatch(/cannot be shipped: EISDIR/)
    await rmdir(path)
    await writeFile(path, `${JSON.stringify({ id: 'entry-1', traceId: 'trace-1' })}\n`)
    await sink.close()
    expect(gateway.traces()).toEqual(['trace-1'])
  })

  it('goes on when somebody removes what waits', async () => {
    const gateway = await startLog()
    gateway.up(false)
    const before = start(gateway.url)
    before.record(allow('trace-removed'))
    await before.close()
    const sink = start(gateway.url)
    rmSync(join(at.folder, '000000000001.jsonl'))
    gateway.up(true)
    sink.record(allow('trace-1'))
    await eventually(() => gateway.traces()).toEqual(['trace-1'])
    await sink.close()
    expect(at.log.mock.calls.flat().join()).toMatch(/000000000001\.jsonl was removed by somebody else/)
  })

  it('removes nothing that another process has added while a file was shipped', async () => {
    const gateway = await startLog()
    gateway.up(false)
    const before = start(gateway.url)
    before.record(allow('trace-1'))
    await before.close()
    const path = join(at.folder, '000000000001.jsonl')
    const sink = start(gateway.url)
    await eventually(() => at.log.mock.calls.flat().join()).toMatch(/held up/)
    await writeFile(path, `${JSON.stringify({ id: 'entry-2', traceId: 'trace-2' })}\n`, { flag: 'a' })
    gateway.up(true)
    await eventually(() => gateway.traces()).toEqual(['trace-1', 'trace-2'])
    await sink.close()
    expect(await readdir(at.folder)).toEqual([])
  })

  it('leaves a torn line out, and says so', async () => {
    const gateway = await startLog()
    gateway.up(false)
    const before = start(gateway.url)
    before.record(allow('trace-1'))
    await before.close()
    const [file = ''] = await readdir(at.folder)
    await writeFile(join(at.folder, file), '{"id":"x","traceId":"tra', { flag: 'a' })
    gateway.up(true)
    await start(gateway.url).close()
    expect(gateway.traces()).toEqual(['trace-1'])
    expect(at.log.mock.calls.flat().join()).toMatch(/a torn line/)
    expect(await readdir(at.folder)).toEqual([])
  })

  it('is bounded: what is too much is lost and counted, or refused', async () => {
    const gateway = await startLog()
    gateway.up(false)
    for (const onFull of ['drop', 'deny'] as const) {
      const sink = start(gateway.url, { maxBytes: 1_000_000, onFull, capacity: 100 })
      let refused = 0
      for (let i = 0; i < 12_000; i++) {
        try {
          sink.record(allow(`trace-${i}`))
        } catch {
          refused++
        }
        if (i % 100 === 99) await new Promise((resolve) => setImmediate(resolve))
      }
      await sink.close()
      const waiting = await Promise.all((await readdir(at.folder)).map((file) => stat(join(at.folder, file))))
      expect(waiting.reduce((sum, { size }) => sum + size, 0)).toBeLessThanOrEqual(1_000_000)
      expect(onFull === 'drop' ? sink.dropped.allowed : refused).toBeGreaterThan(5000)
    }
  }, 20_000)

  it('loses nothing that was on disk when its process is killed', async () => {
    const gateway = await startLog()
    gateway.up(false)
    const child = await startOther(gateway.url)
    child.kill('SIGKILL')
    await once(child, 'exit')
    gateway.up(true)
    await start(gateway.url).close()
    expect(new Set(gateway.traces())).toEqual(new Set(Array.from({ length: 500 }, (_, i) => `trace-${i}`)))
  }, 20_000)

  it('refuses options that are wrong, and a folder that cannot be used', async () => {
    const url = 'http://127.0.0.1:1'
    for (const [options, name] of [
      [{ url: 'x' }, 'url'],
      [{ token: '' }, 'token'],
      [{ timeoutMs: 0 }, 'timeoutMs'],
      [{ maxBytes: 1 }, 'maxBytes'],
      [{ capacity: 0 }, 'capacity'],
    ] as const) {
      expect(() => start(url, options)).toThrow(new RegExp(`auditThroughFolder: option "${name}"`))
    }
    await writeFile(at.folder, 'a file')
    expect(() => start(url)).toThrow(/cannot use the folder/)
    await chmod(at.folder, 0o600)
  })
})
