import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { rmSync } from 'node:fs'
import { chmod, mkdtemp, readdir, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { auditThroughFolder, type FolderSinkOptions } from '@meshguard/core/node'
import { afterEach, beforeEach, describe, expect, it, type MockInstance, vi } from 'vitest'
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

describe('auditThroughFolder', () => {
  it('ships decisions in order, leaves outcomes out and nothing behind', async () => {
    const gateway = await startLog()
    const sink = start(gateway.url)
    const traces = Array.from({ length: 2500 }, (_, i) => `trace-${i}`)
    for (const trace of traces) sink.record(allow(trace))
    sink.record(outcome)
    await expect.poll(() => gateway.traces().length).toBe(2500)
    sink.record(deny('trace-last'))
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
    for (let i = 0; i < 20; i++) sink.record(allow(`trace-${i}`))
    await sink.close()
    expect(sink.dropped, 'nothing is lost').toEqual(NOTHING)
    const [file = ''] = await readdir(folder)
    expect((await stat(join(folder, file))).mode & 0o777).toBe(0o600)
    expect((await stat(folder)).mode & 0o777).toBe(0o700)
    gateway.up(true)
    const next = start(gateway.url)
    next.record(allow('trace-20'))
    await next.close()
    expect(gateway.traces()).toEqual(Array.from({ length: 21 }, (_, i) => `trace-${i}`))
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
    await expect.poll(() => seen.length, { timeout: 3000 }).toBe(2)
    await sink.close()
    expect(seen[1]).toEqual(seen[0])
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
    await expect.poll(() => gateway.traces()).toEqual(['trace-1'])
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
    await expect.poll(() => log.mock.calls.flat().join()).toMatch(/held up/)
    await writeFile(path, `${JSON.stringify({ id: 'entry-2', traceId: 'trace-2' })}\n`, { flag: 'a' })
    gateway.up(true)
    await expect.poll(() => gateway.traces()).toEqual(['trace-1', 'trace-2'])
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
    const program = `
      import { auditThroughFolder } from '@meshguard/core/node'
      import { readdirSync } from 'node:fs'
      const sink = auditThroughFolder(${JSON.stringify(folder)}, { url: ${JSON.stringify(gateway.url)}, token: 'msvc_x' })
      const event = ${JSON.stringify(allow('trace'))}
      for (let i = 0; i < 500; i++) sink.record({ ...event, traceId: 'trace-' + i })
      setTimeout(() => console.log('written'), 300)
      setInterval(() => undefined, 1000)`
    const child = spawn(process.execPath, FROM_INPUT, { stdio: ['pipe', 'pipe', 'ignore'] })
    child.stdin.end(await nodeProgram(program))
    await once(child.stdout, 'data')
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
    await writeFile(folder, 'a file')
    expect(() => start(url)).toThrow(/cannot use the folder/)
    await chmod(folder, 0o600)
  })
})
