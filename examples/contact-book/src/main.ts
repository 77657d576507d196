import { randomBytes } from 'node:crypto'
import { MeshGuardClient } from '@meshguard/client'
import { createGuard, fromGateway } from '@meshguard/core'
import { registerAgents } from './agents.js'
import { createApp, createUpstream } from './app.js'
import { ContactBook } from './contacts.js'
import { printDecisions } from './decisions.js'
import { startGateway } from './gateway.js'
import { assertFree, listen } from './listen.js'
import { readSettings } from './settings.js'
import { welcome } from './welcome.js'

/** What was started, in order; it is stopped the other way round. */
const running: { close(): Promise<void> }[] = []
let stopping: Promise<void> | undefined

start().catch(async (error: NodeJS.ErrnoException & { port?: number }) => {
  console.error(error.code === 'EADDRINUSE' ? whatToDoAbout(error.port ?? 0) : error.message)
  process.exitCode = 1
  await stop()
})

async function start(): Promise<void> {
  const { bookPort, gatewayPort, policiesDir, dataDir, adminToken } = readSettings(process.env)
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, onSignal)

  for (const port of [bookPort, gatewayPort]) await assertFree(port)
  const book = new ContactBook()
  const authorization = `Bearer ${randomBytes(24).toString('base64url')}` // what the proxy proves itself with
  const upstream = started(await listen(createUpstream(authorization, book), 0))
  const gateway = started(
    await startGateway({ port: gatewayPort, dataDir, policiesDir, adminToken, upstream: { url: upstream.url, authorization } }),
  )
  const operator = new MeshGuardClient({ gatewayUrl: gateway.url, adminToken: gateway.credentials.operator })
  const agents = await registerAgents(operator)

  const lines = started(printDecisions(operator, agents))
  const source = fromGateway({ url: gateway.url, token: gateway.credentials.decide })
  const guard = started(createGuard({ source, audit: lines }))
  const { app, routes } = createApp(guard, book)
  const { url } = started(await listen(app, bookPort))
  console.log(welcome({ book: url, gateway: gateway.url, dataDir, policies: policiesDir, routes, agents }))
}

function started<T extends { close(): Promise<void> }>(one: T): T {
  running.push(one)
  return one
}

function onSignal(): void {
  console.log('\nStopping.')
  void stop()
}

/** Lets what runs finish and flushes what was recorded. */
function stop(): Promise<void> {
  stopping ??= (async () => {
    while (running.length > 0) await running.pop()?.close()
  })()
  return stopping
}

function whatToDoAbout(port: number): string {
  const name = port === readSettings(process.env).gatewayPort ? 'GATEWAY_PORT' : 'PORT'
  return `Port ${port} is taken. Choose another: ${name}=${port < 65_535 ? port + 1 : 3000} npm start`
}
