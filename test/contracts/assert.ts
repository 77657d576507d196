/** What contract cases compare with. Injected, so that a case needs no test framework and runs in any runtime. */
export interface Assert {
  ok(value: unknown, message: string): void
  /** By structure: as JSON, `undefined` members left out. */
  equal(actual: unknown, expected: unknown, message?: string): void
  match(actual: unknown, pattern: RegExp, message?: string): void
  /** Answers the error. */
  throws(run: () => unknown, pattern: RegExp): Error
}

/** The asserts, in plain JavaScript. */
export const assert: Assert = {
  ok(value, message) {
    if (!value) throw new Error(message)
  },
  equal(actual, expected, message = 'not equal') {
    const [left, right] = [canonical(actual), canonical(expected)]
    if (left !== right) throw new Error(`${message}\n  expected ${right}\n  actual   ${left}`)
  },
  match(actual, pattern, message = 'no match') {
    if (typeof actual !== 'string' || !pattern.test(actual)) {
      throw new Error(`${message}\n  expected ${pattern}\n  actual   ${canonical(actual)}`)
    }
  },
  throws(run, pattern) {
    let error: unknown
    try {
      run()
    } catch (thrown) {
      error = thrown
    }
    if (error === undefined) throw new Error(`nothing was thrown; expected an error like ${pattern}`)
    const message = error instanceof Error ? `${error.name}: ${error.message}` : String(error)
    if (!pattern.test(message)) throw new Error(`another error was thrown\n  expected ${pattern}\n  actual   ${message}`)
    return error as Error
  },
}

/** JSON with sorted keys. */
function canonical(value: unknown): string {
  const sorted = (_key: string, member: unknown): unknown =>
    typeof member === 'object' && member !== null && !Array.isArray(member)
      ? Object.fromEntries(Object.entries(member).sort(([a], [b]) => (a < b ? -1 : 1)))
      : member
  return JSON.stringify(value, sorted) ?? 'undefined'
}
