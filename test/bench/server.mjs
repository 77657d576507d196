/**
 * One server of the route benchmark: 50 routes, bare or protected. Tells its parent the port and a token, and, when asked, the
 * CPU time it has used.
 */
import { createRequire } from 'node:module'
import { agentTokens, createGuard, fromPolicies, generateKeys, mintAgentToken } from '@meshguard/core'
import { policiesOf } from './workload.mjs'

const [framework, kind] = process.argv.slice(2)
const ROUTES = 50
const { privateKey, publicKey } = await generateKeys()
const token = await mintAgentToken({ id: 'agent_1', trustTier: 'trusted', tags: ['sales'], key: privateKey })

/** A bounded queue that is drained in batches, as a sink that ships its entries would. */
function auditQueue() {
  let queue = []
  setInterval(() => {
    queue = []
  }, 100).unref()
  return { record: (event) => void queue.push(event) }
}

const own = { name: 'bench', rules: [{ effect: 'allow', actions: ['read:things*'] }] }
const guard = createGuard({
  source: fromPolicies([own, ...policiesOf(1000, false)]),
  authenticate: agentTokens({ publicKey }),
  audit: auditQueue(),
})
const protectOf = async () => (await import(`@meshguard/${framework}`)).createProtect(guard)
const guarded = async (app) => (kind === 'protected' ? (await protectOf())(app) : app)
const paths = Array.from({ length: ROUTES }, (_, i) => `/things${i}/:id`)
const listening = (server) => new Promise((resolve) => server.listen(0, '127.0.0.1', () => resolve(server.address().port)))
const require = createRequire(import.meta.url)

const servers = {
  async express() {
    const express = require('express')
    const app = await guarded(express())
    for (const path of paths) app.get(path, (req, res) => res.json({ id: req.params.id }))
    return listening((await import('node:http')).createServer(app))
  },
  async koa() {
    const { default: Koa } = await import('koa')
    const { default: Router } = await import('@koa/router')
    const router = new Router()
    const app = await guarded(new Koa())
    app.use(router.routes())
    for (const path of paths) {
      router.get(path, (ctx) => {
        ctx.body = { id: ctx.params.id }
      })
    }
    return listening((await import('node:http')).createServer(app.callback()))
  },
  async hono() {
    const { Hono } = await import('hono')
    const { serve } = await import('@hono/node-server')
    const app = await guarded(new Hono())
    for (const path of paths) app.get(path, (c) => c.json({ id: c.req.param('id') }))
    return new Promise((resolve) => serve({ fetch: app.fetch, port: 0, hostname: '127.0.0.1' }, ({ port }) => resolve(port)))
  },
  async fastify() {
    const { default: Fastify } = await import('fastify')
    const app = await guarded(Fastify())
    for (const path of paths) app.get(path, async (request) => ({ id: request.params.id }))
    await app.listen({ port: 0, host: '127.0.0.1' })
    return app.server.address().port
  },
}

const port = await servers[framework]()
process.on('message', () => {
  const { user, system } = process.cpuUsage()
  process.send({ cpuUs: user + system })
})
process.on('disconnect', () => process.exit(0))
process.send({ port, token })
