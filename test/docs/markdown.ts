/**
 * Reads the Markdown pages as programs. Each fenced block is run by `docs.test.ts`; what a reader need not see stands in comments:
 *
 * - All `ts` blocks of a page are one program, in order, with those in `<!-- ts … -->` between them; `assert` is there.
 *   `<!-- new program -->` begins another one, `<!-- new program: legacy decorators -->` one with `experimentalDecorators`,
 *   `<!-- new program: CommonJS -->` one that is compiled to CommonJS.
 * - `js` blocks hold CommonJS and run with `require`, each by itself.
 * - `sh` blocks are executed while the program before them runs, with the first token that it printed as `$TOKEN`.
 * - `yaml` blocks are policies. What stands in `<!-- yaml … -->` is put in front of the next one, so that a part can be shown.
 *   `<!-- decides … -->` has lines of `{ request } => code`, that the policies of the block before it must answer.
 * - `text`, `http` and `json` blocks are what the block before them prints; of a policy, its error. `…` stands for anything.
 * - `<!-- file: name -->` writes the block behind it to a file next to the program.
 * - `<!-- not run: reason -->` leaves the block behind it out.
 * - The port 3000 stands for a free one.
 */

/** A block of a page: fenced, or hidden in a comment. */
export interface Block {
  readonly language: string
  readonly code: string
  /** Of its first line of code, from 1. */
  readonly line: number
  readonly hidden: boolean
  /** What the comments in front of it say. */
  readonly file?: string | undefined
  readonly notRun?: string | undefined
}

/** How a program is compiled. */
export type Flavour = 'ES module' | 'CommonJS' | 'legacy decorators'

/** One program of a page, with everything that is said about it, in order. */
export interface Program {
  readonly page: string
  readonly number: number
  readonly flavour: Flavour
  readonly blocks: readonly Block[]
}

const HIDDEN = ['ts', 'yaml', 'decides']
const SHOWN = ['ts', 'js', 'sh', 'yaml', 'text', 'http', 'json']

/** The programs of a page. Throws for a block or comment that would not be run. */
export function readPage(page: string, text: string): Program[] {
  const lines = text.split('\n')
  const programs: (Program & { readonly blocks: Block[] })[] = []
  const begin = (flavour: Flavour) => programs.push({ page, number: programs.length + 1, flavour, blocks: [] })
  let pending: { file?: string; notRun?: string } = {}
  begin('ES module')

  for (let at = 0; at < lines.length; at++) {
    const line = lines[at] as string
    const fail = (why: string): never => {
      throw new Error(`${page}:${at + 1}: ${why}: ${line}`)
    }
    const [, fence] = /^```(.*)$/.exec(line) ?? []
    const [, comment] = /^<!-- (.*)$/.exec(line) ?? []
    if (fence === undefined && comment === undefined) {
      if (/^\s+```|<!--/.test(line)) fail('blocks and comments begin at the first column')
      continue
    }
    const single = comment?.endsWith(' -->') ? comment.slice(0, -4) : undefined
    if (single !== undefined) {
      const [, key, value = ''] = /^([a-z ]+?)(?:: (.+))?$/.exec(single) ?? []
      if (key === 'new program' && isFlavour(value)) begin(value)
      else if (key === 'new program' && value === '') begin('ES module')
      else if (key === 'file') pending = { ...pending, file: value }
      else if (key === 'not run' && value !== '') pending = { ...pending, notRun: value }
      else fail('nobody knows this comment')
      continue
    }
    const language = fence ?? (comment as string)
    if (!(fence === undefined ? HIDDEN : SHOWN).includes(language)) fail('nobody runs a block of this kind')
    const end = lines.indexOf(fence === undefined ? '-->' : '```', at + 1)
    if (end === -1) fail('the block has no end')
    const code = lines.slice(at + 1, end).join('\n')
    programs.at(-1)?.blocks.push({ language, code, line: at + 2, hidden: fence === undefined, ...pending })
    pending = {}
    at = end
  }
  return programs.filter(({ blocks }) => blocks.length > 0)
}

function isFlavour(value: string): value is Flavour {
  return value === 'CommonJS' || value === 'legacy decorators'
}

/** Blocks that are run, without those that are hidden or exempt. */
export function runBlocks({ blocks }: Program, ...languages: readonly string[]): Block[] {
  return blocks.filter(({ language, notRun }) => languages.includes(language) && notRun === undefined)
}

/** The block that shows what another one prints, if it follows directly. */
export function outputOf({ blocks }: Program, block: Block): Block | undefined {
  const next = blocks.slice(blocks.indexOf(block) + 1).find(({ hidden }) => !hidden)
  return next !== undefined && isOutput(next) ? next : undefined
}

/** Whether a block shows what another one prints. */
export function isOutput({ language, file, notRun }: Block): boolean {
  return ['text', 'http', 'json'].includes(language) && file === undefined && notRun === undefined
}

/** Where a text departs from what is shown of it, in which `…` stands for anything; `undefined` if it does not. */
export function departure(shown: string, printed: string): string | undefined {
  const text = printed.replaceAll('\r\n', '\n').trim()
  const pieces = shown.split('…').map((piece) => piece.trim())
  let at = 0
  for (const [i, piece] of pieces.entries()) {
    const found = text.indexOf(piece, at)
    if (found === -1 || (i === 0 && found !== 0)) return piece
    at = found + piece.length
  }
  const last = pieces.at(-1) as string
  return last === '' || text.endsWith(last) ? undefined : `${last}\n(and then nothing)`
}
