import { isAction } from '../action.js'
import { type Check, compileCondition, FALSE, TRUE } from './checks.js'
import type { AttributeCondition, Condition } from './conditions.js'
import { covers } from './pattern.js'
import type { Rule } from './policy.js'

/**
 * Whether every action that `inner` covers is covered by `outer` too. The stars of `inner` are text that only a star of
 * `outer` can stand for, because no pattern holds them otherwise.
 */
export function coversPattern(outer: string, inner: string): boolean {
  return covers(outer, inner === '*' ? EVERYTHING : inner)
}

/** What `*` comes to, since every action holds a colon. */
export const EVERYTHING = '*:*'

/** Whether some text is covered by both patterns: between heads and tails that agree, stars leave room for all the rest. */
export function overlap(one: string, other: string): boolean {
  if (!one.includes('*')) return covers(other, one)
  if (!other.includes('*')) return covers(one, other)
  const head = Math.min(one.indexOf('*'), other.indexOf('*'))
  const tail = Math.min(one.length - one.lastIndexOf('*'), other.length - other.lastIndexOf('*')) - 1
  return one.slice(0, head) === other.slice(0, head) && one.slice(one.length - tail) === other.slice(other.length - tail)
}

/** An action that both patterns cover, one of the shortest; `undefined` if there is none. */
export function commonAction(one: string, other: string): string | undefined {
  if (!overlap(one, other)) return undefined
  if (one.includes('*') && other.includes('*')) return search(one, other)
  return one.includes('*') ? other : one
}

/** How far an action has got: nothing yet, its verb, its first colon, its object. */
const NOTHING = 0
const VERB = 1
const COLON = 2
const OBJECT = 3

interface Step {
  /** The place in the one pattern, and in the other. */
  readonly i: number
  readonly j: number
  readonly part: number
  readonly text: string
}

/** Walks both patterns at once, breadth first. There are at most four times the product of their lengths steps. */
function search(one: string, other: string): string | undefined {
  const queue: Step[] = [{ i: 0, j: 0, part: NOTHING, text: '' }]
  const seen = new Set<number>()
  for (let at = 0; at < queue.length; at++) {
    const { i, j, part, text } = queue[at] as Step
    const key = (i * (other.length + 1) + j) * 4 + part
    if (seen.has(key)) continue
    seen.add(key)
    if (i === one.length && j === other.length && part === OBJECT) return isAction(text) ? text : undefined
    if (one[i] === '*') queue.push({ i: i + 1, j, part, text })
    if (other[j] === '*') queue.push({ i, j: j + 1, part, text })
    for (const letter of new Set([one[i] ?? '', other[j] ?? '', 'x', ':'])) {
      const next = partAfter(part, letter)
      const [ahead, otherAhead] = [take(one, i, letter), take(other, j, letter)]
      if (next === undefined || ahead === undefined || otherAhead === undefined) continue
      queue.push({ i: ahead, j: otherAhead, part: next, text: text + letter })
    }
  }
  return undefined
}

/** Where a pattern goes on after a letter. */
function take(pattern: string, at: number, letter: string): number | undefined {
  if (pattern[at] === '*') return at
  return pattern[at] === letter ? at + 1 : undefined
}

function partAfter(part: number, letter: string): number | undefined {
  if (letter === '' || letter === '*') return undefined
  if (part === NOTHING) return letter === ':' ? undefined : VERB
  if (part === VERB) return letter === ':' ? COLON : VERB
  return OBJECT
}

/** Whether an allow and a deny never match the same request: the values that the allow asks for are ones that the deny rejects. */
export function areApart(allow: Rule, deny: Rule): boolean {
  return allow.conditions.some((condition) => {
    const other = deny.conditions.find(({ path }) => path === condition.path)
    const values = valuesOf(condition)
    if (other === undefined || values === undefined) return false
    const [wanted, rejected] = [checkOf(condition), checkOf(other)]
    return values
      .map((value) => requestWith(condition.path, value))
      .every((request) => wanted(request, 0) !== TRUE || rejected(request, 0) === FALSE)
  })
}

const checks = new WeakMap<Condition, Check>()

/** A condition made ready once, however many others it is compared with. */
function checkOf(condition: Condition): Check {
  const check = checks.get(condition) ?? compileCondition(condition)
  checks.set(condition, check)
  return check
}

/** All values that an attribute can have for a condition to hold, where it lists them. */
function valuesOf(condition: Condition): readonly unknown[] | undefined {
  if ('range' in condition || condition.path === 'agent.tags') return undefined
  const { tests }: AttributeCondition = condition
  const listing = tests.find(({ operator }) => operator === 'equals' || operator === 'in')
  return listing && [listing.operand].flat()
}

/** A request of which only one attribute is known. */
function requestWith(path: string, value: unknown): { action: string; traceId: string } {
  const nested = path.split('.').reduceRight<unknown>((inner, key) => ({ [key]: inner }), value)
  return { action: '', traceId: '', ...(nested as object) }
}
