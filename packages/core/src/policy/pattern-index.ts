import { covers } from './pattern.js'

/** Finds what was filed under the patterns that cover an action, without looking at all of them. */
export interface PatternIndex<T> {
  find(action: string): T[]
}

/** One pattern, and everything filed under it. */
interface Filed<T> {
  readonly pattern: string
  readonly values: T[]
}

/** Patterns by the hash of their literal head or tail, and which lengths of those there are. */
interface Ends<T> {
  readonly byHash: Map<number, Filed<T>[]>
  /** `lengths[n]` is 1 if some head or tail has n characters. */
  readonly lengths: Uint8Array
}

const MAX_LENGTH = 256

/**
 * Files values under patterns. An exact pattern is found in one look-up. A pattern with stars is found by the longer of its
 * literal ends: one pass over the action gives the hashes of all its heads, one pass back those of its tails. What has no
 * literal end (`*`, `*:a*`) is tried one by one. Everything found by a hash is matched, so equal hashes are no danger.
 */
export function createPatternIndex<T>(entries: Iterable<readonly [pattern: string, value: T]>): PatternIndex<T> {
  const exact = new Map<string, T[]>()
  const wild = new Map<string, Filed<T>>()
  for (const [pattern, value] of entries) {
    if (pattern.includes('*')) append(wild, pattern, value)
    else exact.get(pattern)?.push(value) ?? exact.set(pattern, [value])
  }
  const heads: Ends<T> = { byHash: new Map(), lengths: new Uint8Array(MAX_LENGTH + 1) }
  const tails: Ends<T> = { byHash: new Map(), lengths: new Uint8Array(MAX_LENGTH + 1) }
  const rest: Filed<T>[] = []
  for (const filed of wild.values()) file(filed, heads, tails, rest)
  return {
    find(action) {
      const found = exact.get(action)?.slice() ?? []
      if (heads.byHash.size > 0) collect(heads, action, 0, 1, found)
      if (tails.byHash.size > 0) collect(tails, action, action.length - 1, -1, found)
      for (const filed of rest) addCovering(filed, action, found)
      return found
    },
  }
}

function append<T>(wild: Map<string, Filed<T>>, pattern: string, value: T): void {
  const filed = wild.get(pattern)
  if (filed === undefined) wild.set(pattern, { pattern, values: [value] })
  else filed.values.push(value)
}

function file<T>(filed: Filed<T>, heads: Ends<T>, tails: Ends<T>, rest: Filed<T>[]): void {
  const { pattern } = filed
  const head = pattern.indexOf('*')
  const tail = pattern.length - 1 - pattern.lastIndexOf('*')
  if (head === 0 && tail === 0) rest.push(filed)
  else if (head >= tail) fileEnd(heads, filed, 0, 1, head)
  else fileEnd(tails, filed, pattern.length - 1, -1, tail)
}

function fileEnd<T>(ends: Ends<T>, filed: Filed<T>, start: number, step: 1 | -1, length: number): void {
  let hash = 0
  for (let i = 0; i < length; i++) hash = mix(hash, filed.pattern.charCodeAt(start + i * step))
  const same = ends.byHash.get(hash)
  if (same === undefined) ends.byHash.set(hash, [filed])
  else same.push(filed)
  ends.lengths[length] = 1
}

function collect<T>({ byHash, lengths }: Ends<T>, action: string, start: number, step: 1 | -1, found: T[]): void {
  let hash = 0
  for (let i = 0; i < action.length; i++) {
    hash = mix(hash, action.charCodeAt(start + i * step))
    const filed = lengths[i + 1] === 1 ? byHash.get(hash) : undefined
    if (filed !== undefined) for (const one of filed) addCovering(one, action, found)
  }
}

function addCovering<T>({ pattern, values }: Filed<T>, action: string, found: T[]): void {
  if (covers(pattern, action)) for (const value of values) found.push(value)
}

function mix(hash: number, unit: number): number {
  return (Math.imul(hash, 31) + unit) | 0
}
