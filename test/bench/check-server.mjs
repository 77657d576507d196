/**
 * One server of the gateway's benchmarks: `node` and `hono` answer a constant, `exchange` answers checks without deciding anything,
 * `gateway` is the real one with a durable audit log and 1 000 rules, `kilobyte` and `megabytes` upstreams of proxies, and `pipe`
 * the least that a proxy can be. Tells its parent where it listens and with which tokens, and, when asked, the CPU time and memory
 * it has used; run with `--expose-gc`, the memory after a full collection.
 */
import { mkdtempSync, rmSync } from 'node:fs'
import { createServer } from 'node:http'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { policiesOf } from './workload.mjs'

const [kind, proxyTarget, auditMode] = process.argv.slice(2)
const { DATABASE_URL, SIGNING_KEY_FILE } = process.env
const ADMIN_TOKEN = 'bench-admin-token-0123456789abcdef0123456789'
const CONSTANT = JSON.stringify({
  allowed: true,
  decision: 'allow',
  action: 'read:bench',
  policy: 'bench',
  rule: 'allow read:*',
})
const JSON_TYPE = { 'content-type': 'application/json' }

const listening = (server) =>
  new Promise((resolve) => server.listen(0, '127.0.0.1', () => resolve(`http://127.0.0.1:${server.address().port}`)))

const servers = {
  async node() {
    return { url: await listening(createServer((_request, response) => response.writeHead(200, JSON_TYPE).end(CONSTANT))) }
  },
  async hono() {
    const { Hono } = await import('hono')
    const { serve } = await import('@hono/node-server')
    const app = new Hono().all('*', () => new Response(CONSTANT, { headers: JSON_TYPE }))
    return new Promise((resolve) => {
      serve({ fetch: app.fetch, port: 0, hostname: '127.0.0.1' }, ({ port }) => resolve({ url: `http://127.0.0.1:${port}` }))
    })
  },
  async exchange() {
    const server = createServer((request, response) => {
      let body = ''
      request.setEncoding('utf8').on('data', (text) => {
        body += text
      })
      request.on('end', () => {
        const answer = body === '' ? CONSTANT : `{"decisions":[${JSON.parse(body).checks.map(itemOf).join(',')}]}`
        response.writeHead(200, JSON_TYPE).end(answer)
      })
    })
    return { url: await listening(server), token: 'agent-token', service: 'msvc_bench' }
  },
  async kilobyte() {
    const body = JSON.stringify({ text: 'x'.repeat(1012) })
    const headers = { ...JSON_TYPE, 'content-length': body.length }
    return { url: await listening(createServer((_request, response) => response.writeHead(200, headers).end(body))) }
  },
  /** Answers 10 MB to a GET, and takes whatever a POST brings. */
  async megabytes() {
    const body = Buffer.alloc(10_000_000, 'x')
    const server = createServer((request, response) => {
      if (request.method === 'GET') response.writeHead(200, { 'content-length': body.length }).end(body)
      else request.resume().on('end', () => response.writeHead(200, JSON_TYPE).end('{}'))
    })
    return { url: await listening(server) }
  },
  async pipe() {
    const { Pool } = createRequire(import.meta.resolve('@meshguard/gateway'))('undici')
    const pool = new Pool(proxyTarget)
    const pipe = (request, response) => {
      const { url, method, rawHeaders } = request
      const headers = rawHeaders.filter((_, i) => !/^(host|connection)$/i.test(rawHeaders[i - (i % 2)]))
      pool.dispatch(
        { path: url, method, headers, body: method === 'GET' ? null : request },
        {
          onRequestStart() {},
          onResponseStart: (_controller, status, received) => response.writeHead(status, received),
          onResponseData(controller, chunk) {
            if (response.write(chunk)) return
            controller.pause()
            response.once('drain', () => controller.resume())
          },
          onResponseEnd: () => response.end(),
          onResponseError: () => response.destroy(),
        },
      )
    }
    return { url: await listening(createServer(pipe)) }
  },
  async gateway() {
    const { createGateway } = await import('@meshguard/gateway')
    const folder = mkdtempSync(join(tmpdir(), 'meshguard-bench-'))
    process.once('exit', () => rmSync(folder, { recursive: true, force: true }))
    const policies = [
      { name: 'bench', rules: [{ effect: 'allow', actions: ['read:bench', 'read:bench/*', 'read:things', 'write:things'] }] },
      ...policiesOf(1000, false),
    ]
    const gateway = await createGateway({
      port: 0,
      dataDir: join(folder, 'data'),
      adminToken: ADMIN_TOKEN,
      logLevel: 'silent',
      ...(proxyTarget === undefined ? {} : { proxy: { target: proxyTarget } }),
      ...(auditMode === undefined ? {} : { auditMode }),
      ...(DATABASE_URL === undefined ? {} : { databaseUrl: DATABASE_URL, signingKeyFile: SIGNING_KEY_FILE }),
    })
    const { url } = await gateway.listen()
    const admin = async (method, path, body) => {
      const headers = { 'x-admin-token': ADMIN_TOKEN, ...JSON_TYPE }
      const response = await fetch(url + path, { method, headers, body: JSON.stringify(body) })
      if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${await response.text()}`)
      return response.json()
    }
    for (const policy of policies) await admin('PUT', `/admin/policies/${policy.name}`, policy)
    const { token } = await admin('POST', '/admin/agents', { name: 'bench', trustTier: 'trusted', tags: ['sales'] })
    const { token: service } = await admin('POST', '/admin/tokens', { name: 'bench', scopes: ['decide'] })
    return { url, token, service }
  },
}

function itemOf({ action, traceId }) {
  return `{"status":200,"allowed":true,"decision":"allow","action":"${action}","policy":"bench","rule":"allow read:*","traceId":"${traceId}"}`
}

process.send(await servers[kind]())
process.on('message', () => {
  const { user, system } = process.cpuUsage()
  globalThis.gc?.()
  const { rss, heapUsed, external } = process.memoryUsage()
  const peak = process.resourceUsage().maxRSS * 1024
  process.send({ cpuUs: user + system, rss, peak, heapUsed, external })
})
process.on('disconnect', () => process.exit(0))
