/** Express 5 spells patterns its own way; this is how they are told to core. */

/** What has a meaning that core cannot know, or none any more in Express 5: escapes, quoted names, expressions. */
const UNREADABLE = /[\\"()[\]+?!]/

/**
 * A pattern of Express in canonical form. An optional group that holds only parameters makes them optional: `/a{/:id}` is
 * `/a/:id?`.
 *
 * @returns `undefined` for what is unmapped unless declared: an array, a RegExp, a group with text, an escape, a quoted name,
 * a path that does not begin with `/`.
 */
export function canonicalPattern(path: unknown): string | undefined {
  if (typeof path !== 'string' || UNREADABLE.test(path)) return undefined
  let canonical = ''
  let depth = 0
  for (const [piece] of path.matchAll(/[:*][A-Za-z_$][\w$]*|./gs)) {
    if (piece === '{') depth++
    else if (piece === '}') depth--
    else if (depth === 0 || piece === '/') canonical += piece
    else if (piece.length > 1) canonical += `${piece}?`
    else return undefined
  }
  return canonical === '' || canonical.startsWith('/') ? canonical : undefined
}

/** The pattern of a level put behind that of the levels above. */
export function joinPatterns(above: string | undefined, path: unknown): string | undefined {
  const own = canonicalPattern(path)
  return above === undefined || own === undefined ? undefined : above + own
}

/** The same as it was written, for people and for the keys of `actions`. */
export function joinSpelled(above: string, path: unknown): string {
  const own = String(path)
  const base = above.replace(/\/+$/, '')
  return own === '/' ? base : base + own
}
