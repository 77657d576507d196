import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { auditThroughFolder, type FolderSinkOptions } from '@meshguard/core/node'
import { afterEach, beforeEach, expect, type MockInstance, vi } from 'vitest'
import { FROM_INPUT, nodeProgram } from '../node-program.js'
import { type Script, type ScriptedGateway, scriptGateway } from '../sources/scripted-gateway.js'
import { allow } from './events.js'

export const accepted = { status: 202, body: { accepted: 1 } }
const down = { status: 503, body: '' }

export const entriesOf = (body: string) => (JSON.parse(body) as { entries: { id: string; traceId: string }[] }).entries

/** Waits until something holds, for long on a busy machine. */
export const eventually = <T>(of: () => T): ReturnType<typeof expect.poll<T>> =>
  expect.poll(of, { timeout: 10_000, interval: 5 })

/** A folder for the audit, made anew for each test of a file, and what is said on the console. */
export function useFolder() {
  const open: { close(): Promise<void> }[] = []
  const at = { folder: '', log: undefined as unknown as MockInstance }

  beforeEach(async () => {
    at.folder = join(await mkdtemp(join(tmpdir(), 'meshguard-audit-')), 'queue')
    at.log = vi.spyOn(console, 'error').mockImplementation(() => undefined)
  })
  afterEach(async () => {
    for (const one of open.splice(0)) await one.close()
    await rm(join(at.folder, '..'), { recursive: true, force: true })
    at.log.mockRestore()
  })

  async function script(answer: Script): Promise<ScriptedGateway> {
    const gateway = await scriptGateway(answer)
    open.push(gateway)
    return gateway
  }

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

  /** Another process over the same folder, that has recorded 500 decisions by now. */
  async function startOther(url: string, then: 'stay' | 'leave' = 'stay') {
    const program = `
      import { auditThroughFolder } from '@meshguard/core/node'
      const sink = auditThroughFolder(${JSON.stringify(at.folder)}, { url: ${JSON.stringify(url)}, token: 'msvc_x' })
      const event = ${JSON.stringify(allow('trace'))}
      for (let i = 0; i < 500; i++) sink.record({ ...event, traceId: 'trace-' + i })
      setTimeout(() => console.log('written'), 300)
      ${then === 'stay' ? 'setInterval(() => undefined, 1000)' : ''}`
    const child = spawn(process.execPath, FROM_INPUT, { stdio: ['pipe', 'pipe', 'ignore'] })
    child.stdin.end(await nodeProgram(program))
    await once(child.stdout, 'data')
    return child
  }

  const start = (url: string, options: Partial<FolderSinkOptions> = {}) =>
    auditThroughFolder(at.folder, { url, token: 'msvc_service', ...options })
  return { at, script, start, startLog, startOther }
}
