import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { dirname, join, relative, resolve } from 'node:path'
import { gzipSync } from 'node:zlib'
import { build } from 'esbuild'
import ts from 'typescript'
import { describe, expect, it } from 'vitest'

const ROOT = resolve(import.meta.dirname, '..')
const CORE = join(ROOT, 'packages/core/src')
const ADAPTERS = ['express', 'koa', 'hono', 'fastify']
const PACKAGES = ['core', ...ADAPTERS, 'client', 'gateway', 'cli', 'langchain']

/** Every module that a source file names, type-only imports included. */
function importsOf(file: string): { specifier: string; typeOnly: boolean }[] {
  const source = ts.createSourceFile(file, readFileSync(file, 'utf8'), ts.ScriptTarget.ES2022, true)
  const found: { specifier: string; typeOnly: boolean }[] = []
  const visit = (node: ts.Node): void => {
    if ((ts.isImportDeclaration(node) || ts.isExportDeclaration(node)) && node.moduleSpecifier !== undefined) {
      const typeOnly = ts.isImportDeclaration(node)
        ? node.importClause?.phaseModifier === ts.SyntaxKind.TypeKeyword
        : node.isTypeOnly
      found.push({ specifier: (node.moduleSpecifier as ts.StringLiteral).text, typeOnly })
    }
    if (ts.isCallExpression(node) && node.expression.kind === ts.SyntaxKind.ImportKeyword) {
      found.push({ specifier: (node.arguments[0] as ts.StringLiteral).text, typeOnly: false })
    }
    ts.forEachChild(node, visit)
  }
  visit(source)
  return found
}

function sourcesIn(folder: string): string[] {
  return readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.ts'))
    .map((name) => join(folder, name))
}

/** The files reachable from an entry over relative imports; without those of types alone if it is about what runs. */
function reachable(entry: string, { types = true } = {}, seen = new Set<string>()): Set<string> {
  if (seen.has(entry)) return seen
  seen.add(entry)
  for (const { specifier, typeOnly } of importsOf(entry)) {
    if (!specifier.startsWith('.') || (typeOnly && !types)) continue
    reachable(resolve(dirname(entry), specifier.replace(/\.js$/, '.ts')), { types }, seen)
  }
  return seen
}

const packageOf = (specifier: string) =>
  specifier
    .split('/')
    .slice(0, specifier.startsWith('@') ? 2 : 1)
    .join('/')
const externalsOf = (files: Iterable<string>) => [
  ...new Set(
    [...files]
      .flatMap((file) =>
        importsOf(file)
          .filter(({ typeOnly }) => !typeOnly)
          .map(({ specifier }) => specifier),
      )
      .filter((name) => !name.startsWith('.')),
  ),
]

describe('who may import whom', () => {
  it('core imports nothing but zod/mini, jose, and, from their own entries, yaml and node:', () => {
    expect(externalsOf(reachable(join(CORE, 'index.ts'))).sort()).toEqual(['#transport', 'jose', 'zod/mini'])
    expect(externalsOf(reachable(join(CORE, 'transport/fetch.ts')))).toEqual([])
    expect(externalsOf(reachable(join(CORE, 'http/index.ts'))).filter((name) => name.startsWith('node:'))).toEqual([])
    expect(externalsOf(reachable(join(CORE, 'testing.ts'))).filter((name) => name.startsWith('node:'))).toEqual([])
    expect(externalsOf(reachable(join(CORE, 'policy/index.ts')))).toEqual(['zod/mini'])
    expect(externalsOf(reachable(join(CORE, 'tokens/index.ts')))).toEqual(['jose'])
    expect(externalsOf(reachable(join(CORE, 'yaml.ts'))).sort()).toEqual(['yaml', 'zod/mini'])
    for (const file of sourcesIn(CORE)) {
      const inNode = relative(CORE, file).startsWith('node/')
      if (!inNode)
        expect(
          externalsOf([file]).filter((name) => name.startsWith('node:')),
          file,
        ).toEqual([])
      if (!file.endsWith('yaml.ts')) expect(externalsOf([file]), file).not.toContain('yaml')
    }
  })

  it('core loads undici, an optional peer, only when it is run and only behind the node condition of #transport', () => {
    const importing = sourcesIn(CORE).filter((file) => importsOf(file).some(({ specifier }) => specifier === 'undici'))
    expect(importing.map((file) => relative(CORE, file))).toEqual(['transport/undici.ts'])
    expect(readFileSync(importing[0] as string, 'utf8')).not.toMatch(/^import (?!type)[^\n]*'undici'/m)
    const { imports } = JSON.parse(readFileSync(join(CORE, '../package.json'), 'utf8'))
    const { 'meshguard:source': fromSource, ...published } = imports['#transport']
    for (const conditions of [fromSource, published]) {
      const chosen = Object.entries<string>(conditions).filter(([, file]) => file.includes('undici'))
      expect(chosen.map(([condition]) => condition)).toEqual(['node'])
    }
  })

  it.each(
    ['index', 'http/index', 'policy/index', 'tokens/index', 'transport/fetch', 'transport/undici', 'yaml', 'testing'].map(
      (name) => `${name}.ts`,
    ),
  )('nothing reachable from core/%s touches process or Buffer', (entry) => {
    for (const file of reachable(join(CORE, entry))) {
      const source = ts.createSourceFile(file, readFileSync(file, 'utf8'), ts.ScriptTarget.ES2022, true)
      const globals: string[] = []
      const visit = (node: ts.Node): void => {
        if (ts.isIdentifier(node) && ['process', 'Buffer', 'require', '__dirname', 'setImmediate'].includes(node.text))
          globals.push(node.text)
        ts.forEachChild(node, visit)
      }
      visit(source)
      expect(globals, relative(ROOT, file)).toEqual([])
    }
  })

  it('inside core, imports point one way: types <- errors <- transport <- action, agent, audit, tokens <- policy <- bundle <- sources <- guard <- http', () => {
    const layers = [
      ['types.ts'],
      ['refusal.ts', 'errors.ts', 'options.ts', 'settle.ts', 'trace.ts'],
      ['transport/'],
      ['action.ts', 'agent.ts', 'audit.ts', 'audit-line.ts', 'audit-gateway.ts', 'audit-shipper.ts', 'tokens/'],
      ['policy/'],
      ['bundle/'],
      ['sources/', 'yaml.ts'],
      ['conclude.ts', 'decide.ts', 'guard.ts', 'node/'],
      ['http/', 'testing.ts', 'index.ts'],
    ]
    const layerOf = (file: string) => {
      const name = relative(CORE, file)
      return layers.findIndex((layer) => layer.some((part) => (part.endsWith('/') ? name.startsWith(part) : name === part)))
    }
    for (const file of sourcesIn(CORE)) {
      expect(layerOf(file), `${relative(CORE, file)} belongs to no layer`).toBeGreaterThanOrEqual(0)
      for (const { specifier } of importsOf(file).filter(({ specifier }) => specifier.startsWith('.'))) {
        const target = resolve(dirname(file), specifier.replace(/\.js$/, '.ts'))
        expect(layerOf(target), `${relative(CORE, file)} imports ${specifier}`).toBeLessThanOrEqual(layerOf(file))
      }
    }
  })

  it.each(ADAPTERS)('@meshguard/%s imports core’s public entries and its own framework, nothing else', (adapter) => {
    const manifest = JSON.parse(readFileSync(join(ROOT, 'packages', adapter, 'package.json'), 'utf8'))
    const allowed = new Set(['@meshguard/core', ...Object.keys(manifest.peerDependencies)])
    for (const file of sourcesIn(join(ROOT, 'packages', adapter, 'src'))) {
      for (const { specifier, typeOnly } of importsOf(file)) {
        if (specifier.startsWith('.')) continue
        if (specifier.startsWith('node:')) expect(typeOnly && adapter !== 'hono', `${file}: ${specifier}`).toBe(true)
        else expect(allowed, `${file}: ${specifier}`).toContain(packageOf(specifier))
      }
    }
  })

  it('a package imports its own dependencies, published entries of the others, and nothing else', () => {
    for (const name of PACKAGES) {
      const manifest = JSON.parse(readFileSync(join(ROOT, 'packages', name, 'package.json'), 'utf8'))
      const named = new Set([manifest.name, ...Object.keys({ ...manifest.dependencies, ...manifest.peerDependencies })])
      for (const file of sourcesIn(join(ROOT, 'packages', name, 'src'))) {
        for (const specifier of externalsOf([file]).filter((one) => !one.startsWith('node:') && !one.startsWith('#'))) {
          expect(named, `${relative(ROOT, file)}: ${specifier}`).toContain(packageOf(specifier))
        }
      }
    }
  })

  it('the client needs core alone and nothing of Node', () => {
    expect([...new Set(externalsOf(sourcesIn(join(ROOT, 'packages/client/src'))).map(packageOf))]).toEqual(['@meshguard/core'])
  })

  it('the gateway talks to databases in store/ alone', () => {
    const gateway = join(ROOT, 'packages/gateway/src')
    for (const file of sourcesIn(gateway).filter((file) => !relative(gateway, file).startsWith('store/'))) {
      for (const driver of ['kysely', 'libsql', 'pg']) expect(externalsOf([file]).map(packageOf), file).not.toContain(driver)
    }
  })

  it('the command line loads the gateway for serve, and the guardian for guardian, when they are run', () => {
    const cli = join(ROOT, 'packages/cli/src')
    const loading = (entry: string) => sourcesIn(cli).filter((file) => externalsOf([file]).includes(entry))
    const [serve, ...others] = loading('@meshguard/gateway')
    const [guardian, ...more] = loading('@meshguard/gateway/guardian')
    expect([serve, guardian].map((file) => relative(cli, file as string))).toEqual([
      'commands/serve.ts',
      'commands/guardian.ts',
    ])
    expect([...others, ...more]).toEqual([])
    for (const file of [serve, guardian]) {
      expect(readFileSync(file as string, 'utf8')).not.toMatch(/^import (?!type)[^\n]*'@meshguard\/gateway/m)
    }
  })

  it('the guardian loads no database', () => {
    const entry = join(ROOT, 'packages/gateway/src/guardian/index.ts')
    for (const driver of ['kysely', 'libsql', 'pg'])
      expect(externalsOf(reachable(entry, { types: false })).map(packageOf)).not.toContain(driver)
  })

  it('the examples and docs name published entries only', () => {
    const published = new Set(
      PACKAGES.flatMap((name) => {
        const manifest = JSON.parse(readFileSync(join(ROOT, 'packages', name, 'package.json'), 'utf8'))
        return Object.keys(manifest.exports).map((entry) => manifest.name + entry.slice(1))
      }),
    )
    for (const file of sourcesIn(join(ROOT, 'examples')).filter((name) => !/node_modules|dist/.test(name))) {
      for (const { specifier } of importsOf(file)) {
        if (specifier.startsWith('@meshguard/')) expect(published, relative(ROOT, file)).toContain(specifier)
      }
    }
  })
})

describe('size', () => {
  const LIBRARIES = ['jose', 'zod/mini']

  /** Gzipped bytes of what a bundler makes of a module. */
  async function gzipped(contents: string, external: string[]): Promise<number> {
    const { outputFiles } = await build({
      stdin: { contents, resolveDir: import.meta.dirname },
      bundle: true,
      minify: true,
      format: 'esm',
      write: false,
      external,
      conditions: ['meshguard:source'],
    })
    return gzipSync(outputFiles[0]?.contents ?? new Uint8Array(), { level: 9 }).length
  }

  // Both are aims that core does not reach yet: each turns red once it does, and then loses its `.fails`.
  it.fails('core as a whole bundles below 25 KB with zod/mini and jose', async () => {
    expect(await gzipped('export * from "@meshguard/core"', [])).toBeLessThan(25 * 1024)
  })

  it.fails('core as a whole bundles below 12 KB without zod/mini and jose', async () => {
    expect(await gzipped('export * from "@meshguard/core"', LIBRARIES)).toBeLessThan(12 * 1024)
  })

  /** All that `.` exports but for some, with zod/mini and jose and without them, in bytes. */
  async function sizesWithout(...names: string[]): Promise<{ all: number; own: number }> {
    const exported = Object.keys(await import('@meshguard/core')).filter((name) => !names.includes(name))
    const contents = `export { ${exported.join(', ')} } from "@meshguard/core"`
    return { all: await gzipped(contents, []), own: await gzipped(contents, LIBRARIES) }
  }

  it('what decides in process does not grow past 39 KB with zod/mini and jose, and 25 KB without them', async () => {
    const { all, own } = await sizesWithout('fromGateway', 'auditToGateway', 'fromBundle')
    expect(all).toBeLessThan(39 * 1024)
    expect(own).toBeLessThan(25 * 1024)
  })

  it('what asks a gateway does not add more than 5 KB, and fromBundle not more than 8.5 KB', async () => {
    const inProcess = await sizesWithout('fromGateway', 'auditToGateway', 'fromBundle')
    const withGateway = await sizesWithout('fromBundle')
    const whole = await sizesWithout()
    expect(withGateway.own - inProcess.own).toBeLessThan(5 * 1024)
    expect(whole.all - withGateway.all).toBeLessThan(8.5 * 1024)
    expect(whole.own - withGateway.own).toBeLessThan(8.5 * 1024)
  })

  it('what an application leaves out costs it nothing: a guard alone is below 8 KB, with tokens below 18 KB', async () => {
    expect(await gzipped('export { createGuard } from "@meshguard/core"', [])).toBeLessThan(8 * 1024)
    expect(await gzipped('export { agentTokens, createGuard } from "@meshguard/core"', [])).toBeLessThan(18 * 1024)
  })

  it('no source file is longer than 400 lines', () => {
    for (const file of ['packages', 'test', 'examples'].flatMap((folder) => sourcesIn(join(ROOT, folder)))) {
      if (/node_modules|\/dist\//.test(file)) continue
      expect(readFileSync(file, 'utf8').split('\n').length, relative(ROOT, file)).toBeLessThanOrEqual(400)
    }
  })
})

describe('exports', () => {
  it.each(PACKAGES.flatMap((name) => entriesOf(name)))('%s exports what its snapshot says', async (specifier) => {
    const module: Record<string, unknown> = await import(specifier)
    expect(Object.keys(module).sort()).toMatchSnapshot()
  })

  function entriesOf(name: string): string[] {
    const manifest = JSON.parse(readFileSync(join(ROOT, 'packages', name, 'package.json'), 'utf8'))
    return Object.keys(manifest.exports)
      .filter((entry) => entry !== './package.json')
      .map((entry) => manifest.name + entry.slice(1))
  }

  it('every package has a licence field, a README, and the source condition first', () => {
    for (const name of PACKAGES) {
      const folder = join(ROOT, 'packages', name)
      const manifest = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'))
      expect(manifest.license).toBe('MIT')
      expect(existsSync(join(folder, 'README.md')), `${name}/README.md`).toBe(true)
      for (const [entry, conditions] of Object.entries<Record<string, string>>(manifest.exports)) {
        if (entry !== './package.json') expect(Object.keys(conditions)[0]).toBe('meshguard:source')
      }
    }
  })
})
