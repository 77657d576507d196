/** The load of the route benchmark: 50 connections for some seconds. Prints how many requests were answered, and how. */
import autocannon from 'autocannon'

const [port, token, seconds] = process.argv.slice(2)
const requests = Array.from({ length: 50 }, (_, i) => ({ path: `/things${i}/${i}` }))
const result = await autocannon({
  url: `http://127.0.0.1:${port}`,
  connections: 50,
  duration: Number(seconds),
  headers: { authorization: `Bearer ${token}` },
  requests,
})
console.log(JSON.stringify({ answered: result['2xx'], refused: result.non2xx, perSecond: result['2xx'] / result.duration }))
