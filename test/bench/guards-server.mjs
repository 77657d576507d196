/**
 * The gateway of the guards' benchmark: so many rules, nothing else to do. Tells its parent where it listens and with which tokens
 * and, when asked, the CPU time it has used, the bytes that its sockets have sent, how many bundles it has signed, and how large its
 * database is.
 */
import { subscribe } from 'node:diagnostics_channel'
import { mkdtempSync, readdirSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createGateway } from '@meshguard/gateway'

const ADMIN_TOKEN = 'bench-admin-token-0123456789abcdef0123456789'
const rules = Number(process.argv[2])

const open = new Set()
let closedBytes = 0
subscribe('net.server.socket', ({ socket }) => {
  open.add(socket)
  socket.once('close', () => {
    open.delete(socket)
    closedBytes += socket.bytesWritten
  })
})

const dataDir = mkdtempSync(join(tmpdir(), 'meshguard-bench-guards-'))
const gateway = await createGateway({ port: 0, dataDir, adminToken: ADMIN_TOKEN, logLevel: 'silent' })
const { url } = await gateway.listen()
const admin = async (method, path, body) => {
  const headers = { 'x-admin-token': ADMIN_TOKEN, 'content-type': 'application/json' }
  const answer = await fetch(`${url}/admin${path}`, { method, headers, body: JSON.stringify(body) })
  if (!answer.ok) throw new Error(`${path}: ${answer.status} ${await answer.text()}`)
  return answer.json()
}
const many = Array.from({ length: rules }, (_, i) => ({ name: `r${i}`, effect: 'allow', actions: [`read:objects/${i}`] }))
await admin('PUT', '/policies/many', { name: 'many', rules: many })
const { token } = await admin('POST', '/tokens', { name: 'guards', scopes: ['bundle', 'audit:write'] })
const { token: agentToken } = await admin('POST', '/agents', { name: 'agent' })

process.on('message', async () => {
  const { user, system } = process.cpuUsage()
  const metrics = await (await fetch(`${url}/metrics`)).text()
  const signed = Number(/^meshguard_bundle_sign_seconds_count (\d+)$/m.exec(metrics)?.[1] ?? 0)
  const bundleBytes = Number(/^meshguard_bundle_bytes (\d+)$/m.exec(metrics)?.[1] ?? 0)
  const bytes = [...open].reduce((sum, socket) => sum + socket.bytesWritten, closedBytes)
  const files = readdirSync(dataDir).filter((name) => name.startsWith('meshguard.db'))
  const databaseBytes = files.reduce((sum, name) => sum + statSync(join(dataDir, name)).size, 0)
  process.send({ cpuMs: (user + system) / 1000, bytes, signed, bundleBytes, databaseBytes })
})
process.on('disconnect', async () => {
  await gateway.close()
  rmSync(dataDir, { recursive: true })
})
process.send({ url, token, agentToken, adminToken: ADMIN_TOKEN })
