import { type Issue, ValidationError } from '../errors.js'

/** Where something stands in a file; lines and columns are counted from 1, columns in UTF-16 units. */
export type Place = Required<Pick<Issue, 'file' | 'line' | 'column'>>

/** The text of a policy file that may be parsed: not too large, UTF-8, printable. */
export interface PolicyText {
  readonly file: string | undefined
  readonly text: string
  /** The text is JSON, in which all white space is as good as a blank. */
  readonly isJson: boolean
  placeOf(offset: number): Place
}

const MAX_YAML = 256 * 1024
const MAX_JSON = 1024 * 1024

/**
 * Reads text, or bytes that must be UTF-8; a byte order mark in front is dropped. It counts as JSON when it begins with a
 * bracket and `JSON.parse` takes it; then it may be 1 MiB long, otherwise 256 KiB.
 *
 * @throws ValidationError naming the first thing that is wrong.
 */
export function readText(source: string | Uint8Array, file: string | undefined): PolicyText {
  if (typeof source !== 'string' && !(source instanceof Uint8Array)) {
    throw new ValidationError([{ message: 'Expected text or bytes', path: [], file }])
  }
  const size = typeof source === 'string' ? source.length : source.byteLength
  if (size > MAX_JSON) throw tooLarge(size, file)
  const text = typeof source === 'string' ? source.replace(/^\ufeff/, '') : decode(source, file)
  const isJson = /^\s*[{[]/.test(text) && isParsable(text)
  const bytes = typeof source === 'string' ? new TextEncoder().encode(source).byteLength : size
  if (bytes > (isJson ? MAX_JSON : MAX_YAML)) throw tooLarge(bytes, file)
  const read = { file, text, isJson, placeOf: placesIn(text, file) }
  const strange = /(?![\t\r\n])\p{Cc}|\p{Cs}|\ufeff|\r(?!\n)/u.exec(text)
  if (strange !== null) throw problemAt(read, strange.index, `${nameOf(strange[0])} may not stand in a policy file`)
  return read
}

/** An error for one thing that is wrong at one place. */
export function problemAt(text: PolicyText, offset: number, message: string): ValidationError {
  return new ValidationError([{ message, path: [], ...text.placeOf(offset) }])
}

function tooLarge(size: number, file: string | undefined): ValidationError {
  const message = `The file is too large (${Math.ceil(size / 1024)} KiB): at most 256 KiB of YAML, or 1 MiB of valid JSON`
  return new ValidationError([{ message, path: [], file, line: 1, column: 1 }])
}

function decode(bytes: Uint8Array, file: string | undefined): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes)
  } catch (cause) {
    const text = new TextDecoder().decode(bytes)
    const place = placesIn(text, file)(Math.max(0, text.indexOf('\ufffd')))
    throw new ValidationError([{ message: 'Expected UTF-8, and these bytes are not', path: [], ...place }], { cause })
  }
}

function isParsable(text: string): boolean {
  try {
    JSON.parse(text)
    return true
  } catch {
    return false
  }
}

function nameOf(character: string): string {
  const code = `U+${(character.codePointAt(0) as number).toString(16).toUpperCase().padStart(4, '0')}`
  if (character === '\r') return 'A carriage return without a line feed'
  return /\p{Cc}/u.test(character) ? `The control character ${code}` : `The character ${code}`
}

function placesIn(text: string, file: string | undefined): (offset: number) => Place {
  let starts: number[] | undefined
  return (offset) => {
    starts ??= lineStarts(text)
    let low = 0
    let high = starts.length
    while (high - low > 1) {
      const middle = (low + high) >> 1
      if ((starts[middle] as number) <= offset) low = middle
      else high = middle
    }
    return { file, line: low + 1, column: offset - (starts[low] as number) + 1 }
  }
}

function lineStarts(text: string): number[] {
  const starts = [0]
  for (let at = text.indexOf('\n'); at !== -1; at = text.indexOf('\n', at + 1)) starts.push(at + 1)
  return starts
}
