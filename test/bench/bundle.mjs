/**
 * Signed bundles: decisions beside fromPolicies in one process, how long a bundle takes to be applied and how long it holds
 * everything else up, and what shipping adds to a decision.
 */
import { execFile } from 'node:child_process'
import { promisify } from 'node:util'

const run = promisify(execFile)
const here = (name) => new URL(name, import.meta.url).pathname
const sorted = (values) => [...values].sort((a, b) => a - b)
const median = (values) => sorted(values)[values.length >> 1]

async function measure(...args) {
  const { stdout } = await run(process.execPath, ['--expose-gc', here('bundle-case.mjs'), ...args.map(String)])
  return JSON.parse(stdout)
}

const DECISIONS = [100, 1000, 10_000].flatMap((rules) => [0, 100_000].map((agents) => ['decide', rules, agents]))
const APPLIES = [
  ['apply', 10_000, 0, 'plain'],
  ['apply', 10_000, 0, 'conditions'],
  ['apply', 10_000, 100_000, 'plain'],
]

export async function benchBundle({ rounds, say }) {
  const cases = [...DECISIONS, ...APPLIES, ['ship']]
  const samples = cases.map(() => [])
  for (let round = 0; round < rounds; round++) {
    for (const [i, one] of cases.entries()) samples[i].push(await measure(...one))
    say(`bundle: round ${round + 1} of ${rounds}`)
  }
  const rows = cases.map(([kind, rules, agents, conditions], i) => {
    const figures = Object.keys(samples[i][0]).map((name) => [name, median(samples[i].map((one) => one[name]))])
    return {
      kind,
      rules,
      agents,
      conditions,
      ...Object.fromEntries(figures.map(([name, value]) => [name, Number(value.toFixed(2))])),
    }
  })
  for (const kind of ['decide', 'apply', 'ship']) console.table(rows.filter((row) => row.kind === kind))
  return rows
}
