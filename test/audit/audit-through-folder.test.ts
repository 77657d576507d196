import { spawn } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { rmSync } from 'node:fs'
import { chmod, mkdtemp, open as openFile, readdir, readFile, rm, stat, utimes, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { auditThroughFolder, type FolderSinkOptions } from '@meshguard/core/node'
import { afterEach, beforeEach, describe, expect, it, type MockInstance, onTestFinished, vi } from 'vitest'
import { FROM_INPUT, nodeProgram } from '../node-program.js'
import { type Script, type ScriptedGateway, scriptGateway } from '../sources/scripted-gateway.js'
import { allow, deny, outcome } from './events.js'

const token = 'msvc_service'
const accepted = { status: 202, body: { accepted: 1 } }
const down = { status: 503, body: '' }

let folder: string
let log: MockInstance
const open: { close(): Promise<void> }[] = []

beforeEach(async () => {
  folder = join(await mkdtemp(join(tmpdir(), 'meshguard-audit-')), 'queue')
  log = vi.spyOn(console, 'error').mockImplementation(() => undefined)
})
afterEach(async () => {
  for (const one of open.splice(0)) await one.close()
  await rm(join(folder, '..'), { recursive: true, force: true })
  log.mockRestore()
})

async function script(answer: Script): Promise<ScriptedGateway> {
  const gateway = await scriptGateway(answer)
  open.push(gateway)
  return gateway
}
const start = (url: string, options: Partial<FolderSinkOptions> = {}) => auditThroughFolder(folder, { url, token, ...options })
const entriesOf = (body: string) => (JSON.parse(body) as { entries: { id: string; traceId: string }[] }).entries
const NOTHING = { allowed: 0, denied: 0, outcomes: 0 }

/** A gateway that takes each entry once, when it is told to. */
async function startLog() {
  const taken = new Map<string, string>()
  let isUp = true
  const gateway = await script(({ body }) => {
    if (!isUp) return down
    for (const { id, traceId } of entriesOf(body)) taken.set(id, traceId)
    return accepted
  })
  const up = (now: boolean): void => {
    isUp = now
  }
  return { ...gateway, traces: () => [...taken.values()], up }
}

/** Waits until something holds, for long on a busy machine. */
const eventually = <T>(of: () => T) => expect.poll(of, { timeout: 10_000, interval: 5 })

/** How many decisions wait in a folder. */
async function linesIn(path: string): Promise<number> {
  const files = (await readdir(path)).filter((name) => name.endsWith('.jsonl'))
  const texts = await Promise.all(files.map((name) => readFile(join(path, name), 'utf8')))
  return texts.join('').split('\n').length - 1
}

/** Another process over the same folder, that has recorded 500 decisions by now. */
async function startOther(url: string) {
  const program = `
    import { auditThroughFolder } from '@meshguard/core/node'
    const sink = auditThroughFolder(${JSON.stringify(folder)}, { url: ${JSON.stringify(url)}, token: 'msvc_x' })
    const event = ${JSON.stringify(allow('trace'))}
    for (let i = 0; i < 500; i++) sink.record({ ...event, traceId: 'trace-' + i })
    setTimeout(() => console.log('written'), 300)
    setInterval(() => undefined, 1000)`
  const child = spawn(process.execPath, FROM_INPUT, { stdio: ['pipe', 'pipe', 'ignore'] })
  child.stdin.end(await nodeProgram(program))
  await once(child.stdout, 'data')
  return child
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
    expect(await readdir(folder)).toEqual([])
    expect(sink.dropped).toEqual(NOTHING)
    expect(log).not.toHaveBeenCalled()
  })

  it('keeps for the next process what could not be shipped, for its owner alone', async () => {
    const gateway = await startLog()
    gateway.up(false)
    const sink = start(gateway.url)
    for (let i = 0; i < 9000; i++) {
      sink.record(allow(`trace-${i}`))
      if (i % 1000 === 999) await eventually(() => linesIn(folder)).toBe(i + 1)
    }
    await sink.close()
    expect(sink.dropped, 'nothing is lost').toEqual(NOTHING)
    const files = await readdir(folder)
    expect(files.length, 'files of a megabyte or so').toBeGreaterThan(2)
    const [file = ''] = files
    expect((await stat(join(folder, file))).mode & 0o777).toBe(0o600)
    expect((await stat(folder)).mode & 0o777).toBe(0o700)
    gateway.up(true)
    const next = start(gateway.url)
    next.record(allow('trace-9000'))
    await next.close()
    expect(gateway.traces()).toEqual(Array.from({ length: 9001 }, (_, i) => `trace-${i}`))
    expect(await readdir(folder)).toEqual([])
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

  it('writes again under the same ids what may not have reached the disk', async () => {
    const gateway = await startLog()
    gateway.up(false)
    const sink = start(gateway.url, { onFull: 'deny' })
    const handle = await openFile(join(folder, 'any'), 'w')
    await rm(join(folder, 'any'))
    const datasync = vi.spyOn(Object.getPrototypeOf(handle), 'datasync').mockRejectedValueOnce(new Error('EIO'))
    onTestFinished(() => datasync.mockRestore())
    await handle.close()
    sink.record(allow('trace-1'))
    await eventually(() => log.mock.calls.flat().join()).toMatch(/EIO/)
    sink.record(allow('trace-2'))
    await eventually(() => linesIn(folder)).toBe(2)
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
    await eventually(() => linesIn(folder)).toBe(1)
    const handle = await openFile(join(folder, '..', 'any'), 'w')
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
    await eventually(() => linesIn(folder)).toBe(2)
    expect((await readdir(folder)).filter((name) => name.endsWith('.jsonl')).length).toBeLessThanOrEqual(2)
    gateway.up(true)
    await sink.close()
    expect(gateway.traces()).toEqual(['trace-before', 'trace-after'])
    expect(log.mock.calls.flat().join()).not.toMatch(/torn/)
    expect(await readdir(folder)).toEqual([])
  })

  it('counts what the gateway does not take, and goes on with the rest', async () => {
    const gateway = await script(({ body }) => (body.includes('trace-bad') ? { status: 400, body: '' } : accepted))
    const sink = start(gateway.url)
    for (const trace of ['trace-1', 'trace-bad', 'trace-2']) sink.record(trace === 'trace-bad' ? deny(trace) : allow(trace))
    await sink.close()
    expect(sink.dropped).toEqual({ ...NOTHING, denied: 1 })
    expect(log.mock.calls.flat().join()).toMatch(/does not take a decision/)
    expect(await readdir(folder)).toEqual([])
  })

  it('goes on when somebody removes what waits', async () => {
    const gateway = await startLog()
    gateway.up(false)
    const before = start(gateway.url)
    before.record(allow('trace-removed'))
    await before.close()
    const sink = start(gateway.url)
    rmSync(join(folder, '000000000001.jsonl'))
    gateway.up(true)
    sink.record(allow('trace-1'))
    await eventually(() => gateway.traces()).toEqual(['trace-1'])
    await sink.close()
    expect(log.mock.calls.flat().join()).toMatch(/000000000001\.jsonl was removed by somebody else/)
  })

  it('removes nothing that another process has added while a file was shipped', async () => {
    const gateway = await startLog()
    gateway.up(false)
    const before = start(gateway.url)
    before.record(allow('trace-1'))
    await before.close()
    const path = join(folder, '000000000001.jsonl')
    const sink = start(gateway.url)
    await eventually(() => log.mock.calls.flat().join()).toMatch(/held up/)
    await writeFile(path, `${JSON.stringify({ id: 'entry-2', traceId: 'trace-2' })}\n`, { flag: 'a' })
    gateway.up(true)
    await eventually(() => gateway.traces()).toEqual(['trace-1', 'trace-2'])
    await sink.close()
    expect(await readdir(folder)).toEqual([])
  })

  it('leaves a torn line out, and says so', async () => {
    const gateway = await startLog()
    gateway.up(false)
    const before = start(gateway.url)
    before.record(allow('trace-1'))
    await before.close()
    const [file = ''] = await readdir(folder)
    await writeFile(join(folder, file), '{"id":"x","traceId":"tra', { flag: 'a' })
    gateway.up(true)
    await start(gateway.url).close()
    expect(gateway.traces()).toEqual(['trace-1'])
    expect(log.mock.calls.flat().join()).toMatch(/a torn line/)
    expect(await readdir(folder)).toEqual([])
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
      const waiting = await Promise.all((await readdir(folder)).map((file) => stat(join(folder, file))))
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

  it('shares its folder with nobody, in this process or another, as long as that lives', async () => {
    const gateway = await startLog()
    gateway.up(false)
    const first = start(gateway.url)
    first.record(allow('trace-1'))
    const inUse = `cannot use the folder ${JSON.stringify(folder)}: process ${process.pid}`
    expect(() => start(gateway.url)).toThrow(inUse)
    expect(() => start(gateway.url)).toThrow(/give each process a folder of its own/)
    await first.close()
    const child = await startOther(gateway.url)
    expect(() => start(gateway.url)).toThrow(`process ${child.pid}`)
    child.kill('SIGKILL')
    await once(child, 'exit')
    gateway.up(true)
    await start(gateway.url).close()
    expect(new Set(gateway.traces())).toEqual(new Set(['trace-1', ...Array.from({ length: 500 }, (_, i) => `trace-${i}`)]))
    expect(await readdir(folder), 'nor a claim').toEqual([])
  }, 20_000)

  it.runIf(process.platform === 'linux')('takes over from a process whose id another one has by now', async () => {
    const gateway = await startLog()
    const before = start(gateway.url)
    const [claim = ''] = await readdir(folder)
    const own = JSON.parse(await readFile(join(folder, claim), 'utf8')) as object
    await before.close()
    const leave = (claimant: object) => writeFile(join(folder, claim), JSON.stringify({ ...own, ...claimant }))
    await leave({})
    expect(() => start(gateway.url), 'it is this process').toThrow(`process ${process.pid}`)
    await leave({ startedAt: '1' })
    await start(gateway.url).close()
    expect(await readdir(folder)).toEqual([])
  })

  it.runIf(process.platform === 'linux')(
    'takes over from a process that has ended and waits for its parent to notice',
    async () => {
      const gateway = await startLog()
      const before = start(gateway.url)
      const [claim = ''] = await readdir(folder)
      const own = JSON.parse(await readFile(join(folder, claim), 'utf8')) as object
      await before.close()
      const parent = spawn('sh', ['-c', 'sleep 0.3 & echo $!; exec sleep 60'], { stdio: ['ignore', 'pipe', 'ignore'] })
      try {
        const pid = Number(String((await once(parent.stdout, 'data'))[0]))
        const stat = () => readFile(`/proc/${pid}/stat`, 'utf8').then((text) => text.split(') ')[1]?.split(' ') ?? [])
        await eventually(async () => (await stat())[0]).toBe('Z')
        await writeFile(join(folder, claim), JSON.stringify({ ...own, pid, startedAt: (await stat())[19] }))
        await start(gateway.url).close()
        expect(await readdir(folder)).toEqual([])
      } finally {
        parent.kill('SIGKILL')
      }
    },
  )

  it('takes over from another machine once nothing was heard of it for ten seconds', async () => {
    const gateway = await startLog()
    await start(gateway.url).close()
    const claim = join(folder, `claim-${randomUUID()}`)
    for (const content of [JSON.stringify({ pid: 1, place: 'elsewhere' }), '', '{"pid":']) {
      await writeFile(claim, content)
      expect(() => start(gateway.url)).toThrow(
        content.includes('elsewhere') ? 'process 1 (elsewhere) uses it' : 'another process',
      )
      const then = new Date(Date.now() - 11_000)
      await utimes(claim, then, then)
      await start(gateway.url).close()
      expect(await readdir(folder)).toEqual([])
    }
  })

  it('beats, so that another machine knows that it is alive', async () => {
    const gateway = await startLog()
    vi.useFakeTimers({ toFake: ['setInterval'] })
    onTestFinished(() => void vi.useRealTimers())
    const sink = start(gateway.url)
    const [claim = ''] = await readdir(folder)
    const beforehand = await readFile(join(folder, claim), 'utf8')
    const then = new Date(Date.now() - 60_000)
    await utimes(join(folder, claim), then, then)
    vi.advanceTimersByTime(2000)
    await eventually(async () => (await stat(join(folder, claim))).mtimeMs).toBeGreaterThan(then.getTime() + 30_000)
    expect(await readFile(join(folder, claim), 'utf8')).toBe(beforehand)
    await sink.close()
  })

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
    await writeFile(folder, 'a file')
    expect(() => start(url)).toThrow(/cannot use the folder/)
    await chmod(folder, 0o600)
  })
})
