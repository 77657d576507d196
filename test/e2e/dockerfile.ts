/** Runs the steps of a Dockerfile in folders, for machines without a container engine. */
import { execFile } from 'node:child_process'
import { cp, mkdir } from 'node:fs/promises'
import { dirname, join, resolve } from 'node:path'
import { promisify } from 'node:util'

const run = promisify(execFile)

/** One line of a Dockerfile, its flags taken off. */
export interface Step {
  readonly name: string
  readonly flags: ReadonlyMap<string, string>
  readonly rest: string
}

/** What an image starts with. */
export interface Image {
  /** The folder that stands for `/`. */
  readonly root: string
  readonly workdir: string
  readonly env: Readonly<Record<string, string>>
  readonly command: readonly string[]
  /** The command of its HEALTHCHECK. */
  readonly probe: readonly string[]
}

/** The steps of a Dockerfile. */
export function stepsOf(dockerfile: string): Step[] {
  const lines = dockerfile.split('\n').filter((line) => line !== '' && !line.startsWith('#'))
  return lines.map((line) => {
    const [name = '', ...words] = line.split(' ')
    const flags = new Map<string, string>()
    while (words[0]?.startsWith('--')) {
      const [flag = '', value = ''] = (words.shift() as string).slice(2).split('=')
      flags.set(flag, value)
    }
    return { name, flags, rest: words.join(' ') }
  })
}

/** Carries the steps out below `folder`, each stage in a folder of its own, and answers the last one. */
export async function buildImage(steps: readonly Step[], context: string, folder: string): Promise<Image> {
  const stages = new Map<string, string>()
  let image: Image | undefined
  for (const { name, flags, rest } of steps) {
    if (name === 'FROM') {
      const stage = / AS (\w+)$/.exec(rest)?.[1] ?? String(stages.size)
      const root = join(folder, stage)
      stages.set(stage, root)
      image = { root, workdir: root, env: {}, command: [], probe: [] }
      continue
    }
    if (image === undefined) throw new Error(`${name} stands before FROM`)
    image = await carryOut(image, { name, flags, rest }, context, stages)
  }
  if (image === undefined) throw new Error('The Dockerfile has no FROM')
  return image
}

async function carryOut(image: Image, step: Step, context: string, stages: ReadonlyMap<string, string>): Promise<Image> {
  const { name, rest } = step
  switch (name) {
    case 'WORKDIR': {
      const workdir = join(image.root, rest)
      await mkdir(workdir, { recursive: true })
      return { ...image, workdir }
    }
    case 'COPY':
      await copy(image, step, context, stages)
      return image
    case 'RUN':
      if (/(^|\s)\//.test(rest)) throw new Error(`A step outside of the work folder cannot be run here: RUN ${rest}`)
      await run('sh', ['-c', rest], { cwd: image.workdir, env: plainEnvironment(), maxBuffer: 1 << 24 })
      return image
    case 'ENV': {
      const [key = '', value = ''] = rest.split(/=(.*)/s)
      return { ...image, env: { ...image.env, [key]: value } }
    }
    case 'CMD':
      return { ...image, command: JSON.parse(rest) }
    case 'HEALTHCHECK':
      return { ...image, probe: JSON.parse(rest.slice(rest.indexOf('['))) }
    case 'USER':
    case 'VOLUME':
    case 'EXPOSE':
      return image
    default:
      throw new Error(`${name} is no step that can be carried out here`)
  }
}

async function copy(image: Image, { flags, rest }: Step, context: string, stages: ReadonlyMap<string, string>): Promise<void> {
  const [from = '', to = ''] = rest.split(' ')
  const target = to.startsWith('/') ? join(image.root, to) : resolve(image.workdir, to)
  const stage = flags.get('from')
  if (stage !== undefined) {
    const root = stages.get(stage)
    if (root === undefined) throw new Error(`COPY from a stage that is not there: ${stage}`)
    await cp(join(root, from), target, { recursive: true, verbatimSymlinks: true })
    return
  }
  if (from !== '.') throw new Error(`Only the whole context is copied here, not ${from}`)
  for (const file of await filesOf(context)) {
    await mkdir(dirname(join(target, file)), { recursive: true })
    await cp(join(context, file), join(target, file))
  }
}

/** What git knows of or would take, which is what the ignore file leaves. */
async function filesOf(context: string): Promise<string[]> {
  const list = ['ls-files', '-z', '--cached', '--others', '--exclude-standard', '--deduplicate']
  const deleted = new Set((await run('git', ['ls-files', '-z', '--deleted'], { cwd: context })).stdout.split('\0'))
  const { stdout } = await run('git', list, { cwd: context, maxBuffer: 1 << 24 })
  return stdout.split('\0').filter((file) => file !== '' && !deleted.has(file))
}

/** Without what `npm` sets for the scripts that it runs, this test among them. */
function plainEnvironment(): NodeJS.ProcessEnv {
  return Object.fromEntries(Object.entries(process.env).filter(([name]) => !/^(npm_|NODE_ENV|VITEST)/i.test(name)))
}
