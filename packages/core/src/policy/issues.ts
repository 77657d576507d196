import type { $ZodIssue } from 'zod/v4/core'
import type { Issue } from '../errors.js'
import { nearest } from '../options.js'

/** The keys that lead to a place in a document. */
export type Path = Issue['path']

/** Takes note of something that is wrong at a place. */
export type Report = (path: Path, message: string) => void

/** An issue whose message begins with the place, unless it names the key itself. */
export function issueAt(path: Path, message: string): Issue {
  const place = path.reduce<string>(
    (words, key) => words + (typeof key === 'number' ? `[${key}]` : `${words && '.'}${key}`),
    '',
  )
  return { path, message: place === '' || message.startsWith('Unknown ') ? message : `${place}: ${message}` }
}

/**
 * Puts what a zod schema found into our words: what is wrong, what was expected and the nearest right name.
 *
 * @param document What was looked at.
 * @param keysAt The keys that the object at a path may have.
 */
export function issuesOf(found: $ZodIssue, document: unknown, keysAt: (path: Path) => readonly string[]): Issue[] {
  const path = found.path.filter((key) => typeof key !== 'symbol')
  switch (found.code) {
    case 'unrecognized_keys':
      return found.keys.map((key) => issueAt([...path, key], unknown('key', key, keysAt(path))))
    case 'invalid_value':
      return [problem(document, path, found.values.map((one) => JSON.stringify(one)).join(', '), found.values.map(String))]
    case 'invalid_type':
      return [problem(document, path, WORDS.get(found.expected) ?? found.expected)]
    case 'too_small':
      return [issueAt(path, sizeWords(found.origin, found.minimum, 'least'))]
    case 'too_big':
      return [issueAt(path, sizeWords(found.origin, found.maximum, 'most'))]
    default:
      return [issueAt(path, found.message)]
  }
}

const WORDS: ReadonlyMap<string, string> = new Map([
  ['string', 'text (quote it if it is not)'],
  ['int', 'a whole number'],
  ['number', 'a number'],
  ['array', 'a list'],
  ['object', 'an object'],
])

function problem(document: unknown, path: Path, expected: string, names: readonly string[] = []): Issue {
  const value = valueAt(document, path)
  const key = path.at(-1)
  if (value === undefined && key !== undefined) return issueAt(path.slice(0, -1), `"${key}" is missing; expected ${expected}`)
  const hint = didYouMean(value, names)
  const words = `expected ${names.length > 1 ? 'one of ' : ''}${expected}, not ${inWords(value)}`
  return issueAt(path, hint === undefined ? words : `${words}. ${hint}`)
}

function sizeWords(origin: string, bound: number | bigint, side: 'least' | 'most'): string {
  const size = `at ${side} ${bound}`
  if (origin === 'array') return `expected a list with ${size} ${bound === 1 ? 'entry' : 'entries'}`
  return origin === 'string' ? `expected text with a length of ${size}` : `expected a number of ${size}`
}

/** What is said of a word that is none of those there are: `Unknown key "tag". Did you mean "tags"?` */
export function unknown(what: string, word: string, known: readonly string[]): string {
  return `Unknown ${what} ${quote(word)}. ${hintAt(word, known)}`.trimEnd()
}

/** The nearest of the names there are, or else all of them. */
export function hintAt(word: unknown, known: readonly string[]): string {
  return didYouMean(word, known) ?? (known.length > 0 ? `There are ${known.join(', ')}.` : '')
}

/** A value as a message may show it: short, and only its kind when it is not plain. */
export function inWords(value: unknown): string {
  if (value === undefined || value === null) return 'nothing'
  if (typeof value === 'string') return quote(value)
  if (typeof value === 'number' || typeof value === 'boolean') return String(value)
  return Array.isArray(value) ? 'a list' : `a${typeof value === 'object' ? 'n object' : ` ${typeof value}`}`
}

const MAX_SHOWN = 80

function quote(text: string): string {
  return JSON.stringify(text.length > MAX_SHOWN ? `${text.slice(0, MAX_SHOWN)}…` : text)
}

function valueAt(document: unknown, path: Path): unknown {
  let value = document
  for (const key of path) {
    if (typeof value !== 'object' || value === null || !Object.hasOwn(value, key)) return undefined
    value = Reflect.get(value, key)
  }
  return value
}

/** `Did you mean "actions"?` for the nearest of some names, or `undefined` when none is near. */
function didYouMean(value: unknown, names: readonly string[]): string | undefined {
  const near = typeof value === 'string' ? nearest(value, names) : undefined
  return near === undefined ? undefined : `Did you mean "${near}"?`
}
