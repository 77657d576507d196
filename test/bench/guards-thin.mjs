/**
 * A guard of the guards' benchmark that does what the gateway sees of one, and verifies the signature, but does not get ready to decide by
 * the bundle: a thousand of them fit into one process, however many rules there are.
 */
import { setTimeout as pause } from 'node:timers/promises'
import { compactVerify } from 'jose'

/** How far apart those who are woken ask, as in core. */
const SPREAD_MS = 200

/**
 * @param find The public key of a `kid`.
 * @param onBundle Told of each bundle, as bytes.
 */
export function startThinGuard({ url, token, find, onBundle }) {
  const ended = new AbortController()
  const { signal } = ended
  const headers = { authorization: `Bearer ${token}` }
  let etag = ''
  let isWoken = false

  const ask = async () => {
    const answer = await fetch(`${url}/v1/bundle`, { headers: { ...headers, 'if-none-match': etag }, signal })
    if (answer.status === 304) return
    if (answer.status !== 200) throw new Error(`There is no bundle: ${answer.status}`)
    const { payload } = await compactVerify(await answer.text(), ({ kid }) => find(kid))
    etag = answer.headers.get('etag')
    onBundle(payload)
  }
  const wake = async () => {
    if (isWoken) return
    isWoken = true
    await pause(Math.random() * SPREAD_MS)
    isWoken = false
    await ask()
  }
  const listen = async () => {
    const { body } = await fetch(`${url}/v1/bundle/stream`, { headers, signal })
    for await (const chunk of body) if (Buffer.from(chunk).includes('event: bundle')) void wake().catch(fail)
  }
  const fail = (error) => {
    if (!signal.aborted) throw error
  }
  return {
    async start() {
      await ask()
      void listen().catch(fail)
    },
    close: () => ended.abort(),
  }
}
