/** What a gateway on PostgreSQL answers beside one on SQLite, and three of them. The database is on the core of the load. */
import { execFile, fork } from 'node:child_process'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { transformSync } from 'esbuild'

const run = promisify(execFile)
const here = (name) => new URL(name, import.meta.url).pathname
const REPLICAS = 3
const CONNECTIONS = 63

const median = (values) => [...values].sort((a, b) => a - b)[values.length >> 1]
const medianOf = (samples, key) => Number(median(samples.map((sample) => sample[key])).toFixed(3))

/** The server of the tests, which is TypeScript. */
async function loadServer() {
  const { code } = transformSync(readFileSync(here('../postgres/server.ts'), 'utf8'), { loader: 'ts', format: 'esm' })
  mkdirSync(here('results/'), { recursive: true })
  writeFileSync(here('results/postgres-server.mjs'), code)
  return import('./results/postgres-server.mjs')
}

/**
 * @param onTwoCores Whether gateways are pinned to the first core, and the database and the load to the second.
 */
export async function benchPostgres({ rounds, seconds, onTwoCores, say }) {
  const pin = (core) => (onTwoCores ? ['taskset', '-c', core] : [])
  const { startPostgres } = await loadServer()
  const postgres = await startPostgres({ durable: true, prefix: pin('1') })
  const folder = mkdtempSync(join(tmpdir(), 'meshguard-bench-keys-'))
  const start = async (env) => {
    const [execPath, ...execArgv] = [...pin('0'), process.execPath]
    const child = fork(here('check-server.mjs'), ['gateway'], { execPath, execArgv, env: { ...process.env, ...env } })
    const at = await new Promise((resolve, reject) => {
      child.once('message', resolve)
      child.once('exit', () => reject(new Error('A gateway ended')))
    })
    const usage = () => {
      child.send('usage')
      return new Promise((resolve) => child.once('message', resolve))
    }
    return { ...at, usage, stop: () => child.disconnect() }
  }
  const load = async ({ url, token }, connections) => {
    const args = [here('check-load.mjs'), url, token, seconds, '/proxy/check', connections]
    const [file, ...rest] = [...pin('1'), process.execPath, ...args.map(String)]
    const sample = JSON.parse((await run(file, rest)).stdout)
    if (sample.refused > 0) throw new Error(`${sample.refused} requests were refused`)
    return sample
  }
  const cpuOf = async (gateways) => {
    const usages = await Promise.all(gateways.map(({ usage }) => usage()))
    return usages.reduce((total, { cpuUs }) => total + cpuUs, 0)
  }
  const all = async (gateways) => {
    const before = await cpuOf(gateways)
    const samples = await Promise.all(gateways.map((one) => load(one, Math.floor(CONNECTIONS / gateways.length))))
    const sum = (key) => samples.reduce((total, sample) => total + sample[key], 0)
    const most = (key) => Math.max(...samples.map((sample) => sample[key]))
    const cpuUs = ((await cpuOf(gateways)) - before) / sum('answered')
    return { perSecond: sum('perSecond'), answered: sum('answered'), p50: most('p50'), p99: most('p99'), cpuUs }
  }
  const ask = async (url, text) => (await postgres.query(text, url)).rows[0]
  const counters = `select xact_commit::int as commits, pg_current_wal_lsn() - '0/0'::pg_lsn as wal from pg_stat_database
    where datname = current_database()`

  const [one, shared] = [await postgres.createDatabase(), await postgres.createDatabase()]
  const on = (url) => ({ DATABASE_URL: url, SIGNING_KEY_FILE: join(folder, 'keys.json') })
  const cases = [
    { name: 'SQLite', gateways: [], samples: [] },
    { name: 'PostgreSQL', gateways: [], samples: [], database: one },
    { name: `PostgreSQL, ${REPLICAS} gateways`, gateways: [], samples: [], database: shared },
  ]
  try {
    cases[0].gateways.push(await start({}))
    cases[1].gateways.push(await start(on(one)))
    for (let i = 0; i < REPLICAS; i++) cases[2].gateways.push(await start(on(shared)))
    for (const { gateways } of cases) await all(gateways)
    for (let round = 0; round < rounds; round++) {
      for (const { gateways, samples, database } of cases) {
        const before = database && (await ask(database, counters))
        const sample = await all(gateways)
        const after = database && (await ask(database, counters))
        const of = (key) => (after === undefined ? 0 : (Number(after[key]) - Number(before[key])) / sample.answered)
        samples.push({ ...sample, commits: of('commits'), wal: of('wal') })
      }
      say(`postgres: round ${round + 1} of ${rounds}`)
    }
  } finally {
    for (const { gateways } of cases) for (const { stop } of gateways) stop()
    await postgres.close()
    rmSync(folder, { recursive: true, force: true })
  }
  const rows = cases.map(({ name, samples }) => {
    const ratio = (to) =>
      medianOf(
        samples.map(({ perSecond }, i) => ({ of: perSecond / to.samples[i].perSecond })),
        'of',
      )
    const [perSecond, p50, p99, cpuUs, commits, wal] = ['perSecond', 'p50', 'p99', 'cpuUs', 'commits', 'wal'].map((key) =>
      medianOf(samples, key),
    )
    return {
      name,
      perSecond: Math.round(perSecond),
      p50,
      p99,
      cpuUs,
      ofSqlite: ratio(cases[0]),
      ofOne: ratio(cases[1]),
      commits,
      wal,
    }
  })
  console.table(rows)
  return rows
}
