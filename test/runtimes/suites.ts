/** Every contract that a runtime must pass, as one list of titles and functions. */
import { kit } from '../adapters/hono.js'
import type { Feature } from '../contracts/adapter/spec.js'
import { type Binding as AdapterBinding, themes as adapterThemes, runCase as runAdapter } from '../contracts/adapter.js'
import { agreementCases } from '../contracts/agreement.js'
import { assert } from '../contracts/assert.js'
import { themes as clientThemes, runCase as runClient } from '../contracts/client.js'
import { runCase as runSource, casesFor as sourceCases } from '../contracts/source.js'
import { bindBundle } from '../sources/bundle-binding.js'
import { gatewayOn, policiesHere, scriptedOn } from './on-stage.js'

/** What a runtime brings along. */
export interface Runtime {
  readonly name: string
  /** Where the stage is. */
  readonly stage: string
  serve: AdapterBinding['serve']
  /** What cannot be done there, and why: features, and titles of single cases. */
  readonly lacks: Readonly<Record<string, string>>
}

/** One case; `skipped` says why it cannot run. */
export interface Entry {
  readonly suite: string
  readonly title: string
  readonly skipped?: string
  run(): Promise<void>
}

/** How one case ended. */
export interface Outcome {
  readonly suite: string
  readonly title: string
  readonly skipped?: string
  readonly error?: string
}

/** Random sets in one runtime; Node has tried more. */
const RANDOM_SETS = 20

/** All cases of all contracts. */
export function suitesFor({ name, stage, serve, lacks }: Runtime): readonly Entry[] {
  const gateways = (['tokens', 'tokens and a service', 'ids'] as const).map((way) => gatewayOn(stage, way))
  const adapter: AdapterBinding = { kit, features: (['socket', 'any-method'] as const).filter((one) => !(one in lacks)), serve }
  const isFor = (need: Feature) => kit.features.has(need) || need === 'socket' || need === 'any-method'
  return [
    ...Object.values(adapterThemes)
      .flat()
      .filter(({ needs = [] }) => needs.every(isFor))
      .map((one) => {
        const [skipped] = [one.title, ...(one.needs ?? [])].flatMap((lacked) => lacks[lacked] ?? [])
        return entry('Hono', one.title, () => runAdapter(one, adapter, assert), skipped)
      }),
    ...[policiesHere, ...gateways, ...bundles].flatMap((binding) =>
      sourceCases(binding).flatMap(([, cases]) =>
        cases.map((one) => entry(binding.name, one.title, () => byOwnClock(() => runSource(one, binding, assert)))),
      ),
    ),
    ...bundles.flatMap((binding) =>
      agreementCases(RANDOM_SETS).map((one) =>
        entry(binding.name, one.title, () => byOwnClock(() => one.run(binding, assert))),
      ),
    ),
    ...Object.values(clientThemes)
      .flat()
      .map((one) => entry('the client', one.title, () => runClient(one, scriptedOn(stage, name), assert))),
  ]
}

/** No promise: that it fails shows that what fails in a runtime is told. */
export const failing: Entry = entry('the loop', 'tells of what fails', () => Promise.reject(new Error('this case fails')))

const bundles = (['tokens', 'agents', 'agents that the bundle knows'] as const).map((way) => bindBundle(way, setClock))

function setClock(ms: number): void {
  Date.now = () => ms
}

/** Gives the clock back that a case moves. */
async function byOwnClock(run: () => Promise<void>): Promise<void> {
  const { now } = Date
  try {
    await run()
  } finally {
    Date.now = now
  }
}

function entry(suite: string, title: string, run: () => Promise<void>, skipped?: string): Entry {
  return { suite, title, run, ...(skipped === undefined ? {} : { skipped }) }
}

/** Runs one case. */
export async function outcomeOf({ suite, title, skipped, run }: Entry): Promise<Outcome> {
  if (skipped !== undefined) return { suite, title, skipped }
  try {
    await run()
    return { suite, title }
  } catch (error) {
    return { suite, title, error: error instanceof Error ? `${error.message}\n${error.stack}` : String(error) }
  }
}
