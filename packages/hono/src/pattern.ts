import type { Params } from '@meshguard/core'
import type { Context } from 'hono'

/** A route's pattern, as core reads it. */
export interface RoutePattern {
  /** Text, `:name`, `*name`, and optional parameters at the end; `undefined` when it cannot be told what matches what. */
  readonly canonical: string | undefined
  /** Why it cannot be read. */
  readonly problem?: string | undefined
  /** The parameters of a request that Hono matched with this pattern, decoded once. */
  readonly params: (c: Context) => Params
}

/** One segment of a pattern as Hono spells it. */
interface Segment {
  readonly canonical: string
  /** Its name to core, where it is a parameter. */
  readonly name?: string | undefined
  /** Hono's own name of the parameter; absent for `*`, which Hono gives no name. */
  readonly from?: string | undefined
  readonly kind: 'text' | 'one' | 'expression' | 'optional' | 'rest'
}

const NONE: Params = Object.freeze({})
const UNREADABLE =
  'The pattern has a part that is neither text, ":name", "*" nor an optional parameter at its end. ' +
  'Declare the action: protect(\'verb:object\') in front of the handler, or in "actions".'
const SHIFTED =
  'A "*" stands behind an expression or an optional parameter, so that its value cannot be told. Name it, like ":rest{.+}", or declare the action.'

/** The pattern of a handler that runs where Hono has not dispatched it. */
export const NOWHERE: RoutePattern = { canonical: undefined, params: () => NONE }

/**
 * Reads a pattern once. Hono gives no value for `*`: it is taken from `c.req.path`, the very string that the router matched,
 * and only where every segment before it stands for exactly one segment of the path.
 */
export function readPattern(path: string): RoutePattern {
  const labels = splitSegments(path)
  const optionals = path.endsWith('?') && path.includes(':')
  const segments = labels.map((label, i) => readSegment(label, i, i === labels.length - 1, optionals))
  if (!segments.every((segment) => segment !== undefined) || !optionalsAreLast(segments)) return unreadable(UNREADABLE)
  if (hasShiftedStar(segments)) return unreadable(SHIFTED)
  const canonical = `/${segments.map((segment) => segment.canonical).join('/')}`
  return { canonical, params: paramsOf(segments) }
}

function unreadable(problem: string): RoutePattern {
  return { ...NOWHERE, problem }
}

/** The segments behind the first `/`. A `/` inside the braces of an expression separates nothing. */
function splitSegments(path: string): string[] {
  const segments = ['']
  let depth = 0
  for (const char of path.slice(1)) {
    if (char === '{') depth++
    if (char === '}') depth--
    if (char === '/' && depth === 0) segments.push('')
    else segments[segments.length - 1] += char
  }
  return segments
}

/** As Hono reads it: in an expression, braces stand for repetition alone. */
const PARAMETER = /^:([^{}]+)(\{(?:[^{}]|\{[\d,]+\})+\})?$/
const NAME = /^[A-Za-z_$][\w$]*$/

function readSegment(label: string, index: number, last: boolean, optionals: boolean): Segment | undefined {
  if (label === '*') {
    const name = `wildcard${index}`
    return last ? { canonical: `*${name}?`, name, kind: 'rest' } : { canonical: `:${name}`, name, kind: 'one' }
  }
  if (!/[:*{}]/.test(label)) return { canonical: label, kind: 'text' }
  const optional = optionals && label.endsWith('?')
  const [, from, expression] = PARAMETER.exec(optional ? label.slice(0, -1) : label) ?? []
  if (from === undefined) return undefined
  const name = NAME.test(from) ? from : `param${index}`
  const kind = optional ? 'optional' : expression === undefined ? 'one' : 'expression'
  return { canonical: `:${name}${optional ? '?' : ''}`, name, from, kind }
}

/** Hono leaves out an optional parameter and all that stands behind it. */
function optionalsAreLast(segments: readonly Segment[]): boolean {
  const first = segments.findIndex((segment) => segment.kind === 'optional')
  return first === -1 || segments.slice(first).every((segment) => segment.kind === 'optional')
}

function hasShiftedStar(segments: readonly Segment[]): boolean {
  const first = segments.findIndex((segment) => segment.kind === 'expression' || segment.kind === 'optional')
  return first !== -1 && segments.slice(first).some((segment) => isStar(segment))
}

function isStar({ name, from }: Segment): boolean {
  return name !== undefined && from === undefined
}

function paramsOf(segments: readonly Segment[]): (c: Context) => Params {
  const named = segments.filter((segment) => segment.from !== undefined)
  if (segments.some(isStar)) return (c) => ({ ...valuesOf(c, named), ...starsOf(segments, c.req.path) })
  if (named.length === 0) return () => NONE
  return (c) => valuesOf(c, named)
}

function valuesOf(c: Context, named: readonly Segment[]): Record<string, string | undefined> {
  const values: Record<string, string | undefined> = {}
  for (const { name, from } of named) values[name as string] = c.req.param(from as string)
  return values
}

/** Core refuses an empty parameter: the answer to a value that cannot be had exactly. */
const REFUSED = ''

function starsOf(segments: readonly Segment[], path: string): Record<string, string | string[]> {
  const parts = path.slice(1).split('/')
  const exact = segments.every(({ kind, canonical }, i) => kind !== 'text' || parts[i] === canonical)
  const stars: Record<string, string | string[]> = {}
  segments.forEach((segment, i) => {
    if (!isStar(segment)) return
    const name = segment.name as string
    if (segment.kind === 'one') stars[name] = exact ? decodeSegment(parts[i]) : REFUSED
    else if (!exact) stars[name] = [REFUSED]
    else if (parts.length > i && path !== '/') stars[name] = parts.slice(i).map(decodeSegment)
  })
  return stars
}

function decodeSegment(segment: string | undefined): string {
  if (segment === undefined || !segment.includes('%')) return segment ?? REFUSED
  try {
    return decodeURIComponent(segment)
  } catch {
    return REFUSED
  }
}
