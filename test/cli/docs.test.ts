import { readFileSync } from 'node:fs'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { beforeAll, describe, expect, it } from 'vitest'
import { createProgram } from '../../packages/cli/src/program.js'
import { readPage } from '../docs/markdown.js'
import { build, ROOT } from '../e2e/build.js'
import { openFolder, runCommand } from './command.js'

const PAGE = 'docs/command-line.md'
const text = readFileSync(join(ROOT, PAGE), 'utf8')
const program = createProgram({ signal: new AbortController().signal, exitCode: 0 })

type Command = typeof program

/** Every command that does something, by its words. */
function commandsOf(command: Command, words: readonly string[] = []): [string, Command][] {
  return command.commands.flatMap((one): [string, Command][] => {
    const path = [...words, one.name()]
    return one.commands.length > 0 ? commandsOf(one as Command, path) : [[path.join(' '), one as Command]]
  })
}

beforeAll(() => build(), 180_000)

describe(PAGE, () => {
  it.each(commandsOf(program))('names "%s" and every option of it', (words, command) => {
    expect(text).toContain(`meshguard ${words}`)
    for (const { long } of command.options) expect(text, words).toMatch(new RegExp(`${long}\\b`))
  })

  it('shows tests that pass for the policies it shows', async () => {
    const [tests, policy] = readPage(PAGE, text).flatMap(({ blocks }) => blocks.filter(({ language }) => language === 'yaml'))
    const { folder, close } = await openFolder()
    await writeFile(join(folder, 'tests.yaml'), tests?.code ?? '')
    await writeFile(join(folder, 'policy.yaml'), policy?.code ?? '')
    const ended = await runCommand(['policy', 'test', '--policies', 'policy.yaml', '--file', 'tests.yaml'], folder)
    await close()
    expect(ended).toEqual({ code: 0, stdout: '2 of 2 tests passed\n', stderr: '' })
  })
})
