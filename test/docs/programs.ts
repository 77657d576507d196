/** Compiles the programs of the pages as a user would, and runs them in processes of their own. */
import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, mkdtemp, symlink, writeFile } from 'node:fs/promises'
import { connect, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { dirname, join, resolve } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'
import { type Block, type Program, runBlocks } from './markdown.js'

/** The root of the repository. */
export const ROOT = resolve(import.meta.dirname, '../..')

const run = promisify(execFile)
/** What the guide says to work as well. */
const STRICTER = {
  module: 'ESNext',
  moduleResolution: 'Bundler',
  exactOptionalPropertyTypes: true,
  noUncheckedIndexedAccess: true,
  verbatimModuleSyntax: true,
  noEmit: true,
}
const PORT = /\b3000\b/g

/** A program on disk. */
export interface Placed {
  readonly program: Program
  readonly folder: string
  readonly port: number
}

/** What ran to its end. */
export interface Ended {
  readonly code: number | null
  readonly stdout: string
  readonly stderr: string
}

/** Writes programs and their files into a new folder from which the workspace's packages resolve. */
export async function place(
  programs: readonly Program[],
  compilerOptions: object,
): Promise<{ root: string; placed: Placed[] }> {
  const root = await mkdtemp(join(tmpdir(), 'meshguard-docs-'))
  await symlink(join(ROOT, 'node_modules'), join(root, 'node_modules'))
  await writeFile(join(root, 'package.json'), '{ "type": "module" }')
  const config = (name: string, some: readonly Program[], more: object) =>
    write(
      join(root, `tsconfig.${name}.json`),
      JSON.stringify({
        compilerOptions: { ...compilerOptions, outDir: '.', rootDir: '.', ...more },
        files: some.map((program) => join(nameOf(program), 'main.ts')),
      }),
    )
  const isLegacy = ({ flavour }: Program) => flavour === 'legacy decorators'
  await config(
    'legacy',
    programs.filter((one) => isLegacy(one)),
    { experimentalDecorators: true },
  )
  await config(
    'standard',
    programs.filter((one) => !isLegacy(one)),
    {},
  )
  await config(
    'bundler',
    programs.filter(({ flavour }) => flavour === 'ES module'),
    STRICTER,
  )
  const placed: Placed[] = []
  for (const program of programs) placed.push(await placeOne(root, program))
  return { root, placed }
}

async function placeOne(root: string, program: Program): Promise<Placed> {
  const folder = join(root, nameOf(program))
  const port = await freePort()
  if (program.flavour === 'CommonJS') await write(join(folder, 'package.json'), '{ "type": "commonjs" }')
  await write(join(folder, 'main.ts'), sourceOf(program).replace(PORT, String(port)))
  for (const { file, code } of program.blocks) if (file !== undefined) await write(join(folder, file), code)
  for (const block of runBlocks(program, 'js')) await write(join(folder, `${block.line}.cjs`), block.code)
  return { program, folder, port }
}

/** The name of a program's folder. */
export function nameOf({ page, number }: Program): string {
  return `${page.replace(/\.md$/, '').replaceAll('/', '-')}.${number}`
}

/** Each line of the page is the same line of the program, so that errors name the right one. */
function sourceOf(program: Program): string {
  const lines = [`import assert from 'node:assert/strict'`]
  for (const { code, line } of runBlocks(program, 'ts')) {
    while (lines.length < line - 1) lines.push('')
    lines.push(...code.split('\n'))
  }
  return `${lines.join('\n')}\nif (assert === undefined || !process.env['STAY']) process.exit()\n`
}

async function write(path: string, text: string): Promise<void> {
  await mkdir(dirname(path), { recursive: true })
  await writeFile(path, `${text}\n`)
}

/** What the compiler complains of, as lines of `<folder>/main.ts(line,column): error …`. */
export async function compile(root: string): Promise<string[]> {
  const complaints: string[] = []
  for (const name of ['standard', 'legacy', 'bundler']) {
    const tsc = join(ROOT, 'node_modules/typescript/bin/tsc')
    const { stdout } = await run(process.execPath, [tsc, '-p', `tsconfig.${name}.json`], { cwd: root }).catch(
      (error: { stdout: string }) => error,
    )
    complaints.push(...stdout.split('\n').filter((line) => line.includes('error TS')))
  }
  return complaints
}

/** Runs a file of a program to its end. */
export async function runFile({ folder }: Placed, file: string): Promise<Ended> {
  return ended(spawn(process.execPath, ['--enable-source-maps', file], { cwd: folder, timeout: 15_000 }))
}

/** Starts a program and keeps it running while commands are tried; answers what each of them printed. */
export async function runCommands({ folder, port }: Placed, commands: readonly Block[]): Promise<Ended[]> {
  const server = spawn(process.execPath, ['main.js'], { cwd: folder, env: { ...process.env, STAY: 'yes' } })
  const running = ended(server)
  let printed = ''
  server.stdout.on('data', (data) => {
    printed += data
  })
  try {
    const results: Ended[] = []
    for (const { code } of commands) {
      const token = await listening(server, port, () => /eyJ[\w-]+\.[\w-]+\.[\w-]+/.exec(printed)?.[0])
      const env = { ...process.env, TOKEN: token }
      results.push(await ended(spawn('sh', ['-ec', code.replace(PORT, String(port))], { cwd: folder, env, timeout: 15_000 })))
    }
    return results
  } finally {
    server.kill('SIGKILL')
    await running
  }
}

async function listening(server: ChildProcess, port: number, find: () => string | undefined): Promise<string> {
  for (let tries = 0; tries < 200; tries++) {
    if (server.exitCode !== null) throw new Error(`The program ended with ${server.exitCode}`)
    const token = find()
    if (token !== undefined && (await answers(port))) return token
    await sleep(50)
  }
  throw new Error('The program prints no token, or does not listen on the port 3000')
}

async function answers(port: number): Promise<boolean> {
  const socket = connect(port, '127.0.0.1')
  const [event] = await Promise.race([
    once(socket, 'connect').then(() => ['connect']),
    new Promise<string[]>((settle) => socket.once('error', () => settle(['error']))),
  ]).catch(() => ['error'])
  socket.destroy()
  return event === 'connect'
}

async function ended(child: ChildProcess): Promise<Ended> {
  let [stdout, stderr] = ['', '']
  child.stdout?.on('data', (data) => {
    stdout += data
  })
  child.stderr?.on('data', (data) => {
    stderr += data
  })
  const [code] = await once(child, 'close')
  return { code, stdout, stderr }
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  server.close()
  await once(server, 'close')
  if (typeof address !== 'object' || address === null) throw new Error('There is no free port')
  return address.port
}
