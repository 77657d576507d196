/** The load of the gateway's benchmark: 64 connections for some seconds. Prints how many were answered, and the times in ms. */
import autocannon from 'autocannon'

const [url, token, seconds] = process.argv.slice(2)
const headers = { authorization: `Bearer ${token}`, 'x-meshguard-action': 'read:bench' }
const result = await autocannon({ url: `${url}/proxy/check`, connections: 64, duration: Number(seconds), headers })
const { p50, p99 } = result.latency
console.log(JSON.stringify({ refused: result.non2xx + result.errors, perSecond: result['2xx'] / result.duration, p50, p99 }))
