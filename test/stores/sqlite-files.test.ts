import { chmod, mkdir, readdir, readFile, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import Database from 'libsql'
import { describe, expect, it } from 'vitest'
import { databaseUrlProblem, openStore } from '../../packages/gateway/src/store/open-store.js'
import { agent, append, row } from '../contracts/store/spec.js'
import { folder, log, open } from './sqlite.js'

const modeOf = async (path: string) => ((await stat(path)).mode & 0o777).toString(8)

describe('DATABASE_URL', () => {
  it.each(['sqlite:./a.db', 'sqlite:a.db', 'sqlite:/a/b.db', 'sqlite:///a/b.db', 'sqlite::memory:'])('may be %s', (url) => {
    expect(databaseUrlProblem(url)).toBeUndefined()
  })

  it.each([
    ['mysql://user:hunter2@db', /must be sqlite:/],
    ['./meshguard.db', /must be sqlite:/],
    ['SQLITE:./a.db', /must be sqlite:/],
    ['', /must be sqlite:/],
    ['sqlite:', /names no file/],
    ['sqlite:///', /names no file/],
    ['sqlite:./data/', /names no file/],
    ['sqlite://host/a.db', /names a host/],
  ])('may not be %s, and the error says what may', async (url, message) => {
    const error = await openStore(url, { log, now: Date.now }).catch((thrown: Error) => thrown)
    expect(error).toBeInstanceOf(Error)
    expect((error as Error).message).toMatch(message)
    expect((error as Error).message).toMatch(/^DATABASE_URL.*sqlite:/)
    expect((error as Error).message).not.toContain('hunter2')
  })

  it('names the file that cannot be made', async () => {
    const path = await folder()
    await writeFile(join(path, 'file'), '')
    await expect(openStore(`sqlite:${join(path, 'file', 'a.db')}`, { log, now: Date.now })).rejects.toThrow(
      /DATABASE_URL: cannot make or open .*file\/a\.db/,
    )
  })
})

describe('the files of a SQLite store', () => {
  it('are made for nobody else to read, the missing folder included', async () => {
    const path = join(await folder(), 'new', 'deep')
    const store = await open(`sqlite:${join(path, 'a.db')}`)
    await append(store, [row(1)])
    expect(await modeOf(path)).toBe('700')
    for (const name of await readdir(path)) expect([name, await modeOf(join(path, name))]).toEqual([name, '600'])
  })

  it('are taken from others where they could read them, and the folder that was there stays as it is', async () => {
    const path = join(await folder(), 'there')
    await mkdir(path, { mode: 0o755 })
    await writeFile(join(path, 'a.db'), '')
    await chmod(join(path, 'a.db'), 0o644)
    await open(`sqlite:${join(path, 'a.db')}`)
    expect([await modeOf(path), await modeOf(join(path, 'a.db'))]).toEqual(['755', '600'])
  })

  it('are one file with everything in it after the store is closed', async () => {
    const path = await folder()
    const store = await open(`sqlite:${join(path, 'a.db')}`)
    await append(store, [row(1)])
    await store.close()
    await writeFile(join(path, 'copy.db'), await readFile(join(path, 'a.db')))
    const copy = await open(`sqlite:${join(path, 'copy.db')}`)
    expect(await copy.audit.head('gateway')).toEqual(row(1))
  })

  it('serve one store at a time: of five that start at once one opens, the others are told why, and the next one may', async () => {
    const url = `sqlite:${join(await folder(), 'a.db')}`
    const opened = await Promise.allSettled(Array.from({ length: 5 }, () => open(url)))
    const failures = opened.flatMap((one) => (one.status === 'rejected' ? [(one.reason as Error).message] : []))
    expect(failures).toEqual(
      Array(4).fill('Another gateway has the database open. Stop it first, or choose another DATA_DIR or DATABASE_URL'),
    )
    for (const one of opened) if (one.status === 'fulfilled') await one.value.close()
    await (await open(url)).ping()
  })

  it('are needless for a store in memory', async () => {
    const store = await open('sqlite::memory:')
    await store.agents.insert(agent('a'))
    await append(store, [row(1)])
    expect([(await store.agents.get('a'))?.id, (await store.audit.query({})).items.length]).toEqual(['a', 1])
  })
})

describe('the schema', () => {
  it('of a newer release is refused and left as it is', async () => {
    const path = join(await folder(), 'a.db')
    await (await open(`sqlite:${path}`)).close()
    const db = new Database(path)
    db.exec('update schema_version set version = 999; pragma wal_checkpoint(truncate)')
    db.close()
    const before = await readFile(path)
    await expect(openStore(`sqlite:${path}`, { log, now: Date.now })).rejects.toThrow(/newer release \(schema 999/)
    expect(await readFile(path)).toEqual(before)
  })

  it('is not made in the database of another program', async () => {
    const path = join(await folder(), 'other.db')
    const db = new Database(path)
    db.exec('create table agents (name text)')
    db.close()
    await expect(openStore(`sqlite:${path}`, { log, now: Date.now })).rejects.toThrow(/another program/)
  })
})
