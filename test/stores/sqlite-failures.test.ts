import { spawnSync } from 'node:child_process'
import { open as openFile, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import Database from 'libsql'
import { describe, expect, it, onTestFinished } from 'vitest'
import { openStore } from '../../packages/gateway/src/store/open-store.js'
import { agent, append, errorOf, numbers, row } from '../contracts/store/spec.js'
import { folder, log, open } from './sqlite.js'

/** Another process's connection that holds the lock for writing until it lets go. */
function lock(path: string): { release(): void } {
  const other = new Database(path)
  other.exec('begin immediate')
  onTestFinished(() => {
    other.close()
  })
  return { release: () => other.exec('rollback') }
}

describe('a database that another process has locked', () => {
  it('refuses what writes, answers what reads, blocks nobody, and works again when it is let go', async () => {
    const path = join(await folder(), 'a.db')
    const store = await open(`sqlite:${path}`)
    await append(store, [row(1)])
    const bucket = { key: 'k', requests: 5, windowMs: 1000 }
    const held = lock(path)
    let turns = 0
    const timer = setInterval(() => turns++, 5)
    const refused = await Promise.all([
      errorOf(append(store, [row(2)])),
      errorOf((async () => store.limiter.take([bucket], 1))()),
      errorOf(store.ping()),
      store.audit.head('gateway').then((found) => ({ name: found?.id })),
    ])
    clearInterval(timer)
    expect(refused.map(({ name }) => name)).toEqual(['UnavailableError', 'UnavailableError', 'UnavailableError', 'gateway-1'])
    expect(turns).toBeGreaterThan(10)
    held.release()
    await append(store, [row(2)])
    expect((await store.limiter.take([bucket], 1)).ok).toBe(true)
    expect((await store.audit.head('gateway'))?.sequence).toBe(2)
  })

  it('is waited for when it is let go in time', async () => {
    const path = join(await folder(), 'a.db')
    const store = await open(`sqlite:${path}`)
    const held = lock(path)
    const all = Promise.all([append(store, [row(1)]), store.settings.set('k', 'v'), store.agents.insert(agent('a'))])
    setTimeout(() => held.release(), 100)
    await all
    expect([await store.settings.get('k'), (await store.audit.head('gateway'))?.sequence]).toEqual(['v', 1])
  })
})

/** A folder on a disk of 1 MiB; `undefined` where this process may not mount one. */
async function smallDisk(): Promise<string | undefined> {
  const path = await folder()
  if (spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=1m', 'tmpfs', path]).status !== 0) return undefined
  onTestFinished(() => void spawnSync('umount', ['-l', path]))
  return path
}

describe('a disk that is full', () => {
  it('refuses what does not fit as a whole, goes on reading, and works again when there is room', async (context) => {
    const path = await smallDisk()
    if (path === undefined) return context.skip('mounting a small disk takes root')
    const store = await open(`sqlite:${join(path, 'a.db')}`)
    await append(store, [row(1)])
    const filler = join(path, 'filler')
    await writeFile(filler, Buffer.alloc(1024 * 1024)).catch(({ code }) => expect(code).toBe('ENOSPC'))
    const big = numbers(2, 200).map((n) => row(n, { entry: 'x'.repeat(1000) }))
    const error = await errorOf(append(store, big))
    expect([error.name, error.message]).toEqual(['UnavailableError', expect.stringMatching(/disk is full|cannot be used/)])
    expect((await store.audit.query({})).items).toEqual([row(1)])
    await rm(filler)
    await append(store, [row(2)])
    expect((await store.audit.scan('gateway', 0, 10)).map(({ sequence }) => sequence)).toEqual([1, 2])
  })
})

describe('a damaged database', () => {
  it('is refused at the start when it is none at all', async () => {
    const path = join(await folder(), 'a.db')
    await writeFile(path, 'This is a text file, and no database. '.repeat(500))
    const error = await errorOf(openStore(`sqlite:${path}`, { log, now: Date.now }))
    expect([error.name, error.message]).toEqual(['UnavailableError', 'The database is damaged: restore a backup'])
    expect((await readFile(path, 'utf8')).startsWith('This is a text file')).toBe(true)
  })

  it('is refused at the start when it ends early', async () => {
    const path = join(await folder(), 'a.db')
    const store = await open(`sqlite:${path}`)
    await append(
      store,
      numbers(1, 500).map((n) => row(n)),
    )
    await store.close()
    const whole = await readFile(path)
    await writeFile(path, whole.subarray(0, 4096 + 100))
    expect((await errorOf(openStore(`sqlite:${path}`, { log, now: Date.now }))).name).toBe('UnavailableError')
  })

  it('refuses what needs the damaged pages, and works again when they are repaired, without a restart', async () => {
    const path = join(await folder(), 'a.db')
    const first = await open(`sqlite:${path}`)
    await first.settings.set('k', 'v')
    await append(
      first,
      numbers(1, 2000).map((n) => row(n)),
    )
    await first.close()
    const whole = await readFile(path)
    const store = await open(`sqlite:${path}`)
    const torn = Math.floor(whole.length / 4096 / 2) * 4096
    await overwrite(path, Buffer.alloc(whole.length - torn, 0xff), torn)
    const readAll = () => store.audit.scan('gateway', 0, 5000)
    expect((await errorOf(readAll())).name).toBe('UnavailableError')
    expect(await store.settings.get('k')).toBe('v')
    await overwrite(path, whole.subarray(torn), torn)
    expect(await readAll()).toHaveLength(2000)
    await append(store, [row(2001)])
  })
})

async function overwrite(path: string, bytes: Uint8Array, position: number): Promise<void> {
  const file = await openFile(path, 'r+')
  await file.write(bytes, 0, bytes.length, position)
  await file.close()
}
