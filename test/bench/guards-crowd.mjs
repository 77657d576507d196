/**
 * So many guards on one gateway, in one process: each with its own source, stream and connection. Changes a policy when it is told
 * to, and says how long it took until the median and the last of them decided anew.
 */
import { createGuard, fromBundle } from '@meshguard/core'

const [count, url, token, adminToken] = process.argv.slice(2)
const agent = { id: 'agent', trustTier: 'verified' }
const jwks = await (await fetch(`${url}/.well-known/jwks.json`)).json()

const started = performance.now()
const guards = Array.from({ length: Number(count) }, () => {
  const one = { onReload: () => {} }
  const source = fromBundle({ url, token, jwks, stream: true, onReload: (info) => one.onReload(info) })
  return Object.assign(one, { source, guard: createGuard({ source }) })
})
await Promise.all(guards.map(({ source }) => source.refresh()))
const startMs = performance.now() - started

const allows = async (guard, action) => (await guard.check(action, { agent })).allowed

/** Allows another action than the one before, and waits until every guard does. */
async function change(round) {
  const action = `fly:round-${round}`
  for (const { guard } of guards) if (await allows(guard, action)) throw new Error('It is allowed already')
  const heard = guards.map(
    (one) =>
      new Promise((resolve) => {
        one.onReload = () => resolve(performance.now())
      }),
  )
  const headers = { 'x-admin-token': adminToken, 'content-type': 'application/json' }
  const body = JSON.stringify({ name: 'changing', rules: [{ effect: 'allow', actions: [action] }] })
  const at = performance.now()
  const answer = await fetch(`${url}/admin/policies/changing`, { method: 'PUT', headers, body })
  if (!answer.ok) throw new Error(`The policy was not put: ${answer.status}`)
  const answeredMs = performance.now() - at
  const times = (await Promise.all(heard)).map((time) => time - at).sort((a, b) => a - b)
  for (const { guard } of guards) if (!(await allows(guard, action))) throw new Error('A guard decides as before')
  return { answeredMs, firstMs: times[0], medianMs: times[times.length >> 1], lastMs: times.at(-1) }
}

process.on('message', async (message) => {
  if (typeof message === 'number') return process.send(await change(message))
  await Promise.all(guards.map(({ guard }) => guard.close()))
  process.disconnect()
})
process.send({ startMs })
