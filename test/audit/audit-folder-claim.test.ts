/** Who may use an audit folder. */
import { spawn } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { mkdir, readdir, readFile, stat, symlink, utimes, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, it, onTestFinished, vi } from 'vitest'
import { allow } from './events.js'
import { eventually, useFolder } from './folder-world.js'

const { at, start, startLog, startOther } = useFolder()

describe('auditThroughFolder', () => {
  it('shares its folder with nobody, in this process or another, as long as that lives', async () => {
    const gateway = await startLog()
    gateway.up(false)
    const first = start(gateway.url)
    first.record(allow('trace-1'))
    const inUse = `cannot use the folder ${JSON.stringify(at.folder)}: process ${process.pid}`
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
    expect(await readdir(at.folder), 'nor a claim').toEqual([])
  }, 20_000)

  it.runIf(process.platform === 'linux')('takes over from a process whose id another one has by now', async () => {
    const gateway = await startLog()
    const before = start(gateway.url)
    const [claim = ''] = await readdir(at.folder)
    const own = JSON.parse(await readFile(join(at.folder, claim), 'utf8')) as object
    await before.close()
    const leave = (claimant: object) => writeFile(join(at.folder, claim), JSON.stringify({ ...own, ...claimant }))
    await leave({})
    expect(() => start(gateway.url), 'it is this process').toThrow(`process ${process.pid}`)
    await leave({ startedAt: '1' })
    await start(gateway.url).close()
    expect(await readdir(at.folder)).toEqual([])
  })

  it.runIf(process.platform === 'linux')(
    'takes over from a process that has ended and waits for its parent to notice',
    async () => {
      const gateway = await startLog()
      const before = start(gateway.url)
      const [claim = ''] = await readdir(at.folder)
      const own = JSON.parse(await readFile(join(at.folder, claim), 'utf8')) as object
      await before.close()
      const parent = spawn('sh', ['-c', 'sleep 0.3 & echo $!; exec sleep 60'], { stdio: ['ignore', 'pipe', 'ignore'] })
      try {
        const pid = Number(String((await once(parent.stdout, 'data'))[0]))
        const stat = () => readFile(`/proc/${pid}/stat`, 'utf8').then((text) => text.split(') ')[1]?.split(' ') ?? [])
        await eventually(async () => (await stat())[0]).toBe('Z')
        await writeFile(join(at.folder, claim), JSON.stringify({ ...own, pid, startedAt: (await stat())[19] }))
        await start(gateway.url).close()
        expect(await readdir(at.folder)).toEqual([])
      } finally {
        parent.kill('SIGKILL')
      }
    },
  )

  it('takes over from another machine once nothing was heard of it for ten seconds', async () => {
    const gateway = await startLog()
    await start(gateway.url).close()
    const claim = join(at.folder, `claim-${randomUUID()}`)
    for (const content of [JSON.stringify({ pid: 1, place: 'elsewhere' }), '', '{"pid":']) {
      await writeFile(claim, content)
      expect(() => start(gateway.url)).toThrow(
        content.includes('elsewhere') ? 'process 1 (elsewhere) uses it' : 'another process',
      )
      const then = new Date(Date.now() - 11_000)
      await utimes(claim, then, then)
      await start(gateway.url).close()
      expect(await readdir(at.folder)).toEqual([])
    }
  })

  it('keeps no process alive, and is over with a process that does not close it', async () => {
    const gateway = await startLog()
    const child = await startOther(gateway.url, 'leave')
    expect((await once(child, 'exit'))[0]).toBe(0)
    await start(gateway.url).close()
    expect(new Set(gateway.traces()).size).toBe(500)
    expect(await readdir(at.folder)).toEqual([])
  })

  it('is over where the folder cannot be read', async () => {
    await mkdir(at.folder)
    await symlink('nowhere', join(at.folder, '000000000001.jsonl'))
    expect(() => start('http://127.0.0.1:1')).toThrow(/cannot use the folder.*ENOENT/)
    expect(await readdir(at.folder)).toEqual(['000000000001.jsonl'])
  })

  it('beats, so that another machine knows that it is alive', async () => {
    const gateway = await startLog()
    vi.useFakeTimers({ toFake: ['setInterval'] })
    onTestFinished(() => void vi.useRealTimers())
    const sink = start(gateway.url)
    const [claim = ''] = await readdir(at.folder)
    const beforehand = await readFile(join(at.folder, claim), 'utf8')
    const then = new Date(Date.now() - 60_000)
    await utimes(join(at.folder, claim), then, then)
    vi.advanceTimersByTime(2000)
    await eventually(async () => (await stat(join(at.folder, claim))).mtimeMs).toBeGreaterThan(then.getTime() + 30_000)
    expect(await readFile(join(at.folder, claim), 'utf8')).toBe(beforehand)
    await sink.close()
  })
})
