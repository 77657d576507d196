import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { relative } from 'node:path'
import { fileURLToPath } from 'node:url'
import { auditToConsole, createGuard, fromPolicies } from '@meshguard/core'
import { loadPolicies } from '@meshguard/core/node'
import { createAgents } from './agents.js'
import { createApp } from './app.js'
import { welcome } from './welcome.js'

const port = readPort(process.env['PORT'] || '3000')
const folder = process.env['POLICIES_DIR'] || fileURLToPath(new URL('../policies', import.meta.url))
const policies = await loadPolicies(folder, { watch: true }).catch(refuse)
const { agents, authenticate } = await createAgents()
const guard = createGuard({ source: fromPolicies(policies), authenticate, audit: auditToConsole() })
const { app, routes } = createApp(guard)
const server = createServer({ requestTimeout: 30_000, headersTimeout: 10_000 }, app)

server.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code !== 'EADDRINUSE') return fail(`The contact book cannot listen on port ${port}: ${error.message}`)
  fail(`Port ${port} is taken. Choose another: PORT=${port < 65_535 ? port + 1 : 3000} npm start`)
})
server.listen(port, '127.0.0.1', () => {
  const { port: listening } = server.address() as AddressInfo
  console.log(welcome({ origin: `http://127.0.0.1:${listening}`, policies: relative('', folder) || '.', routes, agents }))
})
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, stop)

/** Stops accepting, lets what runs finish for two seconds, and flushes what was recorded. */
async function stop(): Promise<void> {
  console.log('\nStopping.')
  const stopped = new Promise((resolve) => server.close(resolve))
  server.closeIdleConnections()
  setTimeout(() => server.closeAllConnections(), 2000).unref()
  await stopped
  await policies.close()
  await guard.close()
}

function readPort(text: string): number {
  if (/^\d{1,5}$/.test(text) && Number(text) < 65_536) return Number(text)
  return fail(`PORT must be a number from 0 to 65535, not ${JSON.stringify(text)}`)
}

function refuse(error: unknown): never {
  return fail(`The policies cannot be loaded:\n${error instanceof Error ? error.message : error}`)
}

function fail(message: string): never {
  console.error(message)
  process.exit(1)
}
