import { describe, expect, it } from 'vitest'
import {
  assertPattern,
  covers,
  globProblem,
  isPattern,
  matchesAny,
  matchesGlob,
} from '../../packages/core/src/policy/pattern.js'

/** A string that counts how often it is looked at; the matcher knows nothing else of a string. */
function counted(text: string): { text: string; looks: () => number } {
  let looks = 0
  const charCodeAt = (at: number) => {
    looks++
    return text.charCodeAt(at)
  }
  return { text: { length: text.length, charCodeAt } as unknown as string, looks: () => looks }
}

function workFor(glob: string, text: string): number {
  const one = counted(text)
  matchesGlob(glob, one.text, true)
  return one.looks()
}

describe('a pattern', () => {
  it.each([
    ['*', true],
    ['read:*', true],
    ['*:email', true],
    ['read:contacts', true],
    ['a*b*c*d*:x', true],
    ['read:?', true],
    ['', false],
    ['read', false],
    ['read*', false],
    ['**', false],
    [':contacts', false],
    ['read:', false],
    ['read:con tacts*', false],
    ['read:é*', false],
    ['a*b*c*d*e*:x', false],
    [`read:${'x'.repeat(251)}`, true],
    [`read:${'x'.repeat(252)}`, false],
    [`read:*${'x'.repeat(251)}`, false],
    [7, false],
  ])('%j can be written in a rule: %s', (pattern, expected) => {
    expect(isPattern(pattern)).toBe(expected)
  })

  it('is a TypeError in code when it is none', () => {
    expect(() => assertPattern('here', 'read')).toThrow(TypeError)
    expect(() => assertPattern('here', 'read')).toThrow(/here: "read" is not a pattern/)
    expect(() => assertPattern('here', undefined)).toThrow(TypeError)
    expect(assertPattern('here', 'read:*')).toBe('read:*')
  })

  it('takes a question mark for itself, and a glob for one character', () => {
    expect(covers('read:?', 'read:?')).toBe(true)
    expect(covers('read:?', 'read:a')).toBe(false)
    expect(matchesGlob('read:?', 'read:a', true)).toBe(true)
    expect(matchesGlob('x?', 'x😀', true)).toBe(true)
    expect(matchesGlob('x?', 'xab', true)).toBe(false)
  })

  it('covers if any of several does', () => {
    expect(matchesAny(['write:*', 'read:a'], 'read:a')).toBe(true)
    expect(matchesAny(['write:*', 'read:a'], 'read:b')).toBe(false)
    expect(matchesAny([], 'read:b')).toBe(false)
  })

  it('holds at most four stars in a condition too', () => {
    expect(globProblem('*a*b*c*')).toBeUndefined()
    expect(globProblem('*a*b*c*d*')).toMatch(/4 stars/)
  })

  it.each([`*${'a'.repeat(100)}b`, '*a*a*a*b', `*${'a?'.repeat(60)}b*`, '*?*?*?*b', `a*${'?'.repeat(200)}b`])(
    '%s does work that grows with the length of the text and no faster',
    (glob) => {
      const [short, long] = [workFor(glob, 'a'.repeat(4096)), workFor(glob, 'a'.repeat(8192))]
      expect(long / short).toBeLessThan(2.3)
      expect(long).toBeLessThanOrEqual(8192 * (glob.length + 1) * 2)
    },
  )
})
