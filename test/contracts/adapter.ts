/**
 * What every adapter promises, written once: at least 80 cases as plain data, which any runtime can loop over in ten lines.
 * A binding (`test/adapters/*.ts`) says how its framework spells an app; the cases say what must hold.
 */
import { actions } from './adapter/actions.js'
import { answers } from './adapter/answers.js'
import { answersBehind } from './adapter/answers-behind.js'
import { concurrency } from './adapter/concurrency.js'
import { credentials } from './adapter/credentials.js'
import { failingSources } from './adapter/failing-sources.js'
import { methods } from './adapter/methods.js'
import { modes } from './adapter/modes.js'
import { mounts } from './adapter/mounts.js'
import { natives } from './adapter/natives.js'
import { notARoute } from './adapter/not-a-route.js'
import { onDeniedCases } from './adapter/on-denied.js'
import { order } from './adapter/order.js'
import { ownChecks } from './adapter/own-checks.js'
import { params } from './adapter/params.js'
import { applies, type Binding } from './adapter/run.js'
import type { Case } from './adapter/spec.js'
import { tableCases } from './adapter/table.js'
import { usePath } from './adapter/use-path.js'

export { type Binding, runCase, type Served } from './adapter/run.js'
export type { Case } from './adapter/spec.js'

/** The cases by theme. */
export const themes: Readonly<Record<string, readonly Case[]>> = {
  actions,
  'what a route says of itself': ownChecks,
  parameters: params,
  'mounted routers': mounts,
  'before, after and in a row': order,
  'what one framework alone has': natives,
  'what is not a route': notARoute,
  'mounts that cannot be seen into': usePath,
  methods,
  credentials,
  'sources that fail': failingSources,
  'the words of a refusal': answers,
  'trace IDs, and what handlers answer': answersBehind,
  onDenied: onDeniedCases,
  modes,
  'requests at the same time': concurrency,
  'the route table and wrong options': tableCases,
}

/** Every case. */
export const cases: readonly Case[] = Object.values(themes).flat()

/** The cases that a binding can run, by theme. */
export function casesFor(binding: Binding): ReadonlyArray<readonly [theme: string, cases: readonly Case[]]> {
  return Object.entries(themes)
    .map(([theme, all]) => [theme, all.filter((one) => applies(one, binding))] as const)
    .filter(([, applicable]) => applicable.length > 0)
}
