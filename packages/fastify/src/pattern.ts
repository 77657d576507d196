/** How find-my-way spells a pattern, put into core's canonical spelling. */

/** The name under which the value of a `*` is handed to core. */
export const WILDCARD = '$wildcard'

const NAME = /^[A-Za-z_$][\w$]*$/
const NAME_ENDS = new Set(['/', '-', '.', '('])

/**
 * The canonical spelling of a registered url: text, `:name`, `*name`, optional `:name?`. The expression of `:id(\\d+)` goes,
 * as it only narrows what matches.
 *
 * @returns `undefined` for a url that has none: one with a literal colon (`::`), with a parameter whose name is not a word, or
 * with text glued to an expression. Such a route is unmapped unless its action is declared.
 */
export function canonicalPattern(url: string): string | undefined {
  if (url === '*') return `/*${WILDCARD}`
  let pattern = ''
  for (let at = 0; at < url.length; ) {
    const char = url[at] as string
    if (char !== ':') {
      pattern += char === '*' ? `*${WILDCARD}` : char
      at += 1
      continue
    }
    const end = endOfName(url, at + 1)
    const name = url.slice(at + 1, end)
    if (!NAME.test(name.endsWith('?') ? name.slice(0, -1) : name)) return undefined
    pattern += `:${name}`
    at = end
    if (url[at] !== '(') continue
    at = endOfExpression(url, at)
    if (at < url.length && !NAME_ENDS.has(url[at] as string) && url[at] !== ':') return undefined
  }
  return pattern
}

function endOfName(url: string, from: number): number {
  let at = from
  while (at < url.length && !NAME_ENDS.has(url[at] as string)) at += 1
  return at
}

/** Behind the parenthesis that closes the one at `from`. */
function endOfExpression(url: string, from: number): number {
  let open = 0
  for (let at = from; at < url.length; at++) {
    if (url[at] === '\\') at += 1
    else if (url[at] === '(') open += 1
    else if (url[at] === ')' && --open === 0) return at + 1
  }
  return url.length
}
