import { isAction } from '../action.js'

const MAX_PATTERN = 256
const MAX_STARS = 4
const STAR = 42
const QUESTION = 63

/**
 * Whether a pattern covers an action. `*` stands for any run of characters, none and `:` and `/` included.
 *
 * @example
 * ```ts
 * covers('read:*', 'read:contacts/emails') // true
 * ```
 */
export function covers(pattern: string, action: string): boolean {
  return matchesGlob(pattern, action, false)
}

/** Whether a string is a pattern that a rule can be written with. */
export function isPattern(pattern: unknown): pattern is string {
  return typeof pattern === 'string' && patternProblem(pattern) === undefined
}

/** What is wrong with a pattern of actions, in words, or `undefined` if nothing is. */
export function patternProblem(pattern: string): string | undefined {
  if (pattern === '*') return undefined
  const problem = globProblem(pattern)
  if (problem !== undefined) return problem
  if (!pattern.includes('*')) return isAction(pattern) ? undefined : notA(pattern)
  return /^[!-~]+$/.test(pattern) && pattern.includes(':') ? undefined : notA(pattern)
}

/** What is wrong with the glob of a condition (`*` and `?`), in words, or `undefined` if nothing is. */
export function globProblem(glob: string): string | undefined {
  if (glob.length > MAX_PATTERN) return `a pattern has at most ${MAX_PATTERN} characters, this one ${glob.length}`
  const stars = glob.split('*').length - 1
  return stars > MAX_STARS ? `a pattern has at most ${MAX_STARS} stars, this one ${stars}` : undefined
}

function notA(pattern: string): string {
  return `${JSON.stringify(pattern)} is not a pattern; write verb:object, like "read:contacts" or "read:*", without spaces, or "*"`
}

/**
 * Matches the whole text with two pointers: no regular expression and no backtracking beyond the last star, so the work is
 * at most the length of the text times the length of the glob, whatever they are.
 *
 * @param questions Whether `?` stands for one character (a surrogate pair counts as one) or for itself, as it does in actions.
 */
export function matchesGlob(glob: string, text: string, questions: boolean): boolean {
  let at = 0
  let g = 0
  let star = -1
  let resume = 0
  while (at < text.length) {
    const unit = glob.charCodeAt(g)
    if (unit === STAR) {
      star = g++
      resume = at
    } else if (questions && unit === QUESTION) {
      g++
      at += isPair(text, at) ? 2 : 1
    } else if (unit === text.charCodeAt(at)) {
      g++
      at++
    } else if (star >= 0) {
      g = star + 1
      at = ++resume
    } else {
      return false
    }
  }
  while (glob.charCodeAt(g) === STAR) g++
  return g === glob.length
}

function isPair(text: string, at: number): boolean {
  const high = text.charCodeAt(at)
  if (high < 0xd800 || high > 0xdbff || at + 1 === text.length) return false
  const low = text.charCodeAt(at + 1)
  return low >= 0xdc00 && low <= 0xdfff
}

/** Whether any of some patterns covers an action. */
export function matchesAny(patterns: readonly string[], action: string): boolean {
  for (let i = 0; i < patterns.length; i++) if (covers(patterns[i] as string, action)) return true
  return false
}

/**
 * Returns the pattern, for use where one is written in code.
 *
 * @throws TypeError when it is not a pattern; the message names the place and says what is wrong.
 */
export function assertPattern(where: string, pattern: unknown): string {
  if (isPattern(pattern)) return pattern
  const problem = typeof pattern === 'string' ? patternProblem(pattern) : undefined
  throw new TypeError(`${where}: ${problem ?? `a pattern is a string, not ${typeof pattern}`}`)
}
