/**
 * So many guards on one gateway, in one process, so many of them whole: each with its own source, stream and connection. Changes a
 * policy when it is told to, and says how long it took until the median and the last of them decided anew or, of those that are not
 * whole, had the new bundle.
 */
import { createGuard, fromBundle } from '@meshguard/core'
import { importJWK } from 'jose'
import { startThinGuard } from './guards-thin.mjs'

/** One process does the work of all machines, and is not to give up on itself. */
const TIMEOUT_MS = 600_000
const [count, whole, url, token, adminToken] = process.argv.slice(2)
const agent = { id: 'agent', trustTier: 'verified' }
const jwks = await (await fetch(`${url}/.well-known/jwks.json`)).json()
const keys = new Map(await Promise.all(jwks.keys.map(async (key) => [key.kid, await importJWK(key, 'EdDSA')])))

function wholeGuard() {
  const one = { onNew: () => {} }
  const told = { onReload: () => one.onNew() }
  const source = fromBundle({ url, token, jwks, stream: true, timeoutMs: TIMEOUT_MS, ...told })
  const guard = createGuard({ source, timeoutMs: TIMEOUT_MS })
  const allows = async (action) => (await guard.check(action, { agent })).allowed
  return Object.assign(one, { start: () => source.refresh(), close: () => guard.close(), allows })
}

function thinGuard() {
  let latest = Buffer.alloc(0)
  const one = { onNew: () => {} }
  const onBundle = (bytes) => {
    latest = Buffer.from(bytes)
    one.onNew()
  }
  const { start, close } = startThinGuard({ url, token, find: (kid) => keys.get(kid), onBundle })
  return Object.assign(one, { start, close, allows: async (action) => latest.includes(`"${action}"`) })
}

const started = performance.now()
const guards = Array.from({ length: Number(count) }, (_, i) => (i < Number(whole) ? wholeGuard() : thinGuard()))
await Promise.all(guards.map((one) => one.start()))
const startMs = performance.now() - started

/** Allows another action than the one before, and waits until every guard does. */
async function change(round) {
  const action = `fly:round-${round}`
  for (const one of guards) if (await one.allows(action)) throw new Error('It is allowed already')
  const heard = guards.map(
    (one) =>
      new Promise((resolve) => {
        one.onNew = () => resolve(performance.now())
      }),
  )
  const headers = { 'x-admin-token': adminToken, 'content-type': 'application/json' }
  const body = JSON.stringify({ name: 'changing', rules: [{ effect: 'allow', actions: [action] }] })
  const at = performance.now()
  const answer = await fetch(`${url}/admin/policies/changing`, { method: 'PUT', headers, body })
  if (!answer.ok) throw new Error(`The policy was not put: ${answer.status}`)
  const answeredMs = performance.now() - at
  const times = (await Promise.all(heard)).map((time) => time - at).sort((a, b) => a - b)
  for (const one of guards) if (!(await one.allows(action))) throw new Error('A guard decides as before')
  return { answeredMs, firstMs: times[0], medianMs: times[times.length >> 1], lastMs: times.at(-1) }
}

process.on('message', async (message) => {
  if (typeof message === 'number') return process.send(await change(message))
  await Promise.all(guards.map((one) => one.close()))
  process.disconnect()
})
process.send({ startMs })
