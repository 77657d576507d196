/** So many checks, 64 at a time, each of an action and a resource of its own. Prints how many a second. */
import { Pool } from 'undici'

const [url, token, checksText, firstText] = process.argv.slice(2)
const CONNECTIONS = 64
const pool = new Pool(url, { connections: CONNECTIONS })
const end = Number(firstText) + Number(checksText)
let next = Number(firstText)

async function worker() {
  while (next < end) {
    const n = next++
    const headers = {
      authorization: `Bearer ${token}`,
      'x-meshguard-action': `read:bench/${n}`,
      'x-meshguard-resource': `things/${n}`,
    }
    const { statusCode, body } = await pool.request({ path: '/proxy/check', method: 'GET', headers })
    await body.dump()
    if (statusCode !== 200) throw new Error(`A check was answered ${statusCode}`)
  }
}

const started = performance.now()
await Promise.all(Array.from({ length: CONNECTIONS }, worker))
console.log(JSON.stringify({ perSecond: Math.round((Number(checksText) / (performance.now() - started)) * 1000) }))
await pool.close()
