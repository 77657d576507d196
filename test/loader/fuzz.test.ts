import { readFileSync } from 'node:fs'
import { ValidationError } from '@meshguard/core'
import { parsePolicies } from '@meshguard/core/yaml'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'

const { cases } = JSON.parse(readFileSync(new URL('../vectors/policy-files.json', import.meta.url), 'utf8'))
const valid: string[] = cases.filter((one: { valid: boolean }) => one.valid).map((one: { text: string }) => one.text)

/** Pieces that mean something to YAML, to JSON or to a policy. */
const PIECES = [
  '[',
  ']',
  '{',
  '}',
  '- ',
  '? ',
  ': ',
  ':',
  ',',
  '\n',
  '\n  ',
  '\t',
  '"',
  "'",
  '|',
  '>',
  '&a ',
  '*a',
  '!!str ',
  '%',
  '#',
  '---\n',
  '...\n',
]
const WORDS = [
  '<<',
  '__proto__',
  'constructor',
  'name',
  'rules',
  'effect',
  'allow',
  '1',
  'null',
  '.nan',
  '0x1',
  '\ufeff',
  '\0',
  '\r',
  '\ud800',
  '\u2028',
]
const piece = fc.constantFrom(...PIECES, ...WORDS, ...PIECES)
const soup = fc.array(piece, { maxLength: 200 }).map((pieces) => pieces.join(''))
const mutated = fc
  .tuple(
    fc.constantFrom(...valid),
    fc.array(fc.tuple(fc.nat(), fc.nat({ max: 12 }), fc.oneof(piece, fc.string({ maxLength: 3 }))), { maxLength: 6 }),
  )
  .map(([text, edits]) => edits.reduce((all, [at, gone, put]) => cut(all, at % (all.length + 1), gone, put), text))

function cut(text: string, at: number, gone: number, put: string): string {
  return text.slice(0, at) + put + text.slice(at + gone)
}

/** Accepted with at least one policy, or refused with places that are in the text. */
function check(text: string | Uint8Array): void {
  try {
    expect(parsePolicies(text, { file: 'f' }).policies.length).toBeGreaterThan(0)
  } catch (error) {
    if (!(error instanceof ValidationError)) throw error
    const lines = (typeof text === 'string' ? text : new TextDecoder().decode(text)).split('\n')
    for (const { line, column, message } of error.issues) {
      expect(message).not.toBe('')
      expect(line).toBeLessThanOrEqual(lines.length)
      expect(column).toBeLessThanOrEqual((lines[(line ?? 0) - 1]?.length ?? 0) + 1)
    }
  }
}

describe('whatever a policy file holds, it is policies or a ValidationError', () => {
  const limits = { numRuns: 2000, interruptAfterTimeLimit: 4000, markInterruptAsFailure: false }
  it.each([
    ['any text', fc.string({ unit: 'binary', maxLength: 400 })],
    ['a soup of syntax', soup],
    ['a policy with a few edits', mutated],
    ['any JSON', fc.json({ maxDepth: 20 })],
  ])('%s', (_title, text) => {
    fc.assert(fc.property(text, check), limits)
  })

  it('any bytes', () => {
    fc.assert(fc.property(fc.uint8Array({ maxLength: 400 }), check), limits)
  })
})
