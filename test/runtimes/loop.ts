import { failing, outcomeOf, type Runtime, suitesFor } from './suites.js'

/** The loop: every case, one after the other, each outcome a line of JSON. */
export async function loop(runtime: Runtime): Promise<void> {
  for (const one of [failing, ...suitesFor(runtime)]) console.log(JSON.stringify(await outcomeOf(one)))
}
