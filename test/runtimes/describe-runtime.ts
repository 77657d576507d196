import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import { type Stage, startStage } from './stage.js'
import { type Entry, failing, type Outcome, type Runtime, suitesFor } from './suites.js'

/** A runtime in which cases run. */
export interface Running {
  /** How a case ended. */
  outcome(entry: Entry): Promise<Outcome>
  close(): Promise<void>
}

/**
 * Runs every contract in a runtime. The cases are those of Node: each has run there, or is skipped with its reason.
 *
 * @param cases How many must run and how many are skipped.
 */
export function describeRuntime(
  { name, lacks }: Pick<Runtime, 'name' | 'lacks'>,
  cases: { readonly skipped: number },
  start: (stage: string) => Promise<Running>,
): void {
  const refuse = () => Promise.reject(new Error('The cases run elsewhere'))
  const entries = suitesFor({ name, lacks, stage: '', serve: refuse })
  let stage: Stage
  let running: Running
  let ran = 0

  beforeAll(async () => {
    stage = await startStage()
    running = await start(stage.url)
  }, 120_000)
  afterAll(async () => {
    await running?.close()
    await stage?.close()
    vi.useRealTimers()
  })

  for (const suite of new Set(entries.map((entry) => entry.suite))) {
    describe(`${suite} in ${name}`, () => {
      for (const entry of entries.filter((one) => one.suite === suite)) {
        it.skipIf(entry.skipped !== undefined)(`${entry.title}${entry.skipped ? ` (${entry.skipped})` : ''}`, async () => {
          expect(await running.outcome(entry)).toEqual({ suite, title: entry.title })
          ran++
        })
      }
    })
  }

  it(`a case that fails in ${name} fails here`, async () => {
    expect((await running.outcome(failing)).error).toContain('this case fails')
  })

  it(`${name} ran every case that Node runs, but for ${cases.skipped}`, () => {
    expect(entries.filter(({ skipped }) => skipped !== undefined)).toHaveLength(cases.skipped)
    expect(ran).toBe(entries.length - cases.skipped)
  })
}
