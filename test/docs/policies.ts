/** Runs the policies that the pages show. */
import { fromPolicies } from '@meshguard/core'
import { parsePolicies } from '@meshguard/core/yaml'
import { expect } from 'vitest'
import { parse } from 'yaml'
import { type Block, departure, outputOf, type Program } from './markdown.js'

/** What a line of `<!-- decides … -->` may say of a request. */
interface Asked {
  readonly action: string
  readonly agent?: object
  readonly resource?: string
  readonly context?: Readonly<Record<string, unknown>>
  readonly request?: { readonly method: string; readonly route: string; readonly ip?: string }
  /** When, as ISO text. */
  readonly at?: string
}

/** Holds a shown policy against what the page says of it: that it is valid, its error, and its decisions. */
export function checkPolicies(program: Program, block: Block): void {
  const before = program.blocks[program.blocks.indexOf(block) - 1]
  const prefix = before?.hidden && before.language === 'yaml' ? `${before.code}\n` : ''
  const read = () => parsePolicies(`${prefix}${block.code}\n`, { file: block.file })
  const error = outputOf(program, block)
  if (error !== undefined) {
    expect(departure(error.code, messageOf(read))).toBeUndefined()
    return
  }
  const source = fromPolicies(read())
  for (const line of decisionsAfter(program, block)) {
    const [asked = '', code = ''] = line.split(' => ')
    const { agent, at, ...request } = parse(asked) as Asked
    const now = at === undefined ? Date.UTC(2026, 0, 1, 12) : Date.parse(at)
    const caller = { id: 'agent_1', trustTier: 'verified', ...agent }
    const answer = source.decide({ ...request, agent: caller, traceId: 'docs-test' }, now)
    expect.soft(answer, `line ${block.line}: ${line}`).toMatchObject({ code: code.trim() })
  }
}

function decisionsAfter({ blocks }: Program, block: Block): string[] {
  const next = blocks[blocks.indexOf(block) + 1]
  return next?.language === 'decides' ? next.code.split('\n').filter((line) => line.trim() !== '') : []
}

function messageOf(work: () => unknown): string {
  try {
    work()
    return '(no error)'
  } catch (error) {
    return error instanceof Error ? error.message : String(error)
  }
}
