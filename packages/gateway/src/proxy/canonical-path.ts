/** The target of a proxied request, read the one way that it can be read. */
export interface CanonicalTarget {
  /** The path behind `/proxy`, byte for byte; begins with `/`. */
  readonly path: string
  /** `?` and what follows, byte for byte; `''` without one. */
  readonly query: string
  /** The segments of the path, each decoded once. The last is `''` behind a trailing slash. */
  readonly segments: readonly string[]
}

/** Why a target is not canonical. */
export interface NotCanonical {
  readonly problem: string
}

const PREFIX = '/proxy/'
const MAX_PATH = 2048
const HASH = 35
const PERCENT = 37
const SLASH = 47
const QUESTION = 63
const BACKSLASH = 92

/** The characters of a segment that stand for themselves: RFC 3986 `pchar`, but no `;`, which servers read in two ways. */
const LITERAL = tableOf("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~!$&'()*+,=:@%")

/**
 * Reads a raw request target under `/proxy/`. What passes can be appended to the address of the upstream, and means there what
 * was authorised here: no server decodes it into another path, and no URL parser resolves it to another place.
 *
 * Takes time linear in the length of the target, and never throws.
 */
export function readTarget(target: string): CanonicalTarget | NotCanonical {
  if (!target.startsWith(PREFIX)) return { problem: `The path does not begin with ${PREFIX}` }
  const end = endOfPath(target)
  if (end < 0) return { problem: 'The target holds a character that is not printable ASCII, a "#" or a "\\"' }
  if (end > MAX_PATH) return { problem: `The path is longer than ${MAX_PATH} characters` }
  const path = target.slice(PREFIX.length - 1, end)
  const raw = path.slice(1).split('/')
  const segments: string[] = []
  for (const [i, segment] of raw.entries()) {
    const decoded = segment === '' && i === raw.length - 1 ? '' : decodeSegment(segment)
    if (decoded === undefined) return { problem: `The segment ${i + 1} of the path is not in canonical form` }
    segments.push(decoded)
  }
  return { path, query: target.slice(end), segments }
}

/** Where the query begins, or the end; -1 where a character may not be in a target at all. */
function endOfPath(target: string): number {
  let end = target.length
  for (let i = 0; i < target.length; i++) {
    const unit = target.charCodeAt(i)
    if (unit <= 32 || unit >= 127 || unit === HASH || unit === BACKSLASH) return -1
    if (unit === QUESTION && end === target.length) end = i
  }
  return end
}

/** The text of a segment, or `undefined` where it is empty or could be read in more than one way. */
function decodeSegment(segment: string): string | undefined {
  let encoded = false
  for (let i = 0; i < segment.length; i++) {
    const unit = segment.charCodeAt(i)
    if (LITERAL[unit] !== true) return undefined
    if (unit === PERCENT) encoded = true
  }
  if (!encoded) return isOnlyDots(segment) ? undefined : segment
  const decoded = decodeOnce(segment)
  if (decoded === undefined || !isPlain(decoded)) return undefined
  return isPlain(decoded.normalize('NFKC')) ? decoded : undefined
}

/** Malformed escapes, and bytes that are not UTF-8, are `undefined`. */
function decodeOnce(segment: string): string | undefined {
  try {
    return decodeURIComponent(segment)
  } catch {
    return undefined
  }
}

/** Whether no server takes this text for more than one segment, or for another one. */
function isPlain(text: string): boolean {
  for (let i = 0; i < text.length; i++) {
    const unit = text.charCodeAt(i)
    if (unit < 32 || (unit >= 127 && unit < 160)) return false
    if (unit === SLASH || unit === BACKSLASH || unit === PERCENT || unit === SEMICOLON) return false
  }
  return !isOnlyDots(text)
}

const SEMICOLON = 59
const DOT = 46

/** Also true of nothing at all. */
function isOnlyDots(text: string): boolean {
  for (let i = 0; i < text.length; i++) if (text.charCodeAt(i) !== DOT) return false
  return true
}

function tableOf(characters: string): readonly boolean[] {
  const table = new Array<boolean>(128).fill(false)
  for (const character of characters) table[character.charCodeAt(0)] = true
  return table
}
