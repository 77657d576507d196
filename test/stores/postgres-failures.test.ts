import { once } from 'node:events'
import { createServer } from 'node:net'
import { setTimeout } from 'node:timers/promises'
import { TLSSocket } from 'node:tls'
import pg from 'pg'
import pino from 'pino'
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest'
import { databaseUrlProblem, openStore } from '../../packages/gateway/src/store/open-store.js'
import { connectionConfig } from '../../packages/gateway/src/store/postgres-pool.js'
import type { Store } from '../../packages/gateway/src/store/store.js'
import { agent, append, errorOf, numbers, row } from '../contracts/store/spec.js'
import { everyMethod } from '../contracts/store.js'
import { type OwnServer, startPostgres } from '../postgres/server.js'
import { lossyWay } from './lossy-way.js'
import { open } from './postgres.js'

let server: OwnServer
beforeAll(async () => {
  server = await startPostgres()
})
afterAll(() => server.close())

/** Whether the database can be used just now. */
const answers = (store: Store) =>
  store.ping().then(
    () => true,
    () => false,
  )

const KILL_ALL = `select pg_terminate_backend(pid) from pg_stat_activity
  where datname = current_database() and pid <> pg_backend_pid()`

describe('DATABASE_URL', () => {
  it.each(['postgres://user@host/db', 'postgresql://user:p%40ss@host:5433/db?sslmode=verify-full', 'postgres:///db?host=/run'])(
    'may be %s',
    (url) => {
      expect(databaseUrlProblem(url)).toBeUndefined()
    },
  )

  it.each([
    ['postgres:', /names no host/],
    ['postgres://user:hunter2@host', /names no database/],
    ['postgres://user:hunter2@host/', /names no database/],
    ['postgres://user:hunter2@host/a/b', /names no database/],
    ['postgres:///db', /names no host/],
    ['postgres://user:hunter2#@host:x/db', /is no URL|names no/],
    ['postgres://user:hunter2@host:99999/db', /is no URL/],
    ['postgres://user:hunter2%@host/db', /is no URL/],
    ['postgres://user:hunter2%ff@host/db', /is no URL/],
  ])('may not be %s, and the error says what may', async (url, message) => {
    const error = await errorOf(open(url))
    expect(error.message).toMatch(message)
    expect(error.message).toMatch(/^DATABASE_URL.*postgres:\/\/user:password@host:5432\/database/)
    expect(error.message).not.toContain('hunter2')
  })

  it('that leads nowhere is an error that names the place and the fix', async () => {
    const url = new URL(await server.createDatabase())
    const at = (change: Partial<URL>) => errorOf(open(Object.assign(new URL(url), change).href))
    await server.query(`create user nobody_here password 'x'; alter role nobody_here nologin`)
    await server.query(`create user guest`)
    const nowhere = await at({ port: '1' })
    expect([nowhere.name, nowhere.message]).toEqual([
      'UnavailableError',
      'DATABASE_URL: PostgreSQL at 127.0.0.1:1 is not reachable (ECONNREFUSED): start it, or correct host and port',
    ])
    expect((await at({ pathname: '/none' })).message).toMatch(/has no database "none": create it/)
    expect((await at({ username: 'nobody_here' })).message).toMatch(/refuses the user "nobody_here" or its password/)
    expect((await at({ username: 'guest' })).message).toMatch(/the user "guest" may not make tables/)
  })

  it('that asks for TLS where there is none, or none that can be trusted, is an error that says so', async () => {
    const url = new URL(await server.createDatabase())
    const messageAt = async (sslmode: string, port = url.port) =>
      (await errorOf(open(`${Object.assign(new URL(url), { port }).href}?sslmode=${sslmode}`))).message
    expect(await messageAt('verify-full')).toMatch(/^DATABASE_URL: PostgreSQL at 127.0.0.1:\d+ has no TLS: turn it on/)
    expect(await messageAt('verify-full&sslrootcert=/nowhere/ca.pem')).toMatch(
      /^DATABASE_URL: a file .* cannot be read \(ENOENT\)/,
    )
    const withoutCertificate = createServer((socket) => {
      socket.on('error', () => socket.destroy())
      socket.once('data', () => {
        socket.write('S')
        new TLSSocket(socket, { isServer: true }).on('error', () => socket.destroy())
      })
    })
    withoutCertificate.listen(0, '127.0.0.1')
    onTestFinished(() => void withoutCertificate.close())
    await once(withoutCertificate, 'listening')
    const { port } = withoutCertificate.address() as { port: number }
    expect(await messageAt('verify-full', `${port}`)).toMatch(/^DATABASE_URL: .* is not trusted \(\w+\): .*sslrootcert/)
  })

  it('may have any password, which no log shows', async () => {
    const url = new URL(await server.createDatabase())
    const { rows } = await server.query('show hba_file')
    const rules = (...lines: string[]) =>
      server.query(
        `copy (values ${lines.map((line) => `('${line}')`).join()}) to '${rows[0].hba_file}'; select pg_reload_conf()`,
      )
    const everybody = 'host all all 127.0.0.1/32 trust'
    const password = 'a+b c@/:#?&%\u00e9"x'
    await server.query(`create user secretive superuser password '${password}'`)
    await rules('host all secretive 127.0.0.1/32 scram-sha-256', everybody)
    onTestFinished(() => void rules(everybody))
    const lines: string[] = []
    const log = pino({ level: 'debug' }, { write: (line: string) => void lines.push(line) })
    for (const written of [encodeURIComponent(password), encodeURIComponent(password).replace('%2B', '+')]) {
      const store = await openStore(`postgres://secretive:${written}@${url.host}${url.pathname}`, { log, now: Date.now })
      await server.query(KILL_ALL, url.href)
      await expect.poll(() => lines.some((line) => line.includes('an idle connection'))).toBe(true)
      await store.close()
    }
    for (const line of lines) {
      expect(line.length).toBeLessThan(2000)
      for (const secret of ['a+b', 'a%2Bb', 'secretKey', 'password']) expect(line).not.toContain(secret)
    }
  })

  it('has commits wait for the disk, whatever the database does by itself, unless it says otherwise itself', async () => {
    const url = await server.createDatabase()
    await server.query(`alter database ${new URL(url).pathname.slice(1)} set synchronous_commit = off`)
    const shown = async (options: string) => {
      const client = new pg.Client(connectionConfig(`${url}?${new URLSearchParams({ options })}`))
      await client.connect()
      const { rows } = await client.query(
        `select current_setting('synchronous_commit') || current_setting('work_mem') as shown`,
      )
      await client.end()
      return rows[0].shown
    }
    expect(await Promise.all(['', '-c work_mem=8MB', '-c synchronous_commit=remote_apply'].map(shown))).toEqual([
      'on4MB',
      'on8MB',
      'remote_apply4MB',
    ])
  })

  it('of a database that is not for gateways is refused, and nothing is made in it', async () => {
    const [foreign, latin, newer] = [
      await server.createDatabase(),
      await server.createDatabase(),
      await server.createDatabase(),
    ]
    await server.query('create table orders (id int)', foreign)
    expect((await errorOf(open(foreign))).message).toMatch(/belongs to another program \(it has a table "orders"\)/)
    await server.query(`create database latin template template0 encoding 'LATIN1'`)
    expect((await errorOf(open(latin.replace(/[^/]*$/, 'latin')))).message).toMatch(/is encoded in LATIN1.*encoding 'UTF8'/)
    await (await open(newer)).close()
    await server.query('update schema_version set version = 999', newer)
    expect((await errorOf(open(newer))).message).toMatch(/newer release \(schema 999/)
  })
})

describe('connections that are killed', () => {
  it('fail what runs on them, and what comes next works, without a restart', async () => {
    const url = await server.createDatabase()
    const store = await open(url, 'gateway-a')
    await append(store, [row(1)])
    for (const n of numbers(2, 6)) {
      await server.query(KILL_ALL, url)
      const errors = await Promise.all(
        numbers(1, 12).map(() =>
          store.agents.get('a').then(
            () => undefined,
            (error) => error.name,
          ),
        ),
      )
      expect(errors.filter((name) => name !== undefined && name !== 'UnavailableError')).toEqual([])
      await expect
        .poll(
          () =>
            append(store, [row(n)]).then(
              () => true,
              ({ name }) => name,
            ),
          { timeout: 10_000 },
        )
        .toBe(true)
    }
    expect((await store.audit.scan('gateway', 0, 10)).map(({ sequence }) => sequence)).toEqual(numbers(1, 6))
  })

  it('at the moment they are ready fail what they are for, and not the process', async () => {
    const url = await server.createDatabase()
    const way = await lossyWay(url)
    const store = await open(way.url, 'gateway-a')
    await server.query(KILL_ALL, url)
    way.endAsTheyAreReady(true)
    for (const _ of numbers(1, 5)) {
      expect((await errorOf(store.agents.get('a'))).name).toBe('UnavailableError')
      await setTimeout(100)
    }
    way.endAsTheyAreReady(false)
    await expect.poll(() => answers(store), { timeout: 10_000 }).toBe(true)
  })

  it('are claimed again under the same name', async () => {
    const url = await server.createDatabase()
    await open(url, 'gateway-a')
    await server.query(KILL_ALL, url)
    const locks = async () => (await server.query(`select from pg_locks where locktype = 'advisory'`, url)).rowCount
    await expect.poll(locks, { timeout: 10_000 }).toBe(1)
    await expect(open(url, 'gateway-a')).rejects.toThrow(/^GATEWAY_ID/)
  })
})

describe('a server that takes no more connections', () => {
  it('is used by those that there are, and what needs another one is told so', async () => {
    const url = new URL(await server.createDatabase())
    await server.query('create role few login connection limit 4')
    await server.query(`alter database ${url.pathname.slice(1)} owner to few; grant create on schema public to few`)
    await server.query('grant create on schema public to few', url.href)
    url.username = 'few'
    const store = await open(url.href)
    const messageOf = (call: Promise<unknown>) =>
      call.then(
        () => 'answered',
        ({ message }: Error) => message,
      )
    for (const _ of numbers(1, 5)) {
      const answers = await Promise.all(numbers(1, 10).map(() => messageOf(store.agents.list())))
      expect(answers.some((answer) => /takes no more connections/.test(answer))).toBe(true)
      expect(await messageOf(store.ping())).toBe('answered')
    }
  })
})

describe('a store that is closed', () => {
  it('while it connects again leaves no connection behind', async () => {
    const url = await server.createDatabase()
    const way = await lossyWay(url)
    const store = await open(way.url)
    const held = way.holdNext()
    await server.query(`${KILL_ALL} and query like '%listen%'`, url)
    const letGo = await held
    await store.close()
    letGo()
    await expect.poll(way.open).toBe(0)
  })
})

describe('a lock that is held', () => {
  it('refuses what needs it, in time, lets the rest go on, and works again when it is let go', async () => {
    const url = await server.createDatabase()
    const store = await open(url)
    await store.agents.insert(agent('a'))
    const other = new pg.Client({ connectionString: url })
    await other.connect()
    await other.query('begin; lock table agents in access exclusive mode')
    const blocked = errorOf(store.agents.update('a', { name: 'x' }, 1))
    await append(store, [row(1)])
    await store.ping()
    expect([(await blocked).name, (await blocked).message]).toEqual(['UnavailableError', expect.stringMatching(/busy/)])
    await other.query('rollback')
    await other.end()
    expect((await store.agents.update('a', { name: 'x' }, 1))?.name).toBe('x')
  })
})

describe('a server that stops', () => {
  it.each(['SIGINT', 'SIGQUIT'] as const)(
    'on %s has every method refused, and serves again when it is started, with everything in it',
    async (signal) => {
      const store = await open(await server.createDatabase(), 'gateway-a')
      await store.agents.insert(agent('a'))
      await append(store, [row(1)])
      const told: unknown[] = []
      store.changes?.subscribe((changes) => void told.push(changes))
      await server.stop(signal)
      for (const [name, call] of Object.entries(everyMethod(store))) {
        expect([name, (await errorOf(call())).name]).toEqual([name, 'UnavailableError'])
      }
      await expect.poll(() => told, { timeout: 10_000 }).toContain(undefined)
      await server.start()
      await expect.poll(() => answers(store), { timeout: 10_000 }).toBe(true)
      await append(store, [row(2)])
      expect((await store.audit.scan('gateway', 0, 9)).map(({ sequence }) => sequence)).toEqual([1, 2])
      await store.changes?.catchUp()
      told.length = 0
      await store.settings.set('k', 'v')
      await expect.poll(() => told.flat(), { timeout: 10_000 }).toContainEqual({ kind: 'settings', key: 'k' })
    },
  )
})

describe('a commit whose answer is lost', () => {
  it('is refused as not known, stands in the log once, and is found by its IDs', async () => {
    const { url, loseAnswers } = await lossyWay(await server.createDatabase())
    const store = await open(url)
    await append(store, [row(1)])
    loseAnswers()
    expect((await errorOf(append(store, [row(2), row(3)]))).name).toBe('UnavailableError')
    const known = () =>
      store.audit.known(['gateway-2', 'gateway-3']).then(
        (ids) => ids.size,
        () => undefined,
      )
    await expect.poll(known, { timeout: 10_000 }).toBe(2)
    expect((await errorOf(append(store, [row(2), row(3)]))).status).toBe(409)
    expect((await store.audit.head('gateway'))?.sequence).toBe(3)
    await append(store, [row(4)])
    expect((await store.audit.scan('gateway', 0, 9)).map(({ sequence }) => sequence)).toEqual([1, 2, 3, 4])
  })
})

describe('a server that does not answer any more', () => {
  it('has everything refused in time, and nothing that is remembered counts, until it answers again', async () => {
    const { url, freeze } = await lossyWay(await server.createDatabase())
    const lines: string[] = []
    const log = pino({ level: 'error' }, { write: (line: string) => void lines.push(line) })
    const store = await openStore(url, { log, now: Date.now, writer: 'gateway-a' })
    onTestFinished(() => store.close())
    await append(store, [row(1)])
    const told: unknown[] = []
    store.changes?.subscribe((changes) => void told.push(changes))
    freeze(true)
    const refused = Promise.all(Object.values(everyMethod(store)).map((call) => errorOf(call())))
    await expect.poll(() => told, { timeout: 10_000 }).toContain(undefined)
    // It is not waited for until a statement is given up.
    expect(lines).toEqual([expect.stringContaining('The database answers late')])
    for (const { name } of await refused) expect(name).toBe('UnavailableError')
    freeze(false)
    await expect.poll(() => answers(store), { timeout: 15_000 }).toBe(true)
    await append(store, [row(2)])
  }, 60_000)
})
