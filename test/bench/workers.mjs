/** A Worker in workerd: what the two variants of examples/hono-workers weigh, and how long until a new isolate has answered. */
import { createServer } from 'node:http'
import { gzipSync } from 'node:zlib'
import { generateKeys, mintAgentToken } from '@meshguard/core'
import { signBundle } from '@meshguard/core/bundle'
import { build } from 'esbuild'
import { Miniflare } from 'miniflare'

const root = new URL('../..', import.meta.url).pathname
const BARE = `
  import { Hono } from 'hono'
  export default new Hono().get('/shipments/:id', (c) => c.json({ id: c.req.param('id') }))`
const READERS = [{ name: 'readers', rules: [{ effect: 'allow', actions: ['read:shipments'] }] }]

const median = (values) => [...values].sort((a, b) => a - b)[values.length >> 1]

async function bundled(entry) {
  const input =
    entry === undefined ? { stdin: { contents: BARE, resolveDir: `${root}/examples/hono-workers` } } : { entryPoints: [entry] }
  const options = {
    bundle: true,
    write: false,
    minify: true,
    format: 'esm',
    target: 'es2022',
    conditions: ['workerd', 'worker'],
  }
  const { outputFiles } = await build({ ...input, ...options })
  return outputFiles[0].text
}

/** Serves one bundle, as a gateway does. */
async function publish(bundles, tokens) {
  const now = Date.now()
  const times = { issuedAt: new Date(now).toISOString(), expiresAt: new Date(now + 86_400_000).toISOString() }
  const rest = { policies: READERS, agents: {}, delegations: [], jwks: tokens.jwks }
  const jws = await signBundle({ version: 1, ...times, ...rest }, { key: bundles.privateKey })
  const server = createServer((request, response) => {
    if (request.url === '/v1/bundle') response.writeHead(200, { etag: '"1"', 'content-type': 'application/jose' }).end(jws)
    else response.writeHead(202).end('{}')
  })
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve))
  return { url: `http://127.0.0.1:${server.address().port}`, server }
}

/** From a workerd that does not run yet to its first answer, in ms. */
async function start({ script, bindings, kvNamespaces }, headers) {
  const begun = performance.now()
  const worker = new Miniflare({ modules: true, script, compatibilityDate: '2026-04-01', bindings, kvNamespaces })
  try {
    const response = await worker.dispatchFetch('https://shipments.example/shipments/7', { headers })
    await response.text()
    if (response.status !== 200) throw new Error(`The Worker answered ${response.status}`)
    return performance.now() - begun
  } finally {
    await worker.dispose()
  }
}

/** @param options `rounds` and how to say something. */
export async function benchWorkers({ rounds, say }) {
  const [bundles, tokens] = await Promise.all([generateKeys(), generateKeys()])
  const { url, server } = await publish(bundles, tokens)
  const headers = { authorization: `Bearer ${await mintAgentToken({ id: 'agent_1', key: tokens.privateKey })}` }
  const gateway = { GATEWAY_URL: url, GATEWAY_TOKEN: 'msvc_bench', BUNDLE_KEY: JSON.stringify(bundles.publicKey) }
  const dist = `${root}/examples/hono-workers/dist`
  const cases = [
    { name: 'bare Hono', script: await bundled() },
    {
      name: 'policies in process',
      script: await bundled(`${dist}/worker.js`),
      bindings: { AGENT_PUBLIC_KEY: JSON.stringify(tokens.publicKey) },
    },
    { name: 'by a bundle, KV empty', script: await bundled(`${dist}/bundle.js`), bindings: gateway, kvNamespaces: ['BUNDLES'] },
  ]
  const samples = cases.map(() => [])
  for (let round = 0; round <= rounds; round++) {
    for (const [i, one] of cases.entries()) {
      const ms = await start(one, headers)
      if (round > 0) samples[i].push(ms)
    }
    say(`workers: round ${round} of ${rounds}`)
  }
  server.close()
  const rows = cases.map(({ name, script }, i) => ({
    name,
    kB: Number((script.length / 1024).toFixed(1)),
    gzipKB: Number((gzipSync(script, { level: 9 }).length / 1024).toFixed(1)),
    firstAnswerMs: Math.round(median(samples[i])),
    overBareMs: Math.round(median(samples[i].map((ms, round) => ms - samples[0][round]))),
    spreadMs: [Math.min(...samples[i]), Math.max(...samples[i])].map(Math.round),
  }))
  console.table(rows)
  return rows
}
