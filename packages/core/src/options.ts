/** Checks of options, made when the thing they are for is created and never at the first request. */

/** Whether a value is what JSON calls an object. */
export function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/**
 * Refuses options that are not an object, or that hold a key nobody knows.
 *
 * @throws TypeError naming the option, with the nearest right name.
 */
export function assertOptions(where: string, options: unknown, known: readonly string[]): void {
  if (!isObject(options)) throw new TypeError(`${where}: expected an object of options`)
  for (const key of Object.keys(options)) {
    if (known.includes(key)) continue
    const near = nearest(key, known)
    throw new TypeError(`${where}: unknown option "${key}"${near === undefined ? '' : `. Did you mean "${near}"?`}`)
  }
}

/** Refuses an option that is there and is not a function. */
export function assertFunction(where: string, name: string, value: unknown): void {
  if (value !== undefined && typeof value !== 'function') throw new TypeError(`${where}: option "${name}" must be a function`)
}

/** Refuses an option that is not one of a few words. */
export function assertOneOf(where: string, name: string, value: unknown, words: readonly string[]): void {
  if (typeof value === 'string' && words.includes(value)) return
  throw new TypeError(`${where}: option "${name}" must be one of ${words.map((word) => `"${word}"`).join(', ')}`)
}

/** Refuses an option that is not a positive, finite number of milliseconds. */
export function assertMs(where: string, name: string, value: unknown): void {
  if (typeof value === 'number' && Number.isFinite(value) && value > 0) return
  throw new TypeError(`${where}: option "${name}" must be a positive number of milliseconds`)
}

/** The known word that a misspelt one is closest to, if any is close: at most a third of its letters differ. */
export function nearest(word: string, known: readonly string[]): string | undefined {
  let best: string | undefined
  let least = Math.max(1, Math.floor(word.length / 3)) + 1
  for (const candidate of known) {
    const distance = editDistance(word.toLowerCase(), candidate.toLowerCase())
    if (distance < least) {
      best = candidate
      least = distance
    }
  }
  return best
}

/** Levenshtein's distance, of words up to 64 characters. */
function editDistance(a: string, b: string): number {
  if (a.length > 64 || b.length > 64) return 64
  let previous = Array.from({ length: b.length + 1 }, (_, j) => j)
  for (let i = 1; i <= a.length; i++) {
    const row = [i]
    for (let j = 1; j <= b.length; j++) {
      const substituted = (previous[j - 1] as number) + (a[i - 1] === b[j - 1] ? 0 : 1)
      row.push(Math.min(substituted, (previous[j] as number) + 1, (row[j - 1] as number) + 1))
    }
    previous = row
  }
  return previous[b.length] as number
}
