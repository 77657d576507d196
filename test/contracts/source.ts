/**
 * What every decision source promises, written once: cases as plain data, which any runtime can loop over in ten lines. A
 * binding (`test/sources/*.ts`) says how its source is brought to decide by policies; the cases say what must hold.
 */
import { askingCases } from './source/asking.js'
import { circumstanceCases } from './source/circumstances.js'
import { limitCases } from './source/limits.js'
import { policyCases } from './source/policies.js'
import { applies } from './source/run.js'
import type { Binding, Case } from './source/spec.js'

export { runCase } from './source/run.js'
export type { Binding, Case, Feature, Setup, SourceWorld } from './source/spec.js'

/** The cases by theme. */
export const themes: Readonly<Record<string, readonly Case[]>> = {
  'what policies say': policyCases,
  'under which circumstances': circumstanceCases,
  limits: limitCases,
  'who asks, and how': askingCases,
}

/** The cases that a binding can run, by theme. */
export function casesFor(binding: Binding): ReadonlyArray<readonly [theme: string, cases: readonly Case[]]> {
  return Object.entries(themes).map(([theme, all]) => [theme, all.filter((one) => applies(one, binding))] as const)
}
