import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { appendFile, chmod, mkdtemp, readFile, rm, stat, truncate, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { auditToFile } from '@meshguard/core/node'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { FROM_INPUT, nodeProgram } from '../node-program.js'
import { allow, deny, NASTY, outcome } from './events.js'

let folder: string
let path: string

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'audit-'))
  path = join(folder, 'audit.jsonl')
})

afterEach(() => rm(folder, { recursive: true, force: true }))

const linesOf = async (file = path) => (await readFile(file, 'utf8')).split('\n')
const idsOf = async () => (await linesOf()).filter(Boolean).map((line) => JSON.parse(line).traceId)

describe('the audit file', () => {
  it('gets one line of JSON for each event, in order, all of them by the time it is closed', async () => {
    const sink = auditToFile(path)
    const ids = Array.from({ length: 5000 }, (_, i) => `trace-${i}`)
    for (const id of ids) {
      sink.record(allow(id))
      if (id.endsWith('00')) await new Promise(setImmediate)
    }
    await sink.close()
    await sink.close()
    expect(await idsOf()).toEqual(ids)
    expect(sink.dropped).toEqual({ allowed: 0, denied: 0, outcomes: 0 })
  })

  it('is readable by its owner alone, unless told otherwise, and keeps the permissions it has', async () => {
    const modeOf = async (file: string) => (await stat(file)).mode & 0o777
    await auditToFile(path).close()
    expect(await modeOf(path)).toBe(0o600)
    await chmod(path, 0o640)
    await auditToFile(path).close()
    expect(await modeOf(path)).toBe(0o640)
    await auditToFile(join(folder, 'other'), { mode: 0o400 }).close()
    expect(await modeOf(join(folder, 'other'))).toBe(0o400)
  })

  it('keeps what is there, and ends a torn last line before it writes', async () => {
    await writeFile(path, '{"traceId":"before"}\n{"traceId":"to')
    const sink = auditToFile(path)
    sink.record(allow('after'))
    await sink.close()
    expect(await linesOf()).toEqual(['{"traceId":"before"}', '{"traceId":"to', expect.stringContaining('"after"'), ''])
    const again = auditToFile(path)
    again.record(outcome)
    await again.close()
    expect(await linesOf()).toHaveLength(5)
  })

  it('goes on at the end when somebody else appends, or truncates the file', async () => {
    const sink = auditToFile(path)
    sink.record(allow('1'))
    await vi.waitUntil(async () => (await idsOf()).length === 1)
    await appendFile(path, '{"traceId":"other"}\n')
    sink.record(deny('2'))
    await vi.waitUntil(async () => (await idsOf()).length === 3)
    expect(await idsOf()).toEqual(['1', 'other', '2'])
    await truncate(path)
    sink.record(allow('3'))
    await sink.close()
    expect(await idsOf()).toEqual(['3'])
  })

  it('holds one line for one event, whatever an agent writes', async () => {
    const sink = auditToFile(path)
    sink.record(allow(NASTY))
    await sink.close()
    expect(await linesOf()).toHaveLength(2)
    expect(await idsOf()).toEqual([NASTY])
  })

  it('is refused at once when it cannot be opened', () => {
    expect(() => auditToFile(join(folder, 'none', 'audit.jsonl'))).toThrow(/folder does not exist/)
    expect(() => auditToFile(folder)).toThrow(/EISDIR/)
    expect(() => auditToFile(path, { mode: 0o1000 })).toThrow(/"mode"/)
    expect(() => auditToFile(path, { capacity: 1.5 })).toThrow(/"capacity"/)
    expect(() => auditToFile(path, { mod: 0o600 } as never)).toThrow(/"mod"/)
  })

  it.runIf(process.platform === 'linux')('reports a full disk once and counts what it cost', async () => {
    const log = vi.spyOn(console, 'error').mockImplementation(() => {})
    const sink = auditToFile('/dev/full')
    sink.record(allow('1'))
    await vi.waitUntil(() => sink.dropped.allowed === 1)
    sink.record(deny('2'))
    await sink.close()
    expect(sink.dropped).toEqual({ allowed: 1, denied: 1, outcomes: 0 })
    expect(log.mock.calls).toEqual([[expect.stringContaining('ENOSPC')]])
    log.mockRestore()
  })

  it('holds at most one torn line when the process is killed', async () => {
    const program = `
      import { auditToFile } from '@meshguard/core/node'
      const sink = auditToFile(process.argv[2], { capacity: 1_000_000 })
      for (let i = 0; ; i++) {
        sink.record({ type: 'outcome', traceId: 'trace-' + i, ok: true, durationMs: i })
        if (i % 100 === 0) await new Promise(setImmediate)
        if (i === 20_000) console.log('busy')
      }`
    const child = spawn(process.execPath, [...FROM_INPUT, path], { stdio: ['pipe', 'pipe', 'inherit'] })
    child.stdin.end(await nodeProgram(program))
    await once(child.stdout, 'data')
    child.kill('SIGKILL')
    await once(child, 'exit')
    const lines = await linesOf()
    lines.pop()
    expect(lines.length).toBeGreaterThan(1000)
    expect(lines.map((line) => JSON.parse(line).durationMs)).toEqual(lines.map((_, i) => i))
  })
})
