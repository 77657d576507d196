/**
 * Runs the benchmarks: each case in a process of its own, rounds interleaved (A B A B), medians with their spread, a table on
 * the terminal and JSON in test/bench/results/.
 *
 *   npm run bench                     everything
 *   npm run bench -- decide           decisions in process: decide, unseen
 *   npm run bench -- routes express   protected routes of one framework
 *   npm run bench -- check            checks over HTTP: fromGateway beside undici (clients), /proxy/check beside constants (servers)
 *   npm run bench -- check servers    one half of it
 *   npm run bench -- bundle           decisions by signed bundles beside fromPolicies, applying large ones, and shipping
 *   npm run bench -- postgres         checks over HTTP with PostgreSQL beside SQLite, and with three gateways on one database
 *   npm run bench -- guards           a thousand guards on one gateway: a policy change, and what polls cost
 *   npm run bench -- proxy            the gateway's proxy beside a bare undici pipe: 1 KB, and 10 MB either way
 *   npm run bench -- workers          Workers in workerd: their size, and the time to the first answer of a new isolate
 *   npm run bench -- memory           the gateway's memory over a million checks, or as many as are named
 *
 * MESHGUARD_ROUNDS (default 5) and MESHGUARD_PAIRS (default 15) set how often, MESHGUARD_SECONDS (default 3) how long a pair's
 * half takes.
 */
import { execFile, fork } from 'node:child_process'
import { mkdirSync, writeFileSync } from 'node:fs'
import { cpus } from 'node:os'
import { promisify } from 'node:util'
import { benchBundle } from './bundle.mjs'
import { benchCheck } from './check.mjs'
import { benchGuards } from './guards.mjs'
import { benchMemory } from './memory.mjs'
import { benchPostgres } from './postgres.mjs'
import { benchProxy } from './proxy.mjs'
import { benchWorkers } from './workers.mjs'

const run = promisify(execFile)
const here = (name) => new URL(name, import.meta.url).pathname
const ROUNDS = Number(process.env.MESHGUARD_ROUNDS ?? 5)
const PAIRS = Number(process.env.MESHGUARD_PAIRS ?? 15)
const SECONDS = process.env.MESHGUARD_SECONDS ?? '3'
const FRAMEWORKS = ['express', 'koa', 'hono', 'fastify']

const sorted = (values) => [...values].sort((a, b) => a - b)
const median = (values) => sorted(values)[values.length >> 1]
const spread = (values) => [sorted(values)[0], sorted(values).at(-1)]
const say = (line) => process.stdout.write(`${line}\n`)

async function measure(script, args) {
  const { stdout } = await run(process.execPath, ['--expose-gc', here(script), ...args.map(String)])
  return JSON.parse(stdout)
}

/** Decisions in process, beside a bare look-up, a scan and CASL. */
async function benchDecide() {
  const sizes = [10, 100, 1000, 10_000]
  const variants = [
    ['hits', 'plain'],
    ['misses', 'plain'],
    ['hits', 'conditions'],
  ]
  const cases = sizes.flatMap((rules) => [
    ...variants.flatMap(([kind, conditions]) => ['lookup', 'meshguard'].map((who) => ({ who, rules, kind, conditions }))),
    ...['scan', 'casl'].map((who) => ({ who, rules, kind: 'hits', conditions: 'plain' })),
  ])
  const samples = cases.map(() => [])
  for (let round = 0; round < ROUNDS; round++) {
    for (const [i, { who, rules, kind, conditions }] of cases.entries()) {
      samples[i].push(await measure('decide.mjs', [who, rules, kind, conditions]))
    }
    say(`decide: round ${round + 1} of ${ROUNDS}`)
  }
  const rows = cases.map((one, i) => ({
    ...one,
    ns: Math.round(median(samples[i].map(({ ns }) => ns))),
    spreadNs: spread(samples[i].map(({ ns }) => ns)).map(Math.round),
    heapMB: Number(median(samples[i].map(({ heapMB }) => heapMB)).toFixed(1)),
  }))
  for (const row of rows) {
    const bare = rows.find(
      (one) => one.who === 'lookup' && one.rules === row.rules && one.kind === row.kind && one.conditions === row.conditions,
    )
    row.ofLookup = bare === undefined ? undefined : Number((bare.ns / row.ns).toFixed(2))
  }
  console.table(rows)
  return rows
}

/** Decisions on actions never seen before. */
async function benchUnseen() {
  const rows = []
  for (const rules of [100, 1000, 10_000]) {
    const samples = []
    for (let round = 0; round < ROUNDS; round++) samples.push(await measure('unseen.mjs', [rules]))
    rows.push({
      rules,
      p50Ns: median(samples.map(({ ns }) => ns)),
      p99Ns: median(samples.map(({ p99 }) => p99)),
      firstOfProfileUs: Math.round(median(samples.map(({ firstOfProfileUs }) => firstOfProfileUs))),
    })
  }
  console.table(rows)
  return rows
}

const ON_TWO_CORES = process.platform === 'linux' && cpus().length > 1

/** A server on the first core, where the machine has taskset and two of them. */
function startServer(framework, kind) {
  const pinned = ON_TWO_CORES ? { execPath: 'taskset', execArgv: ['-c', '0', process.execPath] } : {}
  const child = fork(here('server.mjs'), [framework, kind], pinned)
  const ended = new Promise((_resolve, reject) => {
    child.once('exit', () => reject(new Error(`The ${kind} ${framework} server ended`)))
  })
  const next = () => Promise.race([new Promise((resolve) => child.once('message', resolve)), ended])
  const usage = () => {
    child.send('usage')
    return next()
  }
  const stop = async () => {
    child.disconnect()
    await ended.catch(() => {})
  }
  return { ready: next(), usage, stop }
}

/** The load, on the second core. */
function startLoad(args) {
  const command = [process.execPath, here('load.mjs'), ...args.map(String)]
  const [file, ...rest] = ON_TWO_CORES ? ['taskset', '-c', '1', ...command] : command
  return run(file, rest)
}

async function half(server, { port, token }) {
  const before = await server.usage()
  const { stdout } = await startLoad([port, token, SECONDS])
  const after = await server.usage()
  const { answered, refused, perSecond } = JSON.parse(stdout)
  if (refused > 0 || answered === 0) throw new Error(`${refused} requests were refused, ${answered} answered`)
  return { perSecond, cpuUs: (after.cpuUs - before.cpuUs) / answered }
}

/** Protected beside bare routes, in interleaved pairs. */
async function benchRoutes(frameworks) {
  const rows = []
  for (const framework of frameworks) {
    const [bare, guarded] = ['bare', 'protected'].map((kind) => startServer(framework, kind))
    const [bareAt, guardedAt] = await Promise.all([bare.ready, guarded.ready])
    await half(bare, bareAt)
    await half(guarded, guardedAt)
    const pairs = []
    for (let pair = 0; pair < PAIRS; pair++) {
      const first = pair % 2 === 0
      const a = await (first ? half(bare, bareAt) : half(guarded, guardedAt))
      const b = await (first ? half(guarded, guardedAt) : half(bare, bareAt))
      pairs.push(first ? [a, b] : [b, a])
    }
    for (const server of [bare, guarded]) await server.stop()
    const ratios = pairs.map(([one, other]) => other.perSecond / one.perSecond)
    const added = pairs.map(([one, other]) => other.cpuUs - one.cpuUs)
    rows.push({
      framework,
      barePerSecond: Math.round(median(pairs.map(([one]) => one.perSecond))),
      share: Number(median(ratios).toFixed(3)),
      shareFrom: Number(spread(ratios)[0].toFixed(3)),
      shareTo: Number(spread(ratios)[1].toFixed(3)),
      bareCpuUs: Number(median(pairs.map(([one]) => one.cpuUs)).toFixed(1)),
      addedCpuUs: Number(median(added).toFixed(1)),
    })
    say(`routes: ${framework} done`)
  }
  console.table(rows)
  return rows
}

const [name = 'all', only] = process.argv.slice(2)
const results = { node: process.version, cpu: cpus()[0]?.model, cores: cpus().length, at: new Date().toISOString() }
if (name === 'all' || name === 'decide') {
  results.decide = await benchDecide()
  results.unseen = await benchUnseen()
}
if (name === 'unseen') results.unseen = await benchUnseen()
if (name === 'all' || name === 'routes') results.routes = await benchRoutes(only === undefined ? FRAMEWORKS : [only])
if (name === 'all' || name === 'check') {
  results.check = await benchCheck({ only, rounds: ROUNDS, seconds: SECONDS, onTwoCores: ON_TWO_CORES, say })
}
if (name === 'all' || name === 'bundle') results.bundle = await benchBundle({ rounds: ROUNDS, say })
if (name === 'all' || name === 'guards') {
  results.guards = await benchGuards({ rounds: ROUNDS, seconds: SECONDS, onTwoCores: ON_TWO_CORES, say })
}
if (name === 'all' || name === 'proxy') {
  results.proxy = await benchProxy({ rounds: ROUNDS, seconds: Number(SECONDS), onTwoCores: ON_TWO_CORES, say })
}
if (name === 'all' || name === 'memory') {
  const total = name === 'memory' && only !== undefined ? Number(only) : 1_000_000
  results.memory = await benchMemory({ total, onTwoCores: ON_TWO_CORES, say })
}
if (name === 'all' || name === 'postgres') {
  results.postgres = await benchPostgres({ rounds: ROUNDS, seconds: SECONDS, onTwoCores: ON_TWO_CORES, say })
}
if (name === 'all' || name === 'workers') results.workers = await benchWorkers({ rounds: ROUNDS, say })
mkdirSync(here('results/'), { recursive: true })
writeFileSync(here(`results/${name}.json`), JSON.stringify(results, null, 2))
say(`Written to test/bench/results/${name}.json`)
