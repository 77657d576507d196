/** The spelling of @koa/router's patterns. */

/** The name under which the first unnamed `(.*)` of a path-to-regexp 6 pattern is known; the router calls it `0`. */
export const UNNAMED = '$0'

const NAME = /[A-Za-z_$][\w$]*/y
const MODIFIERS = '?*+'

/**
 * A pattern as core reads it (text, `:name`, `*name`, optional `:name?`), from the spelling of path-to-regexp 8 (@koa/router 14
 * and 15: `:name`, `*name`, `{…}`) or 6 (@koa/router 13: `:name`, `:name?`, `:name*`, `:name(\\d+)`, `(.*)`). A parameter with
 * an expression is a parameter like any other.
 *
 * @returns `undefined` for what has no such form: groups that hold text, escapes, quoted names, other unnamed expressions. Such
 * a route is unmapped unless its action is declared.
 */
export function canonicalPattern(path: string): string | undefined {
  let canonical = ''
  let depth = 0
  let unnamed = 0
  for (let at = 0; at < path.length; ) {
    const char = path.charAt(at)
    if (char === '{' || char === '}') {
      depth += char === '{' ? 1 : -1
      at++
      if (char === '}' && isModifier(path, at)) return undefined
    } else if (char === ':' || char === '*') {
      const param = readParameter(path, at, depth > 0)
      if (param === undefined) return undefined
      canonical += param.text
      at = param.end
    } else if (char === '(') {
      if (depth > 0 || unnamed++ > 0 || !isWholeWildcard(path, at)) return undefined
      canonical += `*${UNNAMED}`
      at += '(.*)'.length
    } else {
      if (char === '\\' || (depth > 0 && char !== '/')) return undefined
      canonical += char
      at++
    }
  }
  return canonical
}

function readParameter(path: string, at: number, grouped: boolean): { text: string; end: number } | undefined {
  NAME.lastIndex = at + 1
  const name = NAME.exec(path)?.[0]
  if (name === undefined) return undefined
  const sign = path.charAt(at)
  const end = endOfExpression(path, at + 1 + name.length)
  if (grouped) return isModifier(path, end) ? undefined : { text: `${sign}${name}?`, end }
  if (sign === '*' || !isModifier(path, end)) return { text: sign + name, end }
  const texts = { '?': `:${name}?`, '*': `*${name}?`, '+': `*${name}` }
  return { text: texts[path.charAt(end) as keyof typeof texts], end: end + 1 }
}

/** Behind the expression of a parameter, `(\\d+)`, if there is one here. */
function endOfExpression(path: string, at: number): number {
  if (path.charAt(at) !== '(') return at
  let depth = 0
  for (let i = at; i < path.length; i++) {
    const char = path.charAt(i)
    if (char === '\\') i++
    else if (char === '(') depth++
    else if (char === ')' && --depth === 0) return i + 1
  }
  return path.length
}

function isModifier(path: string, at: number): boolean {
  return at < path.length && MODIFIERS.includes(path.charAt(at))
}

/** Whether an unnamed expression takes everything, and is a segment by itself. */
function isWholeWildcard(path: string, at: number): boolean {
  const behind = path.charAt(at + '(.*)'.length)
  return path.startsWith('(.*)', at) && path.charAt(at - 1) === '/' && (behind === '' || behind === '/')
}
