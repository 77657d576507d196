/** Reads a large JSON document in slices, so that nothing else has to wait for the whole of it. */

/** Units of text that are parsed at a time: a few milliseconds. */
const PIECE = 128 * 1024

/** Lets whatever else waits go first. Begun anew each time, because on Workers a timer belongs to the request that set it. */
export function giveWay(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, 0))
}

/** After work on much text. */
export async function giveWayAfter(text: string): Promise<void> {
  if (text.length >= PIECE) await giveWay()
}

const [QUOTE, COMMA, BACKSLASH] = [34, 44, 92]
const [OPEN_LIST, CLOSE_LIST, OPEN_OBJECT, CLOSE_OBJECT] = [91, 93, 123, 125]
const BLANK = /^[ \t\n\r]*$/
const MEMBER = /^\{[ \t\n\r]*"(\w+)"[ \t\n\r]*:[ \t\n\r]*([[{])/

/**
 * Parses a JSON object. The members that are named in `inPieces` are not kept but handed over as they come, part by part: an
 * object as objects of some of its members, a list as lists of some of its entries.
 *
 * @throws SyntaxError for what is no JSON object, or one that hides a member of `inPieces` behind escapes (`"\u0061gents"`).
 */
export async function readJson(
  text: string,
  inPieces: Readonly<Record<string, (part: unknown) => void>>,
): Promise<Record<string, unknown>> {
  const members = new Map<string, unknown>()
  const start = text.search(/[^ \t\n\r]/)
  if (text[start] !== '{') throw new SyntaxError('Not an object')
  const whole = piecesOf(text, start, 0)
  let piece = whole.next()
  for (; piece.done !== true; piece = whole.next()) {
    await giveWayAfter(piece.value)
    const [, name = '', open = ''] = MEMBER.exec(piece.value) ?? []
    const take = Object.hasOwn(inPieces, name) ? inPieces[name] : undefined
    if (take === undefined) {
      for (const [key, value] of Object.entries(JSON.parse(piece.value) as object)) {
        if (Object.hasOwn(inPieces, key) && typeof value === 'object' && value !== null) {
          throw new SyntaxError(`${key} is written with escapes in its name`)
        }
        members.set(key, value)
      }
    } else {
      members.set(name, open === '[' ? [] : {})
      await readPieces(piece.value, take)
    }
  }
  if (!BLANK.test(text.slice(piece.value))) throw new SyntaxError('Something follows the object')
  return Object.fromEntries(members)
}

/** @param member An object with one member. */
async function readPieces(member: string, take: (part: unknown) => void): Promise<void> {
  const [head = ''] = MEMBER.exec(member) ?? []
  const pieces = piecesOf(member, head.length - 1, PIECE)
  let piece = pieces.next()
  for (; piece.done !== true; piece = pieces.next()) {
    take(JSON.parse(piece.value))
    await giveWayAfter(piece.value)
  }
  if (!/^[ \t\n\r]*\}$/.test(member.slice(piece.value))) throw new SyntaxError('A member does not end')
}

/**
 * Cuts an object or list at its own commas into objects or lists of at least `size` units of text. It only looks for where
 * they end: each piece is still to be parsed. Returns where the text goes on.
 */
function* piecesOf(text: string, start: number, size: number): Generator<string, number> {
  const [open, close] = text[start] === '{' ? ['{', CLOSE_OBJECT] : ['[', CLOSE_LIST]
  const end = open === '{' ? '}' : ']'
  let depth = 0
  let from = start + 1
  for (let i = start; i < text.length; i++) {
    const unit = text.charCodeAt(i)
    if (unit === QUOTE) i = endOfString(text, i)
    else if (unit === OPEN_OBJECT || unit === OPEN_LIST) depth++
    else if (unit === CLOSE_OBJECT || unit === CLOSE_LIST) {
      if (--depth > 0) continue
      const last = text.slice(from, i)
      if (unit !== close || (from > start + 1 && BLANK.test(last))) break
      yield open + last + end
      return i + 1
    } else if (unit === COMMA && depth === 1 && i - from >= size) {
      const some = text.slice(from, i)
      if (BLANK.test(some)) break
      yield open + some + end
      from = i + 1
    }
  }
  throw new SyntaxError('A list or object does not end')
}

function endOfString(text: string, start: number): number {
  let i = start + 1
  for (let unit = text.charCodeAt(i); i < text.length && unit !== QUOTE; unit = text.charCodeAt(i)) {
    i += unit === BACKSLASH ? 2 : 1
  }
  return i
}
