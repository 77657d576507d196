/**
 * The load of the gateway's benchmarks: some connections for some seconds, with a body of so many bytes or none. Prints how many were
 * answered, and the times in ms.
 */
import autocannon from 'autocannon'

const [url, token, seconds, path = '/proxy/check', connections = '64', bytes = '0'] = process.argv.slice(2)
const headers = { authorization: `Bearer ${token}` }
const result = await autocannon({
  url: url + path,
  connections: Number(connections),
  duration: Number(seconds),
  ...(bytes === '0' ? {} : { method: 'POST', body: Buffer.alloc(Number(bytes), 'x') }),
  headers: path === '/proxy/check' ? { ...headers, 'x-meshguard-action': 'read:bench' } : headers,
})
const { p50, p99 } = result.latency
const answered = result['2xx']
const refused = result.non2xx + result.errors
console.log(JSON.stringify({ answered, refused, perSecond: answered / result.duration, p50, p99 }))
