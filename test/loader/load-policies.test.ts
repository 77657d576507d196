import { execFile } from 'node:child_process'
import { mkdir, mkdtemp, rename, rm, symlink, unlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { ValidationError } from '@meshguard/core'
import { type LoadedPolicies, type LoadPoliciesOptions, loadPolicies, type ReloadInfo } from '@meshguard/core/node'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { FROM_INPUT, nodeProgram } from '../node-program.js'

const policy = (name: string, action = 'read:*') => `name: ${name}\nrules:\n  - effect: allow\n    actions: ["${action}"]\n`
const BAD = 'name: a\nrules:\n  - effect: alow\n    actions: ["read:*"]\n'

let folder: string
let open: LoadedPolicies[]

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'policies-'))
  open = []
})

afterEach(async () => {
  await Promise.all(open.map((policies) => policies.close()))
  await rm(folder, { recursive: true, force: true })
})

const put = (name: string, text: string | Uint8Array) => writeFile(join(folder, name), text)
const namesOf = (policies: LoadedPolicies) => policies.current().policies.map(({ name }) => name)

async function load(path = folder, options: LoadPoliciesOptions = {}): Promise<LoadedPolicies> {
  const policies = await loadPolicies(path, options)
  open.push(policies)
  return policies
}

/** Loads with watching, and hands out what the callbacks are told, one by one. */
async function watched(path = folder) {
  const told: (ReloadInfo | ValidationError)[] = []
  let wake = () => {}
  const tell = (what: ReloadInfo | ValidationError) => {
    told.push(what)
    wake()
  }
  const policies = await load(path, { watch: true, onReload: tell, onError: tell })
  const next = async () => {
    while (told.length === 0) {
      await new Promise<void>((resolve) => {
        wake = resolve
      })
    }
    return told.shift()
  }
  return { policies, told, next }
}

async function issuesOf(loading: Promise<unknown>): Promise<ValidationError['issues']> {
  const error = await loading.then(
    () => undefined,
    (error: unknown) => error,
  )
  if (!(error instanceof ValidationError)) throw new Error('expected a ValidationError', { cause: error })
  return error.issues
}

describe('loading', () => {
  it('reads the YAML and JSON files of a folder in the order of their names, and nothing else in it', async () => {
    await put('b.yml', policy('second'))
    await put('a.yaml', `${policy('first')}---\n${policy('another')}`)
    await put('C.JSON', '{"name":"third","rules":[{"effect":"deny","actions":["*"]}]}')
    for (const name of ['README.md', '.hidden.yaml', '.#a.yaml', 'a.yaml~', '#a.yaml#', 'a.yaml.swp'])
      await put(name, 'name: [')
    await mkdir(join(folder, '..data'))
    await mkdir(join(folder, 'notes'))
    const policies = await load()
    expect(namesOf(policies)).toEqual(['another', 'first', 'second', 'third'])
    expect(policies.files).toEqual(['C.JSON', 'a.yaml', 'b.yml'].map((name) => join(folder, name)))
  })

  it('reads one file, whatever it is called', async () => {
    await put('policy.txt', policy('p'))
    const policies = await load(join(folder, 'policy.txt'))
    expect(namesOf(policies)).toEqual(['p'])
  })

  it('says what is wrong in all files at once, with their places', async () => {
    await put('a.yaml', BAD)
    await put('b.yaml', new Uint8Array([0xff]))
    await put('c.yaml', policy('fine'))
    expect(await issuesOf(load())).toMatchObject([
      { file: join(folder, 'a.yaml'), line: 3, column: 13 },
      { file: join(folder, 'b.yaml'), line: 1, column: 1 },
    ])
  })

  it('names both files when two policies have one name', async () => {
    await put('a.yaml', policy('same'))
    await put('b.yaml', policy('same'))
    const [issue] = await issuesOf(load())
    expect(issue).toMatchObject({ file: join(folder, 'b.yaml'), line: 1, column: 7 })
    expect(issue?.message).toContain(`${join(folder, 'a.yaml')}:1:7`)
  })

  it('refuses a path that is not there, an empty folder, a folder named like a file, and a file that is too large', async () => {
    expect(await issuesOf(load(join(folder, 'none')))).toMatchObject([
      { file: join(folder, 'none'), message: 'no such file or folder' },
    ])
    expect((await issuesOf(load()))[0]?.message).toContain('holds no policies')
    await put('a.yaml', ' '.repeat(1_100_000))
    expect((await issuesOf(load()))[0]?.message).toContain('too large')
    await mkdir(join(folder, 'b.yaml'))
    await rm(join(folder, 'a.yaml'))
    expect((await issuesOf(load()))[0]?.message).toContain('is a folder')
  })

  it('refuses a subfolder that holds policies, because it would not read them', async () => {
    await put('a.yaml', policy('a'))
    await mkdir(join(folder, 'more'))
    await put('more/deny.yaml', policy('deny'))
    expect(await issuesOf(load())).toMatchObject([
      { file: join(folder, 'more', 'deny.yaml'), message: expect.stringContaining('subfolder') },
    ])
  })

  it('refuses options that are wrong, naming them', async () => {
    const wrong = (options: unknown) => loadPolicies(folder, options as LoadPoliciesOptions)
    await expect(wrong({ wach: true })).rejects.toThrow(/"wach".*"watch"/)
    await expect(wrong({ watch: 'yes' })).rejects.toThrow(TypeError)
    await expect(wrong({ onError: 1 })).rejects.toThrow(/"onError"/)
    await expect(loadPolicies('')).rejects.toThrow(TypeError)
  })
})

describe('reloading by hand', () => {
  it('keeps the very same set when the policies say the same', async () => {
    await put('a.yaml', policy('a'))
    const onReload = vi.fn()
    const policies = await load(folder, { onReload })
    const before = policies.current()
    expect(await policies.reload()).toBe(before)
    await put('a.yaml', `# a comment\n${policy('a')}`)
    expect(await policies.reload()).toBe(before)
    expect(onReload).not.toHaveBeenCalled()
    await put('a.yaml', policy('a', 'write:*'))
    expect(await policies.reload()).not.toBe(before)
    expect(onReload).toHaveBeenCalledTimes(1)
  })

  it('rejects for a bad set every time, reports it once, and leaves the last good one in force', async () => {
    await put('a.yaml', policy('a'))
    const onError = vi.fn()
    const policies = await load(folder, { onError })
    const before = policies.current()
    await put('a.yaml', BAD)
    await expect(policies.reload()).rejects.toThrow(ValidationError)
    await expect(policies.reload()).rejects.toThrow(ValidationError)
    expect(onError).toHaveBeenCalledTimes(1)
    expect(policies.current()).toBe(before)
  })

  it('survives callbacks that throw, and says so', async () => {
    const log = vi.spyOn(console, 'error').mockImplementation(() => {})
    await put('a.yaml', policy('a'))
    const policies = await load(folder, {
      onReload: () => {
        throw new Error('callback')
      },
    })
    await put('a.yaml', policy('b'))
    await policies.reload()
    expect(namesOf(policies)).toEqual(['b'])
    expect(log).toHaveBeenCalledTimes(1)
    log.mockRestore()
  })

  it('reports on stderr when nobody else wants to know, without control characters', async () => {
    const log = vi.spyOn(console, 'error').mockImplementation(() => {})
    await put('a.yaml', policy('a'))
    const policies = await load()
    await put('a\u001b[2J.yaml', BAD)
    await expect(policies.reload()).rejects.toThrow()
    await unlink(join(folder, 'a\u001b[2J.yaml'))
    await policies.reload()
    const [failed, recovered] = log.mock.calls.map(([text]) => String(text))
    expect(failed).toContain('a\\u001b[2J.yaml:3:13: ')
    expect(failed).not.toContain('\u001b')
    expect(recovered).toContain('can be read again')
    log.mockRestore()
  })
})

describe('watching', () => {
  it('takes a changed, a new, a replaced and a removed file', async () => {
    await put('a.yaml', policy('a'))
    const { policies, next } = await watched()
    const first = policies.current()

    await put('a.yaml', policy('changed'))
    expect(await next()).toMatchObject({ recovered: false })
    expect(namesOf(policies)).toEqual(['changed'])
    expect(policies.current()).not.toBe(first)
    expect(first.policies[0]?.name).toBe('a')

    await put('b.yaml', policy('b'))
    await next()
    expect(namesOf(policies)).toEqual(['b', 'changed'])

    await put('.b.tmp', policy('replaced'))
    await rename(join(folder, '.b.tmp'), join(folder, 'b.yaml'))
    await next()
    expect(namesOf(policies)).toEqual(['changed', 'replaced'])

    await unlink(join(folder, 'a.yaml'))
    await next()
    expect(namesOf(policies)).toEqual(['replaced'])
    expect(policies.files).toEqual([join(folder, 'b.yaml')])
  })

  it('reports a bad set once, goes on with the last good one, and reports that it is over', async () => {
    await put('a.yaml', policy('a'))
    const { policies, told, next } = await watched()
    const good = policies.current()
    await put('a.yaml', BAD)
    const error = await next()
    expect(error).toBeInstanceOf(ValidationError)
    expect((error as ValidationError).issues).toMatchObject([{ line: 3 }])
    await put('a.yaml', BAD)
    await put('notes.txt', 'something else')
    await expect(policies.reload()).rejects.toThrow(ValidationError)
    expect(policies.current()).toBe(good)
    await put('a.yaml', policy('a'))
    expect(await next()).toMatchObject({ recovered: true })
    expect(policies.current()).toBe(good)
    expect(told).toEqual([])
  })

  it('keeps the last good set while the whole folder is gone, and takes it when it is back', async () => {
    await put('a.yaml', policy('a'))
    const { policies, next } = await watched()
    await rename(folder, `${folder}.away`)
    expect(await next()).toMatchObject({ issues: [{ message: 'no such file or folder' }] })
    expect(namesOf(policies)).toEqual(['a'])
    await mkdir(folder)
    await put('a.yaml', policy('back'))
    for (let told = await next(); told instanceof ValidationError; ) told = await next()
    expect(namesOf(policies)).toEqual(['back'])
    await rm(`${folder}.away`, { recursive: true })
  })

  it('follows a file that an editor replaces, deletes and writes anew', async () => {
    await put('a.yaml', policy('a'))
    const { policies, next } = await watched(join(folder, 'a.yaml'))
    await put('a.yaml.new', policy('replaced'))
    await rename(join(folder, 'a.yaml.new'), join(folder, 'a.yaml'))
    await next()
    expect(namesOf(policies)).toEqual(['replaced'])
    await unlink(join(folder, 'a.yaml'))
    expect(await next()).toBeInstanceOf(ValidationError)
    await put('a.yaml', policy('anew'))
    await next()
    expect(namesOf(policies)).toEqual(['anew'])
  })

  it('follows symbolic links that are swapped at once, as Kubernetes does with a ConfigMap', async () => {
    for (const version of ['1', '2']) {
      await mkdir(join(folder, `..${version}`))
      await put(`..${version}/a.yaml`, policy(`version-${version}`))
      await put(`..${version}/b.yaml`, policy(`other-${version}`))
    }
    await symlink('..1', join(folder, '..data'))
    for (const name of ['a.yaml', 'b.yaml']) await symlink(join('..data', name), join(folder, name))
    const { policies, next } = await watched()
    expect(namesOf(policies)).toEqual(['other-1', 'version-1'])
    await symlink('..2', join(folder, '..new'))
    await rename(join(folder, '..new'), join(folder, '..data'))
    await next()
    expect(namesOf(policies)).toEqual(['other-2', 'version-2'])
  })

  it('follows a link to a file elsewhere, which the operating system does not tell of', async () => {
    await mkdir(join(folder, 'elsewhere'))
    await put('elsewhere/a.txt', policy('a'))
    await symlink(join('elsewhere', 'a.txt'), join(folder, 'a.yaml'))
    const { policies, next } = await watched()
    for (const name of ['changed', 'changed-again']) {
      await put('elsewhere/a.txt', policy(name))
      await next()
      expect(namesOf(policies)).toEqual([name])
    }
  })

  it('does not keep the process alive', async () => {
    await put('a.yaml', policy('a'))
    const program = `
      import { loadPolicies } from '@meshguard/core/node'
      const policies = await loadPolicies(process.argv[2], { watch: true })
      console.log(policies.current().policies.length)`
    const running = promisify(execFile)(process.execPath, [...FROM_INPUT, folder], { timeout: 15_000 })
    running.child.stdin?.end(await nodeProgram(program))
    const { stdout } = await running
    expect(stdout).toBe('1\n')
  })

  it('stops when it is closed, and still answers', async () => {
    await put('a.yaml', policy('a'))
    const onReload = vi.fn()
    const policies = await load(folder, { watch: true, onReload })
    await policies.close()
    await put('a.yaml', policy('later'))
    expect(namesOf(policies)).toEqual(['a'])
    const other = await watched()
    await put('a.yaml', policy('even-later'))
    await other.next()
    expect(onReload).not.toHaveBeenCalled()
    expect(namesOf(policies)).toEqual(['a'])
  })
})
