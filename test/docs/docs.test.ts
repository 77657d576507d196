import { readdirSync, readFileSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { build } from '../e2e/build.js'
import { type Block, departure, isOutput, outputOf, type Program, readPage, runBlocks } from './markdown.js'
import { checkPolicies } from './policies.js'
import { compile, nameOf, type Placed, place, ROOT, runCommands, runFile } from './programs.js'

const PAGES = [
  'README.md',
  ...readdirSync(join(ROOT, 'packages')).map((name) => `packages/${name}/README.md`),
  ...readdirSync(join(ROOT, 'docs'), { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.md'))
    .map((name) => `docs/${name}`),
]
const MINUTES_3 = 180_000
const programs = PAGES.flatMap((page) => readPage(page, readFileSync(join(ROOT, page), 'utf8')))
const runnable = programs.filter((program) => runBlocks(program, 'ts', 'js').length > 0)

let root: string
let complaints: readonly string[]
const placedBy = new Map<Program, Placed>()

beforeAll(async () => {
  await build()
  const { root: folder, placed } = await place(runnable, shownCompilerOptions())
  root = folder
  for (const one of placed) placedBy.set(one.program, one)
  complaints = await compile(folder)
}, MINUTES_3)

afterAll(() => rm(root, { recursive: true, force: true }))

describe.each(runnable.map((program) => [`${program.page}, program ${program.number}`, program] as const))(
  '%s',
  (_, program) => {
    const placed = () => placedBy.get(program) as Placed
    const commands = runBlocks(program, 'sh')
    const typescript = runBlocks(program, 'ts')

    it('type-checks', () => {
      expect(complaints.filter((line) => line.startsWith(`${nameOf(program)}/`))).toEqual([])
    })

    const runs = async () => {
      const { code, stdout, stderr } = await runFile(placed(), 'main.js')
      expect(`${stderr}exit code ${code}`).toBe('exit code 0')
      const shown = [...new Set(typescript.map((block) => outputOf(program, block)))].flatMap((block) => block?.code ?? [])
      if (shown.length > 0) expect(departure(shown.join('\n…\n'), stdout), stdout).toBeUndefined()
    }
    const answers = async () => {
      const results = await runCommands(placed(), commands)
      for (const [i, command] of commands.entries()) {
        const { code, stdout, stderr } = results[i] as (typeof results)[number]
        expect(code, stderr).toBe(0)
        const shown = outputOf(program, command)
        if (shown !== undefined) expect(departure(shown.code, stdout), stdout).toBeUndefined()
      }
    }
    if (commands.length > 0) it('answers the commands as shown', answers, 60_000)
    else if (typescript.length > 0) it('runs, and prints what is shown', runs)

    it.each(runBlocks(program, 'js').map((block) => [block.line, block] as const))(
      'runs the CommonJS of line %i',
      async (line, block) => {
        const { code, stdout, stderr } = await runFile(placed(), `${line}.cjs`)
        expect(`${stderr}exit code ${code}`).toBe('exit code 0')
        const shown = outputOf(program, block)
        if (shown !== undefined) expect(departure(shown.code, stdout), stdout).toBeUndefined()
      },
    )
  },
)

it('compiles with settings that the compiler understands', () => {
  const names = runnable.map((program) => `${nameOf(program)}/`)
  expect(complaints.filter((line) => !names.some((name) => line.startsWith(name)))).toEqual([])
})

const policies = programs.flatMap((program) =>
  runBlocks(program, 'yaml')
    .filter((block) => !block.hidden || program.blocks[program.blocks.indexOf(block) + 1]?.language === 'decides')
    .map((block) => [`${program.page}:${block.line}`, program, block] as const),
)

it.each(policies)('the policy at %s is what the page says of it', (_, program, block) => {
  checkPolicies(program, block)
})

it('leaves out only what says why, and there is little of that', () => {
  const exempt = programs.flatMap(({ page, blocks }) =>
    blocks.filter(({ notRun }) => notRun !== undefined).map(({ code }) => `${page}: ${code.split('\n')[0]}`),
  )
  expect(exempt).toMatchInlineSnapshot(`
    [
      "README.md: npm ci && npm start",
      "README.md: The gateway's admin token, shown this once:",
      "README.md: npm ci && npm test",
      "packages/cli/README.md: npm install -g @meshguard/cli",
      "packages/cli/README.md: meshguard status",
      "docs/cloudflare-workers.md: node --input-type=module -e "",
      "docs/cloudflare-workers.md: curl -i http://localhost:8787/shipments/7 -H "Authorization: Bearer $TOKEN"",
      "docs/cloudflare-workers.md: meshguard token create shipments --scopes bundle audit:write    # prints GATEWAY_TOKEN",
      "docs/command-line.md: npm install -g @meshguard/cli",
      "docs/command-line.md: tests:",
      "docs/getting-started.md: npm install @meshguard/core @meshguard/express express",
      "docs/guardian.md: meshguard token create guardian --scopes bundle audit:write --output guardian.token",
      "docs/guardian.md: # beside your container, in the same pod",
      "docs/operating-the-gateway.md: POLICIES_DIR=./policies PROXY_TARGET=http://127.0.0.1:3000 npx meshguard serve",
      "docs/operating-the-gateway.md: mkdir -m 700 backup",
      "docs/operating-the-gateway.md: export DATABASE_URL='postgres://meshguard:password@db.example.com:5432/meshguard?sslmode=verify-full'",
      "docs/operating-the-gateway.md: pg_dump --format=custom --file=backup/meshguard.dump "$DATABASE_URL"",
    ]
  `)
})

it('shows no output and no commands that belong to no program', () => {
  const stray = programs.flatMap((program) => {
    const shown = new Set(program.blocks.map((block) => (isOutput(block) ? undefined : outputOf(program, block))))
    const isStray = (block: Block) =>
      (isOutput(block) && !shown.has(block)) ||
      (block.language === 'decides' && program.blocks[program.blocks.indexOf(block) - 1]?.language !== 'yaml')
    return program.blocks.filter(isStray).map(({ line }) => `${program.page}:${line}`)
  })
  const idle = programs.filter((program) => runBlocks(program, 'sh').length > 0 && runBlocks(program, 'ts').length === 0)
  expect([...stray, ...idle.map(nameOf)]).toEqual([])
})

/** The compiler options that the guide tells people to use: everything here is compiled with them. */
function shownCompilerOptions(): object {
  const blocks = programs.flatMap((program) => program.blocks)
  const { code } = blocks.find(({ file }) => file === 'tsconfig.json') ?? { code: '{}' }
  return JSON.parse(code).compilerOptions
}
