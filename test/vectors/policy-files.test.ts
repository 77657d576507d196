import { readFileSync } from 'node:fs'
import { ValidationError } from '@meshguard/core'
import { parsePolicies } from '@meshguard/core/yaml'
import { describe, expect, it } from 'vitest'

interface Case {
  title: string
  text: string
  valid: boolean
  line?: number
  mentions?: string[]
}

const { cases } = JSON.parse(readFileSync(new URL('./policy-files.json', import.meta.url), 'utf8')) as { cases: Case[] }

describe('policy files', () => {
  it.each(cases)('$title', ({ text, valid, line, mentions = [] }) => {
    for (const _time of ['first', 'second']) {
      if (valid) {
        expect(parsePolicies(text, { file: 'p.yaml' }).policies.length).toBeGreaterThan(0)
        continue
      }
      const error = errorOf(text)
      for (const issue of error.issues)
        expect(issue).toMatchObject({ file: 'p.yaml', line: expect.any(Number), column: expect.any(Number) })
      if (line !== undefined) expect(error.issues.map((issue) => issue.line)).toContain(line)
      for (const words of mentions) expect(error.message).toContain(words)
    }
  })
})

function errorOf(text: string): ValidationError {
  try {
    parsePolicies(text, { file: 'p.yaml' })
  } catch (error) {
    if (error instanceof ValidationError) return error
    throw error
  }
  throw new Error('The text was accepted')
}
